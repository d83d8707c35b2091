"""A generator as a foreign file describes it, and how it becomes one of ours."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from models.architecture import Architecture
from models.checkpoint import CheckpointError
from models.foreign.raw_storages import StoredTensor
from models.generator import Generator
from models.resample_filter import RESAMPLE_TAPS

LATENTS = 65_536
"""Samples of w whose mean stands in for a `w_avg` that is missing."""

LARGEST_GENERATOR = 500_000_000
"""Weights; the largest StyleGAN2 that was published has a tenth of that."""


@dataclass(frozen=True)
class ForeignGenerator:
    """tensors: by the file's own names. name_of: the file's name of one of our tensors. facts: JSON values worth
    recording. notes: what a user should know about how it was read."""

    architecture: Architecture
    tensors: Mapping[str, StoredTensor]
    name_of: Callable[[str], str]
    facts: dict[str, Any]
    notes: list[str]


def checked_architecture(**values: Any) -> Architecture:
    """An `Architecture` of values from a file.

    Raises:
        CheckpointError: a value is of the wrong type or out of range.
    """
    try:
        return Architecture(**values)
    except (TypeError, ValueError, OverflowError) as error:
        raise CheckpointError(f"describes a generator that cannot be built: {error}") from error


def blank_generator(architecture: Architecture) -> Generator:
    """The generator without memory for its weights.

    Raises:
        CheckpointError: it would be absurdly large.
    """
    try:
        with torch.device("meta"):
            generator = Generator(architecture)
    except (RuntimeError, OverflowError) as error:
        raise CheckpointError(f"describes a generator that cannot be built: {error}") from error
    size = sum(t.numel() for t in generator.state_dict().values())
    if size > LARGEST_GENERATOR:
        raise CheckpointError(f"describes a generator of {size} weights; {LARGEST_GENERATOR} are the most")
    return generator


def _without_ones(shape: tuple[int, ...]) -> list[int]:
    return [n for n in shape if n != 1]


def _check_names(foreign: ForeignGenerator, wanted: set[str], optional: set[str]) -> None:
    missing, extra = sorted(wanted - foreign.tensors.keys() - optional), sorted(foreign.tensors.keys() - wanted)
    if missing:
        raise CheckpointError(f"lacks {len(missing)} of its tensors, the first being {missing[0]!r}")
    if extra:
        raise CheckpointError(
            f"holds {len(extra)} tensors that a StyleGAN2 of its kind does not have, the first being "
            f"{extra[0][:100]!r}; it may come from a modified network, which is not supported"
        )


def build_generator(foreign: ForeignGenerator, progress: Callable[[str], None]) -> Generator:
    """A frozen float32 generator with the file's weights; appends to `foreign.notes` what had to be made up.

    Raises:
        CheckpointError: a tensor is missing, superfluous, of another shape, or not finite.
    """
    generator = blank_generator(foreign.architecture)
    blank = generator.state_dict()
    noises = {name for name in blank if name.endswith("noise_const")}
    optional = {foreign.name_of(name) for name in noises | {"mapping.w_avg"}}
    _check_names(foreign, {foreign.name_of(name) for name in blank}, optional)
    for name, expected in blank.items():
        stored = foreign.tensors.get(foreign.name_of(name))
        if stored and _without_ones(stored.shape) != _without_ones(tuple(expected.shape)):
            raise CheckpointError(
                f"{foreign.name_of(name)!r} has shape {stored.shape} where its configuration needs "
                f"{tuple(expected.shape)}; the file is damaged or from a modified network"
            )
    random = torch.Generator().manual_seed(0)
    loaded: dict[str, Tensor] = {}
    for name, expected in blank.items():
        stored = foreign.tensors.get(foreign.name_of(name))
        if stored:
            loaded[name] = load_named(foreign.name_of(name), stored).reshape(expected.shape)
        else:
            loaded[name] = torch.zeros(expected.shape)
            if name in noises:
                loaded[name].normal_(generator=random)
    generator.load_state_dict(loaded, assign=True)
    generator.eval().requires_grad_(False)
    if any(foreign.name_of(name) not in foreign.tensors for name in noises):
        foreign.notes.append("its fixed noise was missing and was drawn anew")
    if foreign.name_of("mapping.w_avg") not in foreign.tensors:
        progress("measuring the mean latent")
        generator.mapping.w_avg.copy_(mean_latent(generator))
        foreign.notes.append(f"its w_avg was missing and was measured over {LATENTS} samples")
    return generator


def load_named(name: str, stored: StoredTensor) -> Tensor:
    """The tensor, its name before anything that is wrong with it."""
    try:
        return stored.load()
    except CheckpointError as error:
        raise CheckpointError(f"{name!r} {error}") from error


@torch.no_grad()
def mean_latent(generator: Generator, seed: int = 0) -> Tensor:
    """The mean w (w_dim,) of `LATENTS` random samples, of all classes alike; the same whenever it is asked for."""
    random = torch.Generator().manual_seed(seed)
    total = torch.zeros(generator.architecture.w_dim, dtype=torch.float64)
    chunk = 4096
    for _ in range(LATENTS // chunk):
        z = torch.randn(chunk, generator.architecture.z_dim, generator=random)
        total += generator.mapping(z, c=generator.mapping.random_classes(chunk, random)).double().sum(dim=0)
    return (total / LATENTS).float()


def check_resample_filters(kernels: Mapping[str, StoredTensor], gain: float) -> None:
    """Hold the file's resample filters to the one that is built in, times `gain`.

    Raises:
        CheckpointError: one is different.
    """
    taps = torch.tensor(RESAMPLE_TAPS)
    expected = torch.outer(taps, taps) * (gain / taps.sum() ** 2)
    for name, stored in kernels.items():
        if stored.shape != (4, 4) or not torch.allclose(load_named(name, stored), expected, rtol=1e-4):
            raise CheckpointError(f"{name!r} is not the filter [1, 3, 3, 1]; other resample filters are not supported")
