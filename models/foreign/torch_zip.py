"""The zip format of `torch.save`: one pickle, and one stored member for each storage."""

import io
import zipfile
from typing import Any, BinaryIO, cast

from models.checkpoint import CheckpointError
from models.foreign.bounded_file import BoundedFile
from models.foreign.raw_storages import Storage
from models.foreign.restricted_unpickler import load_restricted
from models.foreign.torch_legacy import declared_storage

LARGEST_DIRECTORY = 2**24
"""Bytes; torch writes about 150 for each storage."""

LARGEST_PICKLE = 2**26
LARGEST_STORAGE = 2**29


class TorchZip:
    """The members of a torch file, each checked to be stored plainly and once."""

    def __init__(self, source: BinaryIO) -> None:
        file = BoundedFile(source, limit=LARGEST_DIRECTORY)
        try:
            self.archive = zipfile.ZipFile(cast("BinaryIO", file))
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, OverflowError) as error:
            raise CheckpointError(f"is not a readable zip: it is truncated or damaged ({error})") from error
        file.limit = None
        self.members: dict[str, zipfile.ZipInfo] = {}
        for info in self.archive.infolist():
            if info.filename in self.members:
                raise CheckpointError(f"holds {info.filename[:100]!r} twice")
            if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or info.file_size != info.compress_size:
                raise CheckpointError(f"holds {info.filename[:100]!r} compressed or encrypted; torch.save never does")
            self.members[info.filename] = info
        if sum(info.file_size for info in self.members.values()) > file.size:
            raise CheckpointError("declares members larger than itself")
        pickles = [name for name in self.members if name.rpartition("/")[2] == "data.pkl"]
        if len(pickles) != 1:
            raise CheckpointError(
                "is a zip, but not one of torch.save: it has no data.pkl. Unlabeled images to train on are not a "
                "checkpoint; send them as images"
            )
        self.prefix = pickles[0].removesuffix("data.pkl")
        if f"{self.prefix}constants.pkl" in self.members:
            raise CheckpointError("is a TorchScript program; save the state dict with torch.save instead")

    def bytes_of(self, name: str, limit: int) -> bytes:
        """A member's content, its checksum verified."""
        info = self.members.get(self.prefix + name)
        if info is None or info.file_size > limit:
            raise CheckpointError(f"lacks {name[:100]!r}, or declares it larger than it can be")
        try:
            return self.archive.read(info)
        except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
            raise CheckpointError(f"holds a damaged {name[:100]!r} ({error})") from error

    def storage(self, pid: object) -> Storage:
        """The storage of a persistent id."""
        kind, key, length = declared_storage(pid)
        name, size = f"data/{key}", length * kind.dtype.itemsize
        info = self.members.get(self.prefix + name)
        if info is None or info.file_size != size:
            raise CheckpointError(f"declares a storage {key[:40]!r} of {size} bytes that is not there")
        return Storage(
            kind.dtype, length, lambda start, count: self.bytes_of(name, LARGEST_STORAGE)[start : start + count]
        )


def read_torch_zip(source: BinaryIO) -> Any:
    """The object of a torch file; its tensors stay in the file until they are loaded.

    Raises:
        CheckpointError: it is damaged, or holds more than containers and tensors.
    """
    file = TorchZip(source)
    if f"{file.prefix}byteorder" in file.members and file.bytes_of("byteorder", 16).strip() != b"little":
        raise CheckpointError("was written on a big-endian machine; save it again on a little-endian one")
    program = BoundedFile(io.BytesIO(file.bytes_of("data.pkl", LARGEST_PICKLE)))
    return load_restricted(program, persistent=file.storage)
