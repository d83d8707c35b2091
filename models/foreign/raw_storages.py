"""Tensors of a foreign file, as places in its bytes: nothing is read or allocated until a tensor is wanted."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from models.checkpoint import CheckpointError

LARGEST_TENSOR_BYTES = 2**29
ELEMENT_TYPES: Mapping[str, torch.dtype] = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class Unchangeable:
    """A value of a foreign pickle that the pickle cannot alter once it is there."""

    def __setstate__(self, state: object) -> None:
        raise CheckpointError(f"tries to change the state of a {type(self).__name__}; nothing was run")


@dataclass(frozen=True)
class ElementType(Unchangeable):
    """The kind of a storage, by which torch names its element type."""

    dtype: torch.dtype


@dataclass(frozen=True)
class Storage(Unchangeable):
    """A run of numbers in a file. read(start, count): that many bytes from `start`."""

    dtype: torch.dtype
    length: int
    read: Callable[[int, int], bytes]


@dataclass(frozen=True)
class StoredTensor(Unchangeable):
    """A dense tensor: `shape` and `strides` over the numbers of `storage` from `offset` on, checked to lie inside."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)

    def load(self) -> Tensor:
        """The tensor, float32 and contiguous.

        Raises:
            CheckpointError: its numbers are not floating point, not finite, or not all there.
        """
        dtype = self.storage.dtype
        if not self.size:
            raise CheckpointError("is empty")
        if not dtype.is_floating_point:
            raise CheckpointError(f"holds {dtype} where weights are floating point")
        raw = bytearray(self.storage.read(self.offset * dtype.itemsize, self.size * dtype.itemsize))
        tensor = torch.frombuffer(raw, dtype=dtype).as_strided(self.shape, self.strides).float().contiguous()
        if not all(math.isfinite(extreme) for extreme in torch.stack(tensor.aminmax()).tolist()):
            raise CheckpointError("holds NaN or infinite weights; its training has diverged, take an earlier snapshot")
        return tensor


def _whole(numbers: object) -> tuple[int, ...]:
    """A pickled size or stride as a tuple of non-negative whole numbers."""
    if not isinstance(numbers, tuple) or len(numbers) > 8 or not all(type(n) is int and n >= 0 for n in numbers):
        raise CheckpointError("describes a tensor with a size that is not a few whole numbers")
    return numbers


def stored_tensor(storage: object, offset: object, shape: object, strides: object, *_: Any) -> StoredTensor:
    """What `torch._utils._rebuild_tensor_v2` says of a tensor, after checking it.

    Raises:
        CheckpointError: it is not a dense tensor inside its storage.
    """
    if not isinstance(storage, Storage):
        raise CheckpointError("describes a tensor without a plain storage")
    shape, strides = _whole(shape), _whole(strides)
    if type(offset) is not int or offset < 0 or len(shape) != len(strides):
        raise CheckpointError("describes a tensor whose offset, size and strides do not fit together")
    size = math.prod(shape)
    span = 1 + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if size and span != size:
        raise CheckpointError(f"describes a tensor of size {shape} whose strides {strides} repeat or skip numbers")
    if offset + size > storage.length:
        raise CheckpointError(f"describes a tensor of size {shape} in a storage of {storage.length} numbers")
    if size * storage.dtype.itemsize > LARGEST_TENSOR_BYTES:
        raise CheckpointError(f"describes a tensor of size {shape}, larger than any layer")
    return StoredTensor(storage, offset, shape, strides)
