"""The card of a dataset: its facts as JSON, and the same for a reader, as README.md."""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from service.records import GeneratorRecord, JobRecord, ProjectRecord
from workers.dataset import Tally

_VERSIONS_OF = ("labelmint", "torch", "torchvision", "lpips", "numpy", "pillow")


@dataclass(frozen=True)
class DatasetCard:
    """What a dataset is and where it comes from."""

    job: JobRecord
    project: ProjectRecord
    generator: GeneratorRecord
    fit_key: str
    fit_notes: list[str]
    """Sentences about the fit that a user of the dataset should know."""
    tally: Tally

    def facts(self) -> dict[str, Any]:
        """dataset.json: everything that decides the samples, and what they add up to.

        It holds no times, so that the same request gives the same bytes.
        """
        request = self.job.generate
        return {
            "count": self.tally.samples,
            "resolution": self.generator.resolution,
            "classes": [
                {"index": index, "name": entry.name, "color": entry.color}
                for index, entry in enumerate(self.project.classes)
            ],
            "generator": {"id": self.generator.id, "name": self.generator.name, "sha256": self.generator.sha256},
            "project": {"id": self.project.id, "name": self.project.name, "seeds": len(self.project.seeds)},
            "labeler": self.fit_key,
            "job_seed": request.seed,
            "truncation": request.truncation,
            "discard_fraction": request.discard_fraction,
            "mean_uncertainty": round(self.tally.mean_uncertainty, 6),
            "coverage": {
                coverage.name: {
                    "pixels": coverage.pixels,
                    "share_of_pixels": round(coverage.pixels / max(1, self.tally.pixels), 6),
                    "samples": coverage.samples,
                }
                for coverage in self.tally.classes
            },
            "notes": self.fit_notes,
            "versions": {name: found for name in _VERSIONS_OF if (found := _version(name)) is not None},
        }

    def markdown(self) -> str:
        """README.md: what this is, how it was made, what is in it, how to load it and what to be careful about."""
        request, size = self.job.generate, self.generator.resolution
        rows = "\n".join(
            f"| {index} | {entry.name} | `{entry.color}` | {coverage.pixels / max(1, self.tally.pixels):.2%} "
            f"| {coverage.samples / max(1, self.tally.samples):.1%} |"
            for index, (entry, coverage) in enumerate(zip(self.project.classes, self.tally.classes, strict=True))
        )
        notes = "\n".join(f"- {note}" for note in [*self.fit_notes, *_STANDING_LIMITS])
        return _CARD.format(
            name=self.project.name,
            count=self.tally.samples,
            size=size,
            seeds=len(self.project.seeds),
            generator=self.generator.name,
            generator_id=self.generator.id,
            sha256=self.generator.sha256,
            project_id=self.project.id,
            fit_key=self.fit_key,
            seed=request.seed,
            truncation=request.truncation,
            discard=request.discard_fraction,
            rows=rows,
            notes=notes,
        )


_STANDING_LIMITS = (
    "The labels are predictions. `uncertainty` in `metadata.jsonl` says how much the labeler's members disagreed about "
    "a sample: look at the highest first.",
    "The images show what the generator has learnt to draw, with its gaps and its mistakes, and nothing else.",
    "Classes that are rare in the seeds are rare here, and their borders are the least reliable.",
)

_CARD = """# {name}: {count} generated images with segmentation masks

{count} images of {size} × {size} pixels and a mask for each, made from {seeds} labeled images by HandsOff (Xu et al.,
CVPR 2023): the labeled images were inverted into the latent space of a generator, a labeler learnt to read their labels
from the generator's own features, and then generator and labeler made images and labels together.

| | |
|---|---|
| generator | {generator} (`{generator_id}`, sha256 `{sha256}`) |
| project | `{project_id}`, {seeds} seeds |
| labeler | `{fit_key}` |
| job seed | {seed}: sample i depends on this and on i alone |
| truncation | {truncation} |
| discard fraction | {discard}: this share of the most uncertain samples was drawn again |

## Files
- `images/000000000.png` …: 8-bit RGB
- `masks/000000000.png` …: 8-bit palette; the pixel value is the class
- `metadata.jsonl`: a line a sample with its file names, its uncertainty and each class's share of its pixels
- `dataset.json`: classes, colours and everything that decided the samples
- `preview.png`: the first samples with their labels

## Classes
| value | class | colour | share of pixels | samples with it |
|---|---|---|---|---|
{rows}

## Load it
```python
import json, numpy as np
from PIL import Image
for line in open("metadata.jsonl"):
    row = json.loads(line)
    image, mask = np.array(Image.open(row["file_name"])), np.array(Image.open(row["mask_file_name"]))
```

## Know its limits
{notes}
"""


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
