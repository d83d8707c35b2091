"""The depth of all seeds: one scale for the project, and what does not go with it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from service.depth_scale import STEPS, choose_scale, depth_of, to_steps, unfit_depths
from service.label_schema import DepthSchema
from service.problems import Complaint
from service.project_spec import FILE as PROJECT_FILE
from service.project_spec import DepthSpec
from service.uploads import shown


@dataclass(frozen=True, slots=True)
class SeedDepth:
    """The depth of one seed, fitted."""

    path: str
    values: npt.NDArray[np.float32]
    """(H, W) in the project's unit, NaN where it is not known."""


def scaled_depths(
    depths: Mapping[str, SeedDepth], spec: DepthSpec
) -> tuple[DepthSchema | None, dict[str, npt.NDArray[np.uint16]], list[Complaint]]:
    """The schema that the depths of all seeds lead to, and NAME → pixels of the PNG to store.

    Without schema if anything is wrong, which the complaints say.
    """
    complaints = [
        Complaint(
            file=shown(depth.path),
            message="no depth is known in the part of the image that is kept",
            remedy="give depths above 0, or leave the seed out",
        )
        for depth in depths.values()
        if np.isnan(depth.values).all()
    ]
    if spec.scale is not None:
        complaints += _unfit(depths, spec.scale)
    if complaints or not depths:
        return None, {}, complaints
    scale = spec.scale or choose_scale(max(float(np.nanmax(depth.values)) for depth in depths.values()))
    steps = {name: to_steps(depth.values, scale) for name, depth in depths.items()}
    known = [array[array > 0] for array in steps.values()]
    least, largest = min(int(array.min()) for array in known), max(int(array.max()) for array in known)
    limits = {"minimum": depth_of(least, scale), "maximum": depth_of(largest, scale)}
    return DepthSchema(unit=spec.unit, scale=scale, **limits), steps, []


def _unfit(depths: Mapping[str, SeedDepth], scale: float) -> list[Complaint]:
    beyond, coarse = unfit_depths({depth.path: depth.values for depth in depths.values()}, scale)
    complaints = [
        Complaint(
            file=shown(path),
            field="depth.scale",
            message=f"its depth reaches {largest:g}, and {STEPS} steps of {scale:g} reach {STEPS * scale:g}",
            remedy=f"choose a larger `depth.scale` in {PROJECT_FILE}",
        )
        for path, largest in beyond.items()
    ]
    return complaints + [
        Complaint(
            file=shown(path),
            field="depth.scale",
            message=f"steps of {scale:g} are too coarse for its depth",
            remedy=f"choose a smaller `depth.scale` in {PROJECT_FILE}",
        )
        for path in coarse
    ]
