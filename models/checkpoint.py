"""Networks on disk: safetensors with the facts that rebuild them in the header."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from models.whole_file import written_whole


class CheckpointError(ValueError):
    """A file is not what it should be; the message names it and what is wrong."""


def save_tensors(path: Path, tensors: dict[str, Tensor], kind: str, facts: dict[str, Any]) -> None:
    """Write tensors whole or not at all, with `kind` and JSON `facts` in the header.

    Args:
        path: the file to replace; its folder must exist.
        kind: what the file is (`generator`, `encoder`, `labeler`, …), checked on loading.
        facts: JSON values needed to rebuild the network.

    Raises:
        OSError: it could not be written.
    """
    header = {"kind": kind, "facts": json.dumps(facts, sort_keys=True)}
    with written_whole(path) as file:
        save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, file.name, header)


def load_tensors(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the facts of a file that `save_tensors` wrote.

    Raises:
        CheckpointError: not a safetensors file, or of another kind.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            if header.get("kind") != kind:
                raise CheckpointError(f"{path.name}: holds {header.get('kind', 'something else')}, not a {kind}")
            return {name: file.get_tensor(name) for name in file.keys()}, json.loads(header["facts"])  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path.name}: not a readable {kind} file ({error})") from error


def half(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Floating tensors in float16, for shipping; others as they are."""
    return {name: t.to(torch.float16) if t.is_floating_point() else t for name, t in tensors.items()}
