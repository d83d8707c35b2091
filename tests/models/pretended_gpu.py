"""A GPU that is not there: tensors that say they are on `cuda`, and compute on the CPU.

Torch's functions and methods are watched. What mixes devices fails as it would on a GPU, and what makes the processor
wait for one is noted. Whose device a tensor is on is known by its storage, so that views, parameters and what autograd
hands back are on the device of what they share memory with.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode, resolve_name

GPU, CPU = torch.device("cuda", 0), torch.device("cpu")

_TO_PYTHON = ("item", "tolist", "__bool__", "__float__", "__int__", "__index__", "__len__", "__array__", "numpy")
_OF_DATA = ("nonzero", "masked_select", "unique", "argwhere")
_ACROSS_DEVICES = ("copy_", "_has_compatible_shallow_copy_type")
_INDEXED = ("__getitem__", "__setitem__", "index_put", "index_put_")


class PretendedGpu(TorchFunctionMode):
    """While it is entered, tensors can be made on `cuda` or brought there. waits: how often the processor had to wait
    for the device, by the function that made it."""

    _storages: ClassVar[dict[int, StorageWeakRef]] = {}  # of all instances: what is kept in caches outlives one

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()

    def is_on_it(self, tensor: Tensor) -> bool:
        """Whether a tensor says that it is on the GPU."""
        with torch._C.DisableTorchFunction():
            reference = self._storages.get(tensor.untyped_storage()._cdata)
            return reference is not None and not reference.expired()

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name, kwargs = getattr(func, "__name__", ""), dict(kwargs or {})
        if name == "__get__":
            return self._attribute(func, args)
        if name == "__set__":
            return func(*args)
        if name == "to" and isinstance(args[0], Tensor):
            return self._to(*args, **kwargs)
        if name in ("cpu", "cuda"):
            return self._moved(args[0], CPU if name == "cpu" else GPU, False)
        if name == "pin_memory":
            assert not self.is_on_it(args[0]), "only memory of the CPU can be pinned"
            return args[0]
        if name in _ACROSS_DEVICES:
            if name == "copy_" and self.is_on_it(args[0]) != self.is_on_it(args[1]) and not kwargs.get("non_blocking"):
                self._wait(name)
            return func(*args, **kwargs)
        wanted = kwargs.get("device")
        if wanted is not None:
            kwargs["device"] = "meta" if torch.device(wanted).type == "meta" else "cpu"
        there = self._common(func, name, args, kwargs)
        if there and name in ("numpy", "__array__"):
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        if there and (name in _TO_PYTHON or name in _OF_DATA) and name != "__len__":
            self._wait(name)
        on = there if wanted is None else torch.device(wanted).type == "cuda"
        if (random := kwargs.get("generator")) is not None and on != (random.device.type == "cuda"):
            raise RuntimeError(f"{name}: the generator of random numbers is on another device")
        if on and not there and name in ("tensor", "as_tensor"):
            self._wait(name)
        result = func(*args, **kwargs)
        if on:
            self._claim(result)
        return result

    def _wait(self, name: str) -> None:
        self.waits[name] += 1

    def _attribute(self, func: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        which = resolve_name(func) or ""
        on = isinstance(args[0], Tensor) and self.is_on_it(args[0])
        if on and which.endswith("Tensor.device.__get__"):
            return GPU
        if which.endswith(("Tensor.is_cuda.__get__", "Tensor.is_cpu.__get__")) and args[0].device.type != "meta":
            return on == ("is_cuda" in which)
        result = func(*args)
        if on:
            self._claim(result)
        return result

    def _to(self, tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        others = [value for value in (*args, kwargs.get("other")) if isinstance(value, Tensor)]
        if others:
            kwargs.pop("other", None)
            device: torch.device | None = GPU if self.is_on_it(others[0]) else CPU
            args = (others[0].dtype,)
        else:
            flags = {key: kwargs.pop(key) for key in ("copy", "memory_format") if key in kwargs}
            device, dtype, non_blocking, _ = torch._C._nn._parse_to(*args, **kwargs)
            args, kwargs = (() if dtype is None else (dtype,)), {**flags, "non_blocking": non_blocking}
        waiting = not kwargs.pop("non_blocking", False)
        if device is not None and device.type != "meta":
            tensor = self._moved(tensor, device, not waiting)
        on = self.is_on_it(tensor)
        if args or kwargs:
            tensor = tensor.to(*args, **kwargs)
        if on:
            self._claim(tensor)
        return tensor

    def _moved(self, tensor: Tensor, device: torch.device, non_blocking: bool) -> Tensor:
        if self.is_on_it(tensor) == (device.type == "cuda"):
            return tensor
        if not non_blocking:
            self._wait(f"to {device.type}")
        assert not (non_blocking and device.type == "cpu"), "read before it is there"
        moved = tensor.clone()
        if device.type == "cuda":
            self._claim(moved)
        return moved

    def _common(self, func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether the tensors of a call are on the GPU; raises if only some of them are."""
        tensors = list(_tensors((args, kwargs)))
        if name in _INDEXED and tensors:
            chosen = [t for t in _tensors(args[1]) if t.dtype in (torch.bool, torch.uint8, torch.int64, torch.int32)]
            on = self.is_on_it(tensors[0])
            if any(self.is_on_it(t) and not on for t in chosen):
                raise RuntimeError(f"{name}: indices on the GPU, for a tensor on the CPU")
            if on and any(not self.is_on_it(t) or t.dtype == torch.bool for t in chosen if t.dim()):
                self._wait(f"{name} by data")
            tensors = [t for t in tensors if all(t is not index for index in chosen)]
        # A tensor of no dimensions is a number, wherever it is.
        places = {self.is_on_it(t) for t in tensors if t.dim() and t.device.type != "meta"}
        if len(places) > 1:
            shapes = [("cuda" if self.is_on_it(t) else "cpu", tuple(t.shape)) for t in tensors]
            raise RuntimeError(f"{resolve_name(func) or name}: tensors on different devices: {shapes}")
        return any(self.is_on_it(t) for t in tensors)

    def _claim(self, result: Any) -> None:
        with torch._C.DisableTorchFunction():
            for tensor in _tensors(result):
                if tensor.device.type != "meta":
                    storage = tensor.untyped_storage()
                    self._storages[storage._cdata] = StorageWeakRef(storage)


def _tensors(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, dict):
        yield from _tensors(tuple(values.values()))
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _tensors(value)


@contextmanager
def pretended_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendedGpu]:
    """A machine with one GPU that multiplies bfloat16, as far as torch can tell."""
    for name, value in {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "get_device_capability": lambda *_: (8, 0),
        "get_device_name": lambda *_: "pretended GPU",
        "is_bf16_supported": lambda *_: True,
        "synchronize": lambda *_: None,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    # It asks by C++, to which our tensors are on the CPU: there, too, many tensors are then worked on at once.
    monkeypatch.setattr(torch.optim.swa_utils, "_get_foreach_kernels_supported_devices", lambda: ["cuda", "cpu"])
    for name in ("_accelerator_graph_capture_health_check", "_cuda_graph_capture_health_check"):
        monkeypatch.setattr(torch.optim.Optimizer, name, lambda _: None, raising=False)
    with PretendedGpu() as gpu:
        yield gpu
