"""From a checkpoint of anybody's to a generator of ours. Nothing in the file is executed."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import torch

from models.checkpoint import CheckpointError, load_tensors
from models.foreign.bounded_file import BoundedFile
from models.foreign.foreign_generator import blank_generator, build_generator, checked_architecture
from models.foreign.nvidia import is_nvidia, nvidia_generator
from models.foreign.plain_pickle import read_plain_pickle
from models.foreign.restricted_unpickler import Ignored, PersistentObject
from models.foreign.rosinality import is_rosinality, rosinality_generator
from models.foreign.sniff import WANTED, Container, sniff
from models.foreign.torch_legacy import read_torch_legacy
from models.foreign.torch_zip import read_torch_zip
from models.generator import Generator

LARGEST_FILE = 2**32
"""Bytes; a snapshot of a 1024² generator with its optimisers has a quarter of that."""


_OUT_OF_MEMORY = ("cannot allocate memory", "can't allocate memory", "not enough memory")
"""How torch puts it, in errors of other kinds."""


@dataclass(frozen=True)
class ImportedGenerator:
    """generator: float32, frozen, on the CPU. source: whose layout it came in. facts: JSON values worth recording,
    among them `notes`, a list of sentences about what was made up or left out."""

    generator: Generator
    source: Literal["nvidia", "rosinality", "labelmint"]
    facts: dict[str, Any]


def import_checkpoint(path: Path, progress: Callable[[str], None] | None = None) -> ImportedGenerator:
    """Read the generator of a StyleGAN2 checkpoint: NVIDIA's pickle, rosinality's `.pt`, or our own safetensors.

    Args:
        progress: told in a few words what is being done.

    Raises:
        CheckpointError: the file is not one of these, is damaged, hostile or unsupported; the message names the file
            and what to do.
        MemoryError: there is not enough for what the file asks for.
    """
    tell = progress or (lambda _: None)
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            if size > LARGEST_FILE:
                raise CheckpointError(f"has {size} bytes; {LARGEST_FILE} are the most. Save the generator alone")
            container = sniff(file)
            if container == "safetensors":
                return _import_own(path)
            tell(f"reading a {container} of {size / 1e6:.0f} MB")
            return _import_foreign(_content(file, container), tell)
    except CheckpointError as error:
        raise CheckpointError(f"{path.name}: {str(error).removeprefix(f'{path.name}: ')}") from error
    except OSError as error:
        raise CheckpointError(f"{path.name}: cannot be read ({error.strerror or error})") from error
    except MemoryError:
        raise
    except Exception as error:
        if any(words in str(error).lower() for words in _OUT_OF_MEMORY):
            raise MemoryError(f"{path.name}: {error}") from error
        raise CheckpointError(f"{path.name}: is damaged ({type(error).__name__}: {str(error)[:200]})") from error


def _content(file: BinaryIO, container: Container) -> Any:
    if container == "torch zip":
        return read_torch_zip(file)
    if container == "torch legacy":
        return read_torch_legacy(BoundedFile(file))
    return read_plain_pickle(file)


def _import_foreign(content: Any, tell: Callable[[str], None]) -> ImportedGenerator:
    source: Literal["nvidia", "rosinality"]
    if is_nvidia(content):
        source, foreign = "nvidia", nvidia_generator(content)
    elif is_rosinality(content):
        source, foreign = "rosinality", rosinality_generator(content)
    else:
        raise CheckpointError(_what_else(content))
    tell(f"building a generator of {foreign.architecture.resolution}² pixels")
    generator = build_generator(foreign, tell)
    return ImportedGenerator(generator, source, foreign.facts | {"notes": foreign.notes})


def _import_own(path: Path) -> ImportedGenerator:
    """A generator that this project wrote."""
    tensors, facts = load_tensors(path, "generator")
    values = facts.get("architecture") if isinstance(facts, dict) else None
    if not isinstance(values, dict):
        raise CheckpointError("does not say its architecture; it was not written by labelmint")
    generator = blank_generator(checked_architecture(**values))
    expected = {name: tuple(t.shape) for name, t in generator.state_dict().items()}
    found = {name: tuple(t.shape) for name, t in tensors.items()}
    if wrong := sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)):
        raise CheckpointError(f"does not fit its own architecture: {wrong[0]!r} is missing, superfluous or misshapen")
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or not torch.isfinite(tensor).all():
            raise CheckpointError(f"{name!r} holds NaN, infinite or whole numbers; take an earlier snapshot")
    generator.load_state_dict({name: t.float() for name, t in tensors.items()}, assign=True)
    generator.eval().requires_grad_(False)
    return ImportedGenerator(generator, "labelmint", {"notes": []})


def _what_else(content: object) -> str:
    """What a readable file that holds no StyleGAN2 seems to be, and what to do."""
    if isinstance(content, PersistentObject | Ignored) or not isinstance(content, dict):
        return f"holds no state dict and no network of NVIDIA's; {WANTED}"
    names = [str(name) for name in content]
    inner = [str(name) for value in content.values() if isinstance(value, dict) for name in list(value)[:1000]]
    everything = names + inner
    if any(name.startswith(("g_mapping.", "g_synthesis.", "generator.progression.")) for name in everything):
        return f"is a StyleGAN1, which is not supported yet; {WANTED}"
    if any(name.startswith("decoder.") for name in everything):
        return f"is an encoder with a generator inside, such as pSp's; {WANTED}"
    if any(name.startswith(("synthesis.L", "synthesis.input.")) for name in everything):
        return f"is a StyleGAN3, which is not supported yet; {WANTED}"
    told = ", ".join(repr(name[:60]) for name in names[:6])
    return f"holds {told or 'nothing'} and no StyleGAN2 that is known here; {WANTED}"
