"""How much memory the processes of a service on this machine hold."""

import os
import threading
from pathlib import Path

PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20


def resident_mb(pid: int) -> float:
    """Resident memory of a process, 0 if it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_MB
    except (OSError, IndexError):
        return 0.0


def processes_of(role: str, data: Path) -> list[int]:
    """Processes whose command line runs `labelmint ROLE`, forked children included, of the service in `data`."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if role.encode() not in (folder / "cmdline").read_bytes().split(b"\0"):
                continue
            if b"LABELMINT_DATA_DIR=" + str(data).encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


class MemoryWatch:
    """Samples the memory of API and worker twice a second, since to look takes from what is looked at; `peaks` are MB
    of the largest single process of each, since parent and child share what was loaded before the fork."""

    def __init__(self, data: Path) -> None:
        self.data, self.peaks, self._stop = data, {"api": 0.0, "worker": 0.0}, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "MemoryWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.5):
            for role in self.peaks:
                largest = max((resident_mb(pid) for pid in processes_of(role, self.data)), default=0.0)
                self.peaks[role] = max(self.peaks[role], largest)
