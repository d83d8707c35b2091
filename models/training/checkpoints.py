"""Training state on disk, such that a kill at any instant, or a damaged file, costs one interval at most."""

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from models.whole_file import written_whole

NEWEST, PREVIOUS = "checkpoint.pt", "checkpoint.previous.pt"


def write_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write `state` into `folder`, whole or not at all; the checkpoint before it is kept as `checkpoint.previous.pt`.

    Raises:
        OSError: it could not be written; the checkpoints that were there still are.
    """
    newest = folder / NEWEST
    with written_whole(newest) as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())  # those before it give way only to one that is there
        if newest.exists():
            newest.replace(folder / PREVIOUS)


def has_checkpoint(folder: Path) -> bool:
    """Whether a run was here before."""
    return any((folder / name).exists() for name in (NEWEST, PREVIOUS))


def read_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The newest whole checkpoint of `folder`, on the CPU; None when there is none at all. Nothing in it can run code.

    Raises:
        ValueError: there are checkpoints, and all of them are damaged.
    """
    present = [folder / name for name in (NEWEST, PREVIOUS) if (folder / name).exists()]
    for path in present:
        state = _read(path)
        if state is not None:
            return state
    if present:
        names = " and ".join(str(path) for path in present)
        raise ValueError(f"{names}: damaged; delete the damaged files to start this run again from its first image")
    return None


def _read(path: Path) -> dict[str, Any] | None:
    """None if a byte of it is missing or wrong: torch itself does not compare checksums."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                return None
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, ValueError, RuntimeError, KeyError, zipfile.BadZipFile, pickle.UnpicklingError):
        return None
    return state
