"""What an uploaded file is, by its first bytes and, for a zip, the names of its members. Nothing of it is unpacked."""

import io
import struct
from collections.abc import Iterable, Iterator
from enum import StrEnum
from itertools import islice
from typing import BinaryIO

from service.uploads import is_ignored

_HEAD_BYTES = 64
_TAIL_BYTES = (1 << 16) + 256
_MOST_NAMES = 200_000
"""That a zip of images to train on may have."""

_NAMES_OF_IMAGES = 10_000
"""After so many, a zip that has an image is taken for one of images: a checkpoint has few members."""

_MOST_DIRECTORY = 64 * 2**20
"""Bytes of a zip's directory that are read: names may be 64 KiB long each."""

_LARGEST_HEADER = 100 * 2**20
_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


class Content(StrEnum):
    """What a generator can be made of. The names are those of the upload's parts."""

    CHECKPOINT = "checkpoint"
    IMAGES = "images"


def sniff(stream: BinaryIO) -> Content | None:
    """What the seekable `stream` holds, as far as a glance can tell; None for neither. A worker looks closer."""
    size = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    head = stream.read(_HEAD_BYTES)
    if head.startswith(b"PK\x03\x04"):
        return _in_zip(islice(_member_names(stream, size), _MOST_NAMES))
    is_pickle = len(head) > 2 and head[0] == 0x80 and 2 <= head[1] <= 5
    return Content.CHECKPOINT if is_pickle or _is_safetensors(head, size) else None


def _in_zip(names: Iterable[str]) -> Content | None:
    """What a zip with these names is. None of them is kept, for each may be 64 KiB long."""
    found = None
    for number, name in enumerate(names):
        if found is not None and number >= _NAMES_OF_IMAGES:
            break
        if name == "data.pkl" or name.endswith("/data.pkl"):
            return Content.CHECKPOINT
        if found is None and name.lower().endswith(_IMAGE_SUFFIXES) and not is_ignored(name):
            found = Content.IMAGES
    return found


def _is_safetensors(head: bytes, size: int) -> bool:
    """Eight bytes with the length of a JSON header, then the header."""
    return head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= min(size - 8, _LARGEST_HEADER)


def _member_names(stream: BinaryIO, size: int) -> Iterator[str]:
    """The names in a zip's directory, read one by one: `zipfile` would make objects of all of them first."""
    stream.seek(max(0, size - _TAIL_BYTES))
    tail = stream.read(_TAIL_BYTES)
    end = tail.rfind(b"PK\x05\x06")
    if end < 0 or len(tail) - end < 22:
        return
    (length,) = struct.unpack_from("<I", tail, end + 12)
    end64 = end - 76
    if end64 >= 0 and tail.startswith(b"PK\x06\x06", end64):
        (length,) = struct.unpack_from("<Q", tail, end64 + 40)
        end = end64
    place = size - len(tail) + end - length
    last = place + _MOST_DIRECTORY
    while 0 <= place < last:
        stream.seek(place)
        entry = stream.read(46)
        if len(entry) < 46 or not entry.startswith(b"PK\x01\x02"):
            return
        lengths = struct.unpack_from("<HHH", entry, 28)
        yield stream.read(lengths[0]).decode("utf-8", "replace")
        place += 46 + sum(lengths)
