"""What a dataset takes in the store: `python -m benchmarks.dataset_sizes --count 1000`.

Runs jobs of toy bears with every kind of label through the whole service on this machine, one for each image format,
and adds up the files that they leave in a store of files. `sample_bytes`: image format → `shards` and each dataset
format → bytes a sample; a format's are those of its zip. `once_bytes` are of what a dataset has but once: preview,
card, plan, manifest. `project_bytes`, `labeler_bytes`, `generator_bytes`, `job_bytes`: of one each. The last line is
one JSON object.
"""

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from rich.console import Console

from benchmarks.pipeline import make_project, run_job
from labelmint.serving import serving
from models.bears.upload import KINDS, bear_files, write_upload
from service.requests import DatasetFormat, ImageFormat
from service.settings import Settings

console = Console(stderr=True)


def bytes_under(folder: Path) -> int:
    """Of all files in a folder and those below it, or of one file."""
    files = [folder] if folder.is_file() else [path for path in folder.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files)


def dataset_bytes(folder: Path, count: int) -> dict[str, int]:
    """Of a dataset with `count` samples in the store: bytes a sample of its shards and of each format's zip, and under
    `once` the bytes of all else."""
    parts = {"shards": [*folder.glob("shard-*.tar")], **{path.stem: [path] for path in sorted(folder.glob("*.zip"))}}
    sizes = {name: sum(path.stat().st_size for path in paths) for name, paths in parts.items()}
    each = {name: round(size / count) for name, size in sizes.items()}
    return each | {"once": bytes_under(folder) - sum(sizes.values())}


def main() -> None:
    """Print bytes a sample of shards and formats for each image format, and of what is there once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=50)
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        data = Path(folder)
        store = data / "store"
        settings = Settings(data_dir=data, store_url=f"file://{store}", port=0)
        write_upload(data / "seeds.zip", bear_files(arguments.seeds, 1, kinds=KINDS))
        samples: dict[str, dict[str, int]] = {}
        with serving(settings) as service, httpx.Client(base_url=service.url, timeout=120) as client:
            project = make_project(client, data / "seeds.zip")
            for image_format in ImageFormat:
                others = set((store / "datasets").iterdir())
                body = {"project_id": project, "count": arguments.count, "seed": 1, "image_format": image_format}
                run_job(client, body | {"formats": [layout.value for layout in DatasetFormat]})
                (dataset,) = set((store / "datasets").iterdir()) - others
                samples[image_format] = dataset_bytes(dataset, arguments.count)
                console.print(image_format.value, samples[image_format])
        whole = {
            "generator_bytes": bytes_under(store / "generators"),
            "labeler_bytes": bytes_under(store / "labelers"),
            "project_bytes": bytes_under(store / "projects"),
            "job_bytes": bytes_under(store / "jobs" / dataset.name),
        }
    once = {image_format: sizes.pop("once") for image_format, sizes in samples.items()}
    print(json.dumps({"count": arguments.count, "sample_bytes": samples, "once_bytes": once} | whole))


if __name__ == "__main__":
    main()
