"""A plain pickle whose tensors are byte strings inside it, read without taking those into memory.

NVIDIA's training pickles whole networks, so that each tensor's storage is a `torch.save` file within a byte string.
A snapshot holds three networks and one is wanted. So the program is copied without its long byte strings, each of which
becomes a reference to its place in the file.
"""

import io
import struct
from typing import Any, BinaryIO

from models.checkpoint import CheckpointError
from models.foreign.bounded_file import BoundedFile
from models.foreign.opcode_limits import check_instructions
from models.foreign.raw_storages import Storage, Unchangeable
from models.foreign.restricted_unpickler import Constructor, load_restricted
from models.foreign.torch_legacy import read_torch_legacy

LENGTH_BYTES = {"BINBYTES": 4, "BINBYTES8": 8}
LONG = 256
LARGEST_PROGRAM = 2**27
"""Bytes that may remain without the long byte strings; source code and names are under a megabyte."""


class BytesInFile(Unchangeable):
    """A byte string that stayed in its file."""

    def __init__(self, file: BoundedFile) -> None:
        self.file = file


class Shortening:
    """Copies a pickle's instructions one after another, with references in place of long byte strings."""

    def __init__(self, file: BoundedFile) -> None:
        self.file, self.program, self.parts = file, io.BytesIO(), list[BytesInFile]()
        self._copied = 0

    def follow(self, name: str, start: int, end: int) -> None:
        """Take one instruction, which lies between two places of the file."""
        payload = start + 1 + LENGTH_BYTES.get(name, 0)
        if name in LENGTH_BYTES and end - payload > LONG:
            self._copy_until(start)
            # The place of the byte string as a number, and the instruction that looks it up.
            self.program.write(b"J" + struct.pack("<i", len(self.parts)) + b"Q")
            self.parts.append(BytesInFile(self.file.part(payload, end - payload)))
            self._copied = end
        elif name == "FRAME":
            # Frames say how much to read at once, which is no longer true; they can be left out.
            self._copy_until(start)
            self._copied = end
        elif name == "STOP":
            self._copy_until(end)

    def _copy_until(self, end: int) -> None:
        if self.program.tell() + end - self._copied > LARGEST_PROGRAM:
            raise CheckpointError(f"holds more than {LARGEST_PROGRAM} bytes besides tensors; no checkpoint does")
        here = self.file.tell()
        self.file.seek(self._copied)
        self.program.write(self.file.read(end - self._copied))
        self.file.seek(here)

    def part(self, place: object) -> BytesInFile:
        """The byte string that a reference stands for."""
        if type(place) is not int or not 0 <= place < len(self.parts):
            raise CheckpointError("refers to data outside itself")
        return self.parts[place]


def read_plain_pickle(source: BinaryIO) -> Any:
    """The object of a pickle; its tensors stay in the file until they are loaded.

    Raises:
        CheckpointError: it is damaged, or holds more than containers, NVIDIA's modules and tensors.
    """
    file = BoundedFile(source)
    short = Shortening(file)
    check_instructions(file, short.follow)
    names = {"torch.storage._load_from_bytes": Constructor(_nested_storage)}
    return load_restricted(BoundedFile(short.program), names, short.part)


def _nested_storage(data: object) -> Storage:
    """For `torch.storage._load_from_bytes`: a storage in a file of its own, in which no further one may be nested."""
    if isinstance(data, bytes):
        nested = BoundedFile(io.BytesIO(data))
    elif isinstance(data, BytesInFile):
        nested = data.file
    else:
        raise CheckpointError("holds a nested storage that is not bytes")
    storage = read_torch_legacy(nested)
    if not isinstance(storage, Storage):
        raise CheckpointError("holds a nested file that is not a tensor's storage; nothing of it was run")
    return storage
