"""Folders that several processes share: who holds one keeps it."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from workers.shared_folders import held, remove_unheld

HOLD = """
import sys, time
from pathlib import Path
from workers.shared_folders import held
with held(Path(sys.argv[1])) as there:
    print(there, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "file").write_text("content")
    return tmp_path / "copy"


def test_what_another_process_holds_stays_until_that_one_dies(folder: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        with held(folder) as there:
            assert there, "it may be held more than once"
        remove_unheld(folder, ".gone-")
        assert (folder / "file").read_text() == "content"
        process.send_signal(signal.SIGKILL)
    remove_unheld(folder, ".gone-")
    assert list(folder.parent.iterdir()) == []


def test_what_was_used_lately_stays(folder: Path) -> None:
    os.utime(folder, (0, 0))
    with held(folder):
        pass
    remove_unheld(folder, ".gone-", unused_s=60)
    assert folder.exists()
    os.utime(folder, (0, 0))
    remove_unheld(folder, ".gone-", unused_s=60)
    assert not folder.exists()


def test_what_is_not_there_is_not_held_nor_removed(folder: Path) -> None:
    with held(folder / "missing") as there:
        assert not there
    remove_unheld(folder / "missing", ".gone-")
    remove_unheld(folder / "file", ".gone-")
    assert (folder / "file").exists()


def test_whoever_waited_for_a_removal_finds_it_gone(folder: Path) -> None:
    """Even if another folder of its name has been made by then: that one is not locked."""
    found: list[bool] = []

    def hold() -> None:
        with held(folder) as there:
            found.append(there)

    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    waiting = threading.Thread(target=hold)
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive()
    folder.rename(folder.with_name("removed"))
    folder.mkdir()
    os.close(descriptor)
    waiting.join(10)
    assert found == [False]
