"""A file is there as a whole or not at all, and a disk without room is told as such, whoever writes."""

import errno
import multiprocessing
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from models.checkpoint import save_tensors
from models.distances.statistics import FeatureStatistics
from models.training.checkpoints import NEWEST, PREVIOUS, write_checkpoint
from models.whole_file import written_whole

ROOM = 10_000


def network(folder: Path, size: int) -> None:
    save_tensors(folder / "file", {"a": torch.zeros(size // 4)}, "generator", {})


def statistics(folder: Path, size: int) -> None:
    few = np.zeros(1)
    FeatureStatistics("some", 1, few, few, np.zeros(size // 8)).save(folder / "file")


def checkpoint(folder: Path, size: int) -> None:
    write_checkpoint(folder, {"a": torch.zeros(size // 4)})


def anything(folder: Path, size: int) -> None:
    with written_whole(folder / "file") as file:
        file.write(bytes(size))


def told_without_room(write: Callable[[Path, int], None], folder: Path) -> tuple[object, ...]:
    """What `write` raises in a process that may write no larger file than `ROOM`."""

    def attempt() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, ROOM))
        try:
            write(folder, 10 * ROOM)
        except Exception as error:  # noqa: BLE001  # told to the parent
            send.send((type(error), getattr(error, "errno", None), getattr(error, "filename", None)))

    receive, send = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=attempt)
    child.start()
    child.join()
    assert child.exitcode == 0
    return tuple(receive.recv())


@pytest.mark.parametrize("write", [network, statistics, checkpoint, anything])
def test_what_was_there_stays_where_there_is_no_room(write: Callable[[Path, int], None], tmp_path: Path) -> None:
    write(tmp_path, 400)
    (path,) = tmp_path.iterdir()
    before = path.read_bytes()
    assert told_without_room(write, tmp_path) == (OSError, errno.EFBIG, str(path))
    assert [path] == list(tmp_path.iterdir())
    assert path.read_bytes() == before


def test_the_checkpoint_before_is_kept(tmp_path: Path) -> None:
    for size in (400, 800):
        checkpoint(tmp_path, size)
    first, second = ((tmp_path / name).read_bytes() for name in (PREVIOUS, NEWEST))
    told_without_room(checkpoint, tmp_path)
    assert [(tmp_path / name).read_bytes() for name in (PREVIOUS, NEWEST)] == [first, second]


def test_other_exceptions_pass_as_they_are(tmp_path: Path) -> None:
    refusal = ConnectionRefusedError(errno.ECONNREFUSED, "nobody is there")
    with pytest.raises(ConnectionRefusedError) as told, written_whole(tmp_path / "file") as file:
        file.write(b"some")
        raise refusal
    assert told.value is refusal
    assert list(tmp_path.iterdir()) == []
