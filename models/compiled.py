"""Compiled code that lies beside a module, built where the package is installed if there is a C compiler."""

import ctypes
from collections.abc import Sequence
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path


def compiled(folder: Path, name: str, facts: Sequence[int]) -> ctypes.CDLL | str:
    """The library `name` in `folder`, or why there is none to use.

    Args:
        facts: what the caller and the C code have to agree on, sizes of structures above all; its `is_meant` compares
            them, so that one built from another version is not called.
    """
    path = folder / f"{name}{EXTENSION_SUFFIXES[0]}"
    if not path.exists():
        return "not built"
    try:
        library = ctypes.CDLL(str(path))
        if not library.is_meant((ctypes.c_int32 * len(facts))(*facts), len(facts)):
            return "built from another version"
    except (OSError, AttributeError) as failure:
        return f"cannot be loaded: {failure}"
    return library
