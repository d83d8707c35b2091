"""What is freed is kept for what comes next."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import numpy as np
from workers.allocator import keep_memory
if sys.argv[1] == "keep":
    assert keep_memory()
def work():
    pieces = [np.ones(2**20, np.uint8) for _ in range(24)]
    del pieces
    np.ones(20 * 2**20, np.uint8)
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    return int(subprocess.run([sys.executable, "-c", FAULTS, how], check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="settings of glibc")
def test_freed_memory_is_used_again() -> None:
    fresh, kept = faults("leave"), faults("keep")
    assert kept < 2000 < fresh
