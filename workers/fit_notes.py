"""What a user should know about a fit, in sentences."""

from collections.abc import Sequence
from typing import Any

ADVICE = 3
"""How many pieces of advice a job repeats; the project's report has all of them."""


def fit_notes(report: dict[str, Any], seed_names: Sequence[str]) -> list[str]:
    """The sentences for a labeler's report; `seed_names` are the project's, in the seeds' order."""
    notes = []
    left_out = [seed for seed in report["seeds"] if not seed["included"]]
    if left_out:
        names = ", ".join(f"{seed_names[seed['index']]} ({seed['psnr_db']:.1f} dB)" for seed in left_out)
        notes.append(
            f"{len(left_out)} of {len(seed_names)} seeds were left out of the fit, because the generator does not "
            f"rebuild them well enough: {names}."
        )
    if forced := [seed for seed in report["seeds"] if seed["included"] and seed.get("reason")]:
        names = ", ".join(f"{seed_names[seed['index']]} ({seed['psnr_db']:.1f} dB)" for seed in forced)
        notes.append(f"These seeds are in the fit because they were forced, although they invert badly: {names}.")
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
