"""How commands show long work on the terminal."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

console = Console(stderr=True)

LINE_EVERY_S = 60.0
"""Between two lines of a task, where there is no terminal."""


class LoggedProgress(Progress):
    """A progress display that writes lines now and then where its bars cannot be seen to move: in a file, or in the log
    of a CI. The state of hours of work is then not first told at its end."""

    def __init__(self, *columns: ProgressColumn, console: Console, get_time: Callable[[], float] | None = None) -> None:
        """`get_time`: seconds since whenever, for tests."""
        super().__init__(*columns, console=console, get_time=get_time)
        self._told: dict[TaskID, float] = {}

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """See `Progress.update`."""
        super().update(task_id, **changes)
        if self.console.is_terminal:
            return
        moment = self.get_time()
        if moment - self._told.setdefault(task_id, moment) >= LINE_EVERY_S:
            self._told[task_id] = moment
            self.console.print(self._line(task_id), markup=False, highlight=False, soft_wrap=True)

    def _line(self, task_id: TaskID) -> str:
        """What the display shows of the task, but for its bar."""
        cells = [column(self._tasks[task_id]) for column in self.columns if isinstance(column, ProgressColumn)]
        return " ".join(cell.plain.strip() for cell in cells if isinstance(cell, Text) and cell.plain.strip())


def bar() -> Progress:
    """A progress display; tasks need the field `note`."""
    return LoggedProgress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=12),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )


def typed_command() -> str:
    """The command as typed, for a provenance."""
    program = Path(sys.argv[0]).name
    return shlex.join(["labelmint" if program == "__main__.py" else program, *sys.argv[1:]])
