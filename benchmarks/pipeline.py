"""From latents to a finished zip in the store: `python -m benchmarks.pipeline --count 1000 20000 --format coco`.

Runs jobs of toy bears through the whole service on this machine (API, queue, one worker, store of files), and compares
their rate with that of the bare generator, which is measured before and after each job in a process of its own. Watches
how busy each stage is and how much memory API and worker hold. The last line is one JSON object; its figures at the top
level are those of the largest count.
"""

import argparse
import json
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any, BinaryIO

import httpx
from rich.console import Console

from benchmarks.service_memory import MemoryWatch
from labelmint.serving import serving
from models.bears.upload import bear_files, write_upload
from service.settings import Settings

BARE_S = 6.0
console = Console(stderr=True)


def bare_rate(seconds: float) -> float:
    """Images a second of the bundled generator alone, mapping and synthesis, as the service runs it: in lanes where
    jobs are, and with memory kept as workers keep it."""
    import torch

    from models.bundle import load_bundle
    from models.bundled import bundled_folders
    from models.device import choose_device, fast_precision
    from models.sampling import batch_size
    from service.settings import get_settings
    from workers.allocator import keep_memory
    from workers.lanes import Lanes, lane_count, runs_in_lanes

    keep_memory()
    device = choose_device(get_settings().device)
    bundle = load_bundle(bundled_folders()[0], device, with_encoder=False)
    size = batch_size(bundle)

    def make(turns: Iterator[int], _tell: Callable[[Any], None]) -> Iterator[float]:
        z = torch.randn(size, bundle.generator.architecture.z_dim, device=device)
        with torch.inference_mode():
            for _ in turns:
                end = time.perf_counter() + 1  # for what is allocated and chosen once
                for limit in (end, end + seconds):
                    made, started = 0, time.perf_counter()
                    while time.perf_counter() < limit:
                        bundle.generator(z, precision=fast_precision(device)).sum().item()
                        made += size
                    rate = made / (time.perf_counter() - started)
                yield rate

    if not runs_in_lanes(device, bundle.resolution):
        return next(make(iter([0]), print))
    with Lanes(make, lane_count()) as lanes:
        return sum(lanes.results(range(lanes.count), 1, print, lambda: None))


def bare_rate_in_child() -> float:
    """`bare_rate`, in a process of its own, so that this one stays small."""
    command = [sys.executable, "-m", "benchmarks.pipeline", "--bare"]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def run_job(client: httpx.Client, body: dict[str, Any]) -> tuple[float, dict[str, float]]:
    """Generate and wait; returns the seconds from request to finished zip, and each stage's busy share as last told."""
    started = time.perf_counter()
    job = client.post("/generate", json=body).raise_for_status().json()
    busy: dict[str, float] = {}
    while job["state"] not in ("succeeded", "failed", "cancelled"):
        job = client.get(f"/jobs/{job['id']}", headers={"Prefer": "wait=5"}).raise_for_status().json()
        details = job["progress"]["details"]
        busy |= {name.removeprefix("busy."): share for name, share in details.items() if name.startswith("busy.")}
    if job["state"] != "succeeded":
        raise SystemExit(f"the job ended as {job['state']}: {job['error']}")
    seconds = time.perf_counter() - started
    download = client.stream("GET", job["links"]["download"][body["formats"][0]], follow_redirects=True)
    with TemporaryFile() as file:
        with download as answer:
            answer.raise_for_status()
            for chunk in answer.iter_bytes():
                file.write(chunk)
        checked = check_zip(file, body["count"]) if body["formats"] == ["png"] else ""
        console.print(f"{body['count']} samples: {seconds:.1f} s, {file.tell() / 2**20:.1f} MB{checked}")
    return seconds, busy


def check_zip(file: BinaryIO, count: int) -> str:
    """Read every member of a `png` zip against its CRC, and see that each index from 0 is there once. Ends the run if
    not."""
    with zipfile.ZipFile(file) as archive:
        damaged = archive.testzip()
        indices = [json.loads(line)["index"] for line in archive.open("metadata.jsonl")]
    if damaged is not None or indices != list(range(count)):
        raise SystemExit(f"the zip is damaged: {damaged or 'its indices are not those asked for'}")
    return ", every member sound, every index once"


def make_project(client: httpx.Client, archive: Path) -> str:
    """Upload the seeds and have them fitted; returns the project's id."""
    with archive.open("rb") as file:
        answer = client.post("/projects", files={"archive": (archive.name, file, "application/zip")})
    project = str(answer.raise_for_status().json()["id"])
    run_job(client, {"project_id": project, "count": 10, "formats": ["png"]})
    return project


def main() -> None:
    """Print samples per second, share of the bare generator, busy shares and peak memory for each count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, nargs="+", default=[1000, 20_000])
    parser.add_argument("--format", default="png", help="png, coco, yolo, voc, huggingface or webdataset")
    parser.add_argument("--image-format", default="png", help="png, jpeg or webp")
    parser.add_argument("--labels", default="segmentation", help="kinds of labels, separated by commas")
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--discard", type=float, default=0.1, help="share of the candidates that is made in vain")
    parser.add_argument("--bare", action="store_true", help="only measure the bare generator")
    arguments = parser.parse_args()
    if arguments.bare:
        print(bare_rate(BARE_S))
        return
    runs = []
    with TemporaryDirectory() as folder:
        data = Path(folder)
        settings = Settings(data_dir=data, store_url=f"file://{data / 'store'}", port=0)
        kinds = tuple(arguments.labels.split(","))
        write_upload(data / "seeds.zip", bear_files(arguments.seeds, 1, kinds=kinds))
        with serving(settings) as service, httpx.Client(base_url=service.url, timeout=120) as client:
            project = make_project(client, data / "seeds.zip")
            for count in arguments.count:
                before = bare_rate_in_child()
                body = {"project_id": project, "count": count, "seed": count, "formats": [arguments.format]}
                body |= {"image_format": arguments.image_format, "discard_fraction": arguments.discard}
                with MemoryWatch(data) as watch:
                    seconds, busy = run_job(client, body)
                bare = (before + bare_rate_in_child()) / 2
                run = {
                    "count": count,
                    "samples_s": round(count / seconds, 1),
                    "bare_images_s": round(bare, 1),
                    "share_of_bare": round(count / seconds / bare, 3),
                    "stage_busy": busy,
                    **{f"peak_mb_{role}": round(peak, 1) for role, peak in watch.peaks.items()},
                }
                console.print(run)
                runs.append(run)
    first, last = runs[0], max(runs, key=lambda run: int(str(run["count"])))
    growth = {
        role: round(float(str(last[f"peak_mb_{role}"])) / float(str(first[f"peak_mb_{role}"])) - 1, 4)
        for role in ("worker", "api")
    }
    print(json.dumps(last | {"format": arguments.format, "discard": arguments.discard, "growth": growth, "runs": runs}))


if __name__ == "__main__":
    main()
