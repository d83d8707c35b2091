"""What is seen of long work where there is no terminal."""

import io
import sys

import pytest
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

from labelmint import progress
from labelmint.progress import LINE_EVERY_S, LoggedProgress

COLUMNS = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"))


def told(terminal: bool) -> str:
    """What lies in the log of four updates, each half of the time between two lines after the one before."""
    file, now = io.StringIO(), [1000.0]
    console = Console(file=file, force_terminal=terminal, width=80)
    display = LoggedProgress(*COLUMNS, console=console, get_time=lambda: now[0])
    task = display.add_task("train", total=400, note="")
    for done in (100, 200, 300, 400):
        display.update(task, completed=done, note=f"{done // 2}/s")
        now[0] += LINE_EVERY_S / 2
    return file.getvalue()


def test_a_log_gets_a_line_a_minute() -> None:
    assert told(terminal=False) == "train 300/400 150/s\n"


def test_a_terminal_shows_bars_alone() -> None:
    assert "train" not in told(terminal=True)


def test_commands_show_their_work_so() -> None:
    assert isinstance(progress.bar(), LoggedProgress)


@pytest.mark.parametrize("program", ["/opt/env/bin/labelmint", "/opt/project/labelmint/__main__.py"])
def test_a_command_is_told_as_it_can_be_typed_again(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [program, "generator", "train", "--out", "my run"])
    assert progress.typed_command() == "labelmint generator train --out 'my run'"
