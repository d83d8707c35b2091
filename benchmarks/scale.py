"""How much faster two workers are than one: `python -m benchmarks.scale --workers 1,2`.

Runs the same request through the whole service (API, queue, workers, store of files) once for each number of workers,
each worker bound to a core of its own; API, Redis and this client go where the system puts them, so that with as many
workers as cores they take their time from the workers. Timed is what the service itself notes: from a job's acceptance
to its success, and within it the part that is cut into shards, from the plan to the last shard. The zips are compared
whole and member by member. The last line is one JSON object.
"""

import argparse
import hashlib
import json
import os
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import torch
from rich.console import Console

from labelmint.serving import RunningService, serving
from models.bears.upload import bear_files, write_upload
from models.provenance import describe_device
from service.queue import JobQueue
from service.redis_client import connect
from service.settings import Settings
from workers.publish import prepare_in_child

SEED = 8
POLL_S = 1.0
WORKERS_START_S = 120.0
console = Console(stderr=True)


@dataclass(frozen=True)
class Run:
    """One job. start_s: from acceptance to the plan. sampling_s: from there to the last shard. package_s: from there
    to success. digest: SHA-256 of the zip. members: path → CRC-32 and size."""

    workers: int
    count: int
    shards: int
    start_s: float
    sampling_s: float
    package_s: float
    digest: str
    members: dict[str, tuple[int, int]]

    @property
    def seconds(self) -> float:
        """From acceptance to success."""
        return self.start_s + self.sampling_s + self.package_s

    def told(self) -> dict[str, float]:
        """What is measured, rounded."""
        return {
            "seconds": round(self.seconds, 2),
            "start_s": round(self.start_s, 2),
            "sampling_s": round(self.sampling_s, 2),
            "package_s": round(self.package_s, 2),
            "shards": self.shards,
            "samples_s": round(self.count / self.seconds, 1),
            "sampling_samples_s": round(self.count / self.sampling_s, 1),
        }


@contextmanager
def bound_to(core: int) -> Iterator[None]:
    """Within, this thread and the processes that it starts have one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def service_of(settings: Settings, cores: list[int]) -> Iterator[RunningService]:
    """The service with one worker on each of these cores, all of them waiting for work."""
    with serving(settings.model_copy(update={"workers": 0})) as service:
        for number, core in enumerate(cores, start=1):
            with bound_to(core):
                service.supervisor.start(f"worker-{number}", ["worker"])
        assert service.redis is not None
        queue = JobQueue(connect(service.redis.url), settings)
        end = time.monotonic() + WORKERS_START_S
        while queue.workers() < len(cores):
            service.check()
            if time.monotonic() > end:
                raise SystemExit(f"the workers did not start; their logs are in {service.logs}")
            time.sleep(0.2)
        yield service


def finished_job(client: httpx.Client, service: RunningService, body: dict[str, Any]) -> dict[str, Any]:
    """Ask for samples, and the job once it has succeeded. Ends the run if it does not."""
    job: dict[str, Any] = client.post("/generate", json=body).raise_for_status().json()
    while job["finished"] is None:
        time.sleep(POLL_S)
        service.check()
        job = client.get(f"/jobs/{job['id']}").raise_for_status().json()
    if job["state"] != "succeeded":
        raise SystemExit(f"the job ended as {job['state']}: {job['error']}")
    return job


def measured(client: httpx.Client, job: dict[str, Any], store: Path, workers: int) -> Run:
    """What a job took, by its record and by when its files came into the store, and what is in its zip."""
    folder = store / "datasets" / job["id"]
    accepted, succeeded = (datetime.fromisoformat(job[moment]).timestamp() for moment in ("created", "finished"))
    planned = (folder / "plan.json").stat().st_mtime
    shards = [path.stat().st_mtime for path in folder.glob("shard-*.tar")]
    digest, members = read_zip(client, job["links"]["download"]["png"], folder.with_suffix(".zip"))
    return Run(
        workers,
        job["request"]["count"],
        len(shards),
        planned - accepted,
        max(shards) - planned,
        succeeded - max(shards),
        digest,
        members,
    )


def read_zip(client: httpx.Client, url: str, path: Path) -> tuple[str, dict[str, tuple[int, int]]]:
    """Download to `path`; SHA-256 of the whole, CRC-32 and size of each member. Ends the run if one is damaged."""
    digest = hashlib.sha256()
    with client.stream("GET", url, follow_redirects=True) as answer, path.open("wb") as file:
        answer.raise_for_status()
        for chunk in answer.iter_bytes():
            digest.update(chunk)
            file.write(chunk)
    with zipfile.ZipFile(path) as archive:
        if (damaged := archive.testzip()) is not None:
            raise SystemExit(f"the zip is damaged: {damaged}")
        return digest.hexdigest(), {info.filename: (info.CRC, info.file_size) for info in archive.infolist()}


def first_difference(one: Run, other: Run) -> str | None:
    """The first member that two zips do not share, None if they are the same bytes."""
    if one.digest == other.digest and one.members == other.members:
        return None
    differing = sorted(path for path, _ in one.members.items() ^ other.members.items())
    return differing[0] if differing else "the order of the members"


def arguments_of() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", default="1,2", help="numbers of workers, separated by commas; the first is 1")
    parser.add_argument("--count", type=int, default=8000)
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--labels", default="segmentation", help="kinds of labels, separated by commas")
    arguments = parser.parse_args()
    arguments.workers = [int(number) for number in arguments.workers.split(",")]
    cores = len(os.sched_getaffinity(0))
    if arguments.workers[0] != 1 or not all(1 <= number <= cores for number in arguments.workers):
        parser.error(f"--workers begins with 1, and none is above {cores}, the cores there are")
    return arguments


def main() -> None:
    """Print samples a second and speed-up for each number of workers, and whether the bytes are the same."""
    arguments = arguments_of()
    cores, runs = sorted(os.sched_getaffinity(0)), []
    with TemporaryDirectory() as temporary:
        data = Path(temporary)
        settings = Settings(data_dir=data, store_url=f"file://{data / 'store'}", port=0)
        prepare_in_child(settings)
        write_upload(data / "seeds.zip", bear_files(arguments.seeds, 1, kinds=tuple(arguments.labels.split(","))))
        body: dict[str, Any] = {"seed": SEED, "formats": ["png"]}
        for workers in arguments.workers:
            with (
                service_of(settings, cores[:workers]) as service,
                httpx.Client(base_url=service.url, timeout=120) as client,
            ):
                if "project_id" not in body:
                    with (data / "seeds.zip").open("rb") as file:
                        answer = client.post("/projects", files={"archive": ("seeds.zip", file, "application/zip")})
                    body["project_id"] = answer.raise_for_status().json()["id"]
                # Fits the labeler the first time, and fills the caches of disk and processor every time.
                finished_job(client, service, body | {"count": 10})
                job = finished_job(client, service, body | {"count": arguments.count})
                runs.append(measured(client, job, data / "store", workers))
                console.print(workers, "workers:", runs[-1].told())
    alone, last = runs[0], runs[-1]
    differences = [difference for run in runs if (difference := first_difference(alone, run)) is not None]
    if differences:
        console.print(f"not the same bytes: {differences[0]}")
    result = {
        "speedup": round(alone.seconds / last.seconds, 3),
        "sampling_speedup": round(alone.sampling_s / last.sampling_s, 3),
        "same_bytes": not differences,
        "samples_s": {str(run.workers): run.told()["samples_s"] for run in runs},
        "runs": {str(run.workers): run.told() for run in runs},
        "count": arguments.count,
        "labels": arguments.labels,
        "device": describe_device(torch.device("cpu")),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
