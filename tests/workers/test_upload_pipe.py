"""What is written to the pipe is stored whole, or nothing of it is."""

import threading
from typing import BinaryIO

import pytest

from service.stores import FileStore
from service.stores.protocol import StoreUnavailable
from workers.stages import StageClock
from workers.upload_pipe import UploadPipe


def clock() -> StageClock:
    return StageClock({"upload": 1})


def test_everything_written_is_stored(store: FileStore) -> None:
    pieces = [bytes([value % 251]) * (value * 7_001 % 900_000) for value in range(40)]
    with UploadPipe(store, "a/b", clock()) as pipe:
        for piece in pieces:
            pipe.write(piece)
    assert store.read("a/b") == b"".join(pieces)


def test_nothing_is_stored_of_what_was_given_up(store: FileStore) -> None:
    with pytest.raises(KeyError), UploadPipe(store, "a/b", clock()) as pipe:
        pipe.write(b"x" * 5_000_000)
        raise KeyError
    assert not store.exists("a/b")
    assert list(store.list()) == []


class Refusing(FileStore):
    """Takes two megabytes and then has no room."""

    def put(self, key: str, data: bytes | BinaryIO) -> int:
        assert not isinstance(data, bytes)
        data.read(2_000_000)
        raise StoreUnavailable("full")


def test_the_writer_hears_of_the_stores_failure(store: FileStore, tmp_path: object) -> None:
    written = 0
    refusing = Refusing(store._root)
    with pytest.raises(StoreUnavailable, match="full"), UploadPipe(refusing, "a/b", clock()) as pipe:
        for _ in range(1_000):
            written += pipe.write(b"x" * 1_000_000)
    assert written < 50_000_000, "it went on writing into the void"


class Slow(FileStore):
    """Reads nothing until it is let."""

    gate = threading.Event()

    def put(self, key: str, data: bytes | BinaryIO) -> int:
        self.gate.wait(20)
        return super().put(key, data)


def test_a_slow_store_holds_the_writer_back(store: FileStore) -> None:
    slow, written = Slow(store._root), 0

    def write() -> None:
        nonlocal written
        with UploadPipe(slow, "a/b", clock()) as pipe:
            for _ in range(60):
                written += pipe.write(b"y" * 1_000_000)

    writer = threading.Thread(target=write)
    writer.start()
    writer.join(1.0)
    assert writer.is_alive()
    assert written < 20_000_000, "more was taken than a few megabytes ahead"
    slow.gate.set()
    writer.join(20)
    assert store.size("a/b") == 60_000_000


def test_the_clock_knows_who_was_busy() -> None:
    stages = StageClock({"generate": 1, "encode": 2})
    stages.add("encode", 1e9)
    details = stages.details()
    assert (details["slowest"], details["busy.encode"], details["busy.generate"]) == ("encode", 1.0, 0.0)
