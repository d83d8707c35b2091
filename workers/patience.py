"""How long torch's threads spin while they wait for each other."""

import os

SPINS = "1000"
"""Some microseconds. Where other processes use the processor too, threads that spin as long as libgomp lets them keep
those from running whom they wait for, and two workers are slower by far than one."""


def spin_briefly() -> None:
    """Let threads of OpenMP sleep soon; has an effect only before torch is imported, and none where the user has said
    otherwise."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
