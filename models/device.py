"""Where to compute, and in which precision."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def choose_device(name: str = "auto") -> torch.device:
    """The device called `name`; `auto` is the first CUDA device, or the CPU.

    Raises:
        ValueError: the name is unknown, or asks for a GPU that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ValueError(f"device {name!r} is not one of auto, cpu, cuda, cuda:N")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {name!r} was asked for, but torch sees no GPU; use auto or cpu")
    if device.type == "cuda" and (device.index or 0) >= (count := torch.cuda.device_count()):
        raise ValueError(f"device {name!r} was asked for, but the last GPU that torch sees is cuda:{count - 1}")
    return device


def _cpu_multiplies_bfloat16() -> bool:
    return bool(torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def fast_precision(device: torch.device) -> torch.dtype:
    """For a frozen network: float16 on a GPU, bfloat16 on a CPU that multiplies it in hardware, else float32."""
    if device.type == "cuda":
        return torch.float16
    return torch.bfloat16 if _cpu_multiplies_bfloat16() else torch.float32


def training_precision(device: torch.device) -> torch.dtype:
    """For gradients: bfloat16 wherever it is fast, since unlike float16 it needs no loss scaling; else float32."""
    if device.type == "cuda":
        # Older ones take bfloat16 too, but work it out in float32 and convert back and forth.
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float32
    return torch.bfloat16 if _cpu_multiplies_bfloat16() else torch.float32


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on `device`. A GPU gets it after what it was asked for before, and nobody waits for that."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Inside, GPUs of one kind make the same bytes of the same batch, every time; CPUs always do."""
    if device.type != "cuda":
        yield
        return
    # Left to choose, cuDNN may add up in whichever order its threads come along.
    with torch.backends.cudnn.flags(enabled=True, deterministic=True):
        yield
