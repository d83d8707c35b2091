"""The older file format of `torch.save`: five pickles one after another, then the storages as raw bytes."""

import struct
from dataclasses import dataclass, field
from typing import Any

from models.checkpoint import CheckpointError
from models.foreign.bounded_file import BoundedFile
from models.foreign.raw_storages import ElementType, Storage
from models.foreign.restricted_unpickler import load_restricted

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001


def declared_storage(pid: object) -> tuple[ElementType, str, int]:
    """Element type, key and length of the storage that a persistent id of torch stands for.

    Raises:
        CheckpointError: it stands for anything else, such as a module with its source code.
    """
    if not isinstance(pid, tuple) or not 5 <= len(pid) <= 6 or pid[0] != "storage":
        raise CheckpointError("refers to something other than a tensor's storage; save the state dict alone")
    kind, key, length, view = pid[1], pid[2], pid[4], (pid[5] if len(pid) == 6 else None)
    if not isinstance(kind, ElementType) or not isinstance(key, str) or type(length) is not int or length < 0:
        raise CheckpointError("describes a storage that is not a plain run of numbers")
    if view is not None:
        raise CheckpointError("holds a view of a storage, which torch no longer writes; save it again")
    return kind, key, length


@dataclass
class StorageTable:
    """The storages that a legacy file declares, and where in the file they turned out to be."""

    file: BoundedFile
    storages: dict[str, Storage] = field(default_factory=dict)
    positions: dict[str, int] = field(default_factory=dict)

    def declare(self, pid: object) -> Storage:
        """The storage of a persistent id; its place is known once the pickle is read."""
        kind, key, length = declared_storage(pid)
        if length * kind.dtype.itemsize > self.file.size:
            raise CheckpointError(f"declares a storage of {length} numbers, more than the whole file")

        def read(start: int, count: int) -> bytes:
            return self.file.part(self.positions[key] + start, count).read()

        storage = self.storages.setdefault(key, Storage(kind.dtype, length, read))
        if (storage.dtype, storage.length) != (kind.dtype, length):
            raise CheckpointError(f"declares storage {key[:40]!r} twice and differently")
        return storage

    def locate(self, keys: object) -> None:
        """Walk over the raw bytes that follow the pickles: each storage is its length and its numbers."""
        names = [key for key in keys if isinstance(key, str)] if isinstance(keys, list) else []
        if sorted(names) != sorted(self.storages):
            raise CheckpointError("lists other storages than its tensors use")
        for key in names:
            storage = self.storages[key]
            if struct.unpack("<q", self.file.read(8))[0] != storage.length:
                raise CheckpointError(f"holds storage {key[:40]!r} at another length than it declares")
            self.positions[key] = self.file.tell()
            size = storage.length * storage.dtype.itemsize
            if size > self.file.remaining:
                raise CheckpointError("ends too early: it is truncated or damaged")
            self.file.seek(self.positions[key] + size)


def read_torch_legacy(file: BoundedFile) -> Any:
    """The object of a legacy file; its tensors stay in the file until they are loaded.

    Raises:
        CheckpointError: it is damaged, or holds more than containers and tensors.
    """
    table = StorageTable(file)
    if load_restricted(file) != MAGIC_NUMBER or load_restricted(file) != PROTOCOL_VERSION:
        raise CheckpointError("is not a file of torch.save")
    system = load_restricted(file)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise CheckpointError("was written on a big-endian machine; save it again on a little-endian one")
    content = load_restricted(file, persistent=table.declare)
    table.locate(load_restricted(file))
    return content
