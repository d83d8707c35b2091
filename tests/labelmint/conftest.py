"""The fitted world of the workers' tests, for the commands' tests, too."""

from tests.workers.conftest import fitted_world as fitted_world
