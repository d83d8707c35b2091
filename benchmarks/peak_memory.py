"""How much memory this process has taken."""

from pathlib import Path


def peak_mb() -> float:
    """The largest resident size that this process has had; getrusage would answer with that of the one that started
    it, if that is larger."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
