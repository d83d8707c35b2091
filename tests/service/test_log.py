"""What the logs hold, and what they must not."""

import json
import subprocess
import sys

PROGRAM = """
import structlog
from service.log import configure_logging
configure_logging()
log = structlog.get_logger()
log.info("request", status=200)
try:
    secret = "hunter2"
    raise ValueError("broken")
except ValueError as error:
    log.error("unexpected error", exc_info=error)
"""


def test_events_are_json_lines_without_the_values_of_variables() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    request, error = (json.loads(line) for line in done.stderr.splitlines())
    assert (request["event"], request["status"], request["level"]) == ("request", 200, "info")
    assert error["exception"][0]["exc_value"] == "broken"
    assert "hunter2" not in done.stderr
