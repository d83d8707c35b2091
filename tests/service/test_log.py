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


OF_A_LIBRARY = """
import logging, signal
from service.log import configure_logging
configure_logging()
configure_logging()
log = logging.getLogger("rq.worker")
log.info("chatter")
log.log(35, "between %d levels", 2)
try:
    raise ValueError("broken")
except ValueError:
    log.error("worker %s: an unhandled exception", "w", exc_info=True)
log.setLevel("INFO")
log.info("wanted")
log.info("%d", "wrong")
"""


def test_what_libraries_log_is_of_the_same_kind_and_keeps_its_traceback() -> None:
    done = subprocess.run([sys.executable, "-c", OF_A_LIBRARY], capture_output=True, text=True, check=True)
    between, error, wanted = (json.loads(line) for line in done.stderr.splitlines()[:3])
    assert (between["event"], between["level"]) == ("between 2 levels", "warning")
    assert (error["event"], error["level"]) == ("worker w: an unhandled exception", "error")
    assert error["exception"][0]["exc_value"] == "broken"
    assert (wanted["event"], wanted["level"], wanted["logger"]) == ("wanted", "info", "rq.worker")
    assert "TypeError" in done.stderr, "of the line that cannot be formatted"


IN_A_SIGNAL = """
import signal, structlog
from service.log import configure_logging
configure_logging()
log = structlog.get_logger()
signal.signal(signal.SIGALRM, lambda *_: log.info("in between"))
for number in range(3000):
    signal.setitimer(signal.ITIMER_REAL, 1e-6 * (1 + number % 100))
    log.info("event")
    signal.setitimer(signal.ITIMER_REAL, 0)
"""


def test_a_signal_may_come_while_a_line_is_written() -> None:
    done = subprocess.run([sys.executable, "-c", IN_A_SIGNAL], capture_output=True, text=True, check=True, timeout=30)
    events = [json.loads(line)["event"] for line in done.stderr.splitlines()]
    assert "in between" in events
    assert events.count("event") == 3000
