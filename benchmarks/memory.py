"""Whether memory grows with the number of samples: `python -m benchmarks.memory --counts 1000 10000`.

Runs jobs of these sizes through the whole service on this machine, downloads each zip, and watches the resident memory
of the API and of the worker with the child that does the work. The last line is one JSON object.
"""

import argparse
import json
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from rich.console import Console

from labelmint.serving import serving
from models.bears.upload import bear_files, write_upload
from service.settings import Settings

PAGE_MB = 4096 / 2**20
console = Console(stderr=True)


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
            words = (folder / "cmdline").read_bytes().split(b"\0")
            environment = (folder / "environ").read_bytes()
        except OSError:
            continue
        if role.encode() in words and b"LABELMINT_DATA_DIR=" + str(data).encode() in environment:
            found.append(int(folder.name))
    return found


class MemoryWatch:
    """Samples the memory of both parts five times a second; `peaks` are MB."""

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
        while not self._stop.wait(0.2):
            for role in self.peaks:
                # The largest single process: parent and child share what was loaded before the fork.
                largest = max((resident_mb(pid) for pid in processes_of(role, self.data)), default=0.0)
                self.peaks[role] = max(self.peaks[role], largest)


def run_job(client: httpx.Client, project: str, count: int) -> tuple[float, int]:
    """Generate, wait and download; returns seconds and bytes of the zip."""
    started = time.perf_counter()
    answer = client.post("/generate", json={"project_id": project, "count": count, "seed": count}).raise_for_status()
    job = answer.json()
    while job["state"] not in ("succeeded", "failed", "cancelled"):
        job = client.get(f"/jobs/{job['id']}", headers={"Prefer": "wait=10"}).raise_for_status().json()
    if job["state"] != "succeeded":
        raise SystemExit(f"the job ended as {job['state']}: {job['error']}")
    seconds, size = time.perf_counter() - started, 0
    with client.stream("GET", f"/jobs/{job['id']}/download", params={"format": "png"}, follow_redirects=True) as body:
        body.raise_for_status()
        for chunk in body.iter_bytes():
            size += len(chunk)
    return seconds, size


def main() -> None:
    """Print samples per second and the peak memory of both parts for each count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--seeds", type=int, default=16)
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        data = Path(folder)
        settings = Settings(data_dir=data, store_url=f"file://{data / 'store'}", port=0)
        write_upload(data / "seeds.zip", bear_files(arguments.seeds, 1))
        with serving(settings) as service, httpx.Client(base_url=service.url, timeout=120) as client:
            with (data / "seeds.zip").open("rb") as file:
                answer = client.post("/projects", files={"archive": ("seeds.zip", file, "application/zip")})
            project = answer.raise_for_status().json()["id"]
            run_job(client, project, 10)  # the fit, which is the same for every count
            rows = []
            for count in arguments.counts:
                with MemoryWatch(data) as watch:
                    seconds, size = run_job(client, project, count)
                peaks = {f"peak_mb_{role}": round(peak, 1) for role, peak in watch.peaks.items()}
                rows.append({"count": count, "samples_s": round(count / seconds, 1), "zip_bytes": size} | peaks)
                console.print(rows[-1])
    growth = {
        role: round(rows[-1][f"peak_mb_{role}"] / rows[0][f"peak_mb_{role}"] - 1, 4) for role in ("worker", "api")
    }
    print(json.dumps({"runs": rows, "growth": growth}))


if __name__ == "__main__":
    main()
