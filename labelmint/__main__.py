"""`python -m labelmint` is `labelmint`."""

from labelmint.main import app

app()
