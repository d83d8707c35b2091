"""What a user should know about a fit, in sentences."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from service.records import ProjectRecord

ADVICE = 3
"""How many pieces of advice a job repeats; the project's report has all of them."""


FAR_BELOW_DB = 6.0
"""A seed that is rebuilt so much worse than the middle one is worth a look."""


def fit_notes(report: dict[str, Any], project: ProjectRecord) -> list[str]:
    """The sentences for the report of a project's labeler."""
    notes = []
    left_out = [seed for seed in report["seeds"] if not seed["included"]]
    if left_out:
        notes.append(
            f"{len(left_out)} of {len(project.seeds)} seeds were left out of the fit, because the generator does not "
            f"rebuild them well enough: {_named(left_out, project)}."
        )
    if forced := [seed for seed in report["seeds"] if seed["included"] and seed.get("reason")]:
        notes.append(
            "These seeds are in the fit because they were forced, although they invert badly: "
            f"{_named(forced, project)}."
        )
    middle = statistics.median(seed["psnr_db"] for seed in report["seeds"])
    far = [seed for seed in report["seeds"] if not seed.get("reason") and seed["psnr_db"] < middle - FAR_BELOW_DB]
    if far:
        notes.append(
            f"These seeds are rebuilt much worse than the others (half of them reach {middle:.1f} dB): "
            f"{_named(far, project)}. See in the sheet whether their labels still fit what the generator makes of them."
        )
    steps, asked = report.get("refinement_steps"), report["settings"]["refinement"]["steps"]
    if steps is not None and steps < asked:
        notes.append(
            f"Seeds were refined for {steps} of {asked} steps, because the time for it ran out; with a GPU, or with "
            "fewer seeds, they would be rebuilt better."
        )
    if not report["settings"].get("flip", True) and project.flip is None:
        notes.append(
            "Seeds were not flipped to learn from them twice, because the schema does not tell what becomes of left "
            "and right: give `mirror` to the names of sides, or say `flip` in project.json."
        )
    if (flipped := report.get("flipped")) and flipped.get("usable", flipped["used"]) == 0:
        straight = flipped.get("straight_psnr_db", report["mean_psnr_db"])
        notes.append(
            "No flipped seed was learnt from, because the generator does not rebuild them well enough: "
            f"{flipped['psnr_db']:.1f} dB on average, and the same seeds as they are {straight:.1f} dB."
        )
    advice = report.get("advice", [])
    notes += advice[:ADVICE]
    if len(advice) > ADVICE:
        notes.append(f"The project's report has {len(advice) - ADVICE} more such findings.")
    perceptual = report["perceptual"]
    if perceptual["weights"] == "random":
        notes.append(
            f"Seeds were inverted by their pixels alone, because the weights of {perceptual['backbone']}, which the "
            "perceptual distance LPIPS needs, were not at hand. Name a file with them in LABELMINT_LPIPS_WEIGHTS."
        )
    return notes


def _named(seeds: Sequence[Mapping[str, Any]], project: ProjectRecord) -> str:
    """Rows of a report by the names that were uploaded, and by the numbers that its pictures have for them."""
    return ", ".join(
        f"{project.seeds[seed['index']].name} (seed {seed['index']}, {seed['psnr_db']:.1f} dB)" for seed in seeds
    )
