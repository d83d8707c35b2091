"""How commands show long work on the terminal."""

import shlex
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

console = Console(stderr=True)


def bar() -> Progress:
    """A progress display; tasks need the field `note`."""
    return Progress(
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
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
