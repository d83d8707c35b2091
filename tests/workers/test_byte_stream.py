"""An iterator of bytes, read as a file."""

import io
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.byte_stream import byte_stream


@given(chunks=st.lists(st.binary(max_size=40), max_size=12), step=st.integers(1, 50), buffer=st.integers(1, 64))
def test_it_reads_what_was_yielded(chunks: list[bytes], step: int, buffer: int) -> None:
    stream = byte_stream(chunks, buffer)
    out = io.BytesIO()
    while block := stream.read(step):
        out.write(block)
    assert out.getvalue() == b"".join(chunks)


def test_it_takes_no_more_than_it_needs() -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield b"x" * 100

    assert len(byte_stream(endless(), 1000).read(500)) == 500
    assert taken <= 10


def test_an_error_of_the_iterator_reaches_the_reader() -> None:
    def broken() -> Iterator[bytes]:
        yield b"x"
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError, match="gone"):
        byte_stream(broken()).read()
