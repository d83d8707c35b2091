"""Structured logs: JSON lines to standard error, or colours on a terminal."""

import logging
import os
import sys
from contextlib import suppress

import structlog

_LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)
"""Those that structlog knows; a library may have others between them."""

_STDERR = 2
"""Its file descriptor."""


class _Lines:
    """Writes each event to standard error at once, and without a lock: a signal may come, or a process be forked, while
    one is held, and who logs next would wait for ever."""

    def msg(self, line: str) -> None:
        """Write it, as well as it can be: a log that is full or gone must not end the work."""
        data = f"{line}\n".encode(errors="backslashreplace")
        with suppress(OSError):
            while data:
                data = data[os.write(_STDERR, data) :]

    debug = info = warning = error = critical = msg


class _AsEvents(logging.Handler):
    """Gives structlog what libraries log, so that all lines of a log are of one kind."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record, its traceback included, as an event under the name of its logger."""
        try:
            level = max((level for level in _LEVELS if level <= record.levelno), default=logging.DEBUG)
            log = structlog.get_logger(record.name)
            log.log(level, record.getMessage(), logger=record.name, exc_info=record.exc_info)
        except Exception:  # noqa: BLE001  # a library's broken line must not end what it tells of
            self.handleError(record)


def configure_logging(level: int = logging.INFO) -> None:
    """Set up structlog for this process, and have what libraries log go through it. Events below `level` are dropped.

    Of libraries, warnings and what is worse are logged, and more where a library sets the level of its own logger.
    """
    on_terminal = sys.stderr.isatty()
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if on_terminal else structlog.processors.JSONRenderer()
    )
    processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if not on_terminal:
        # Without the values of variables: they hold pixels, and may hold secrets.
        plain = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        processors.append(structlog.processors.ExceptionRenderer(plain))
    structlog.configure(
        processors=[*processors, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _Lines(),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    if not any(isinstance(handler, _AsEvents) for handler in root.handlers):
        root.addHandler(_AsEvents())
