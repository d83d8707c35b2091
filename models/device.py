"""Where to compute, and in which precision."""

import torch


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
        raise ValueError(f"device {name!r} is not one of auto, cpu, cuda, cuda:N") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {name!r} was asked for, but torch sees no GPU; use auto or cpu")
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
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    return torch.bfloat16 if _cpu_multiplies_bfloat16() else torch.float32
