"""What a file is, from its first bytes; names and extensions are not believed."""

from typing import BinaryIO, Literal

from models.checkpoint import CheckpointError
from models.foreign.torch_legacy import MAGIC_NUMBER

Container = Literal["safetensors", "torch zip", "torch legacy", "pickle"]

LEGACY_START = b"\x8a\x0a" + MAGIC_NUMBER.to_bytes(10, "little")
WANTED = (
    "send a StyleGAN2 as NVIDIA's .pkl (a training snapshot), as rosinality's .pt, or as a generator of labelmint "
    "(weights.safetensors)"
)
OTHERS = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"\x89HDF": "an HDF5 file",
    b"\x1f\x8b": "a gzip archive; unpack it first",
    b"BZh": "a bzip2 archive; unpack it first",
    b"\xfd7zXZ": "an xz archive; unpack it first",
    b"7z\xbc\xaf": "a 7z archive; unpack it first",
    b"Rar!": "a RAR archive; unpack it first",
    b"<!DO": "a web page, probably saved in place of a download",
    b"<htm": "a web page, probably saved in place of a download",
    b"vers": "a Git LFS pointer, not the file it points to; run git lfs pull",
}


def sniff(file: BinaryIO) -> Container:
    """The container format of a file.

    Raises:
        CheckpointError: it is none that holds a generator; the message says what it seems to be.
    """
    start = file.read(16)
    file.seek(0)
    if not start:
        raise CheckpointError(f"is empty; {WANTED}")
    if start[:4] == b"PK\x03\x04":
        return "torch zip"
    if start[:1] == b"\x80" and len(start) > 1 and 2 <= start[1] <= 5:
        return "torch legacy" if start[2:14] == LEGACY_START else "pickle"
    if len(start) > 8 and start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 2**27:
        return "safetensors"
    for magic, what in OTHERS.items():
        if start.startswith(magic):
            raise CheckpointError(f"is {what}. For a generator, {WANTED}")
    raise CheckpointError(f"is no checkpoint that is known here; {WANTED}")
