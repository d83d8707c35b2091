"""The card of a dataset: its facts as JSON, and the same for a reader, as README.md."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from service.dataset_formats import suits
from service.records import GeneratorRecord, JobRecord, ProjectRecord
from service.requests import GenerateRequest
from service.version import installed_version
from workers.card_sections import escaped, label_sections, seeds_section
from workers.formats import FORMATS, Format
from workers.formats.metadata import significant
from workers.split import PARTS, Part
from workers.tally import Tally

_VERSIONS_OF = ("labelmint", "torch", "torchvision", "lpips", "numpy", "opencv-python-headless", "pillow")


@dataclass(frozen=True)
class DatasetCard:
    """What a dataset is and where it comes from."""

    job: JobRecord
    """The job that made the samples."""
    project: ProjectRecord
    generator: GeneratorRecord
    fit_key: str
    fit_notes: list[str]
    """Sentences about the fit that a user of the dataset should know."""
    tally: Tally
    """Complete when the card is asked for."""

    def facts(self) -> dict[str, Any]:
        """dataset.json: everything that decides the samples, and what they add up to.

        It holds no times, so that the same request gives the same bytes.
        """
        return {
            "count": self.tally.samples,
            "resolution": self.generator.resolution,
            "label_kinds": self.project.label_kinds,
            **self._schema(),
            "generator": {"id": self.generator.id, "name": self.generator.name, "sha256": self.generator.sha256},
            "project": {"id": self.project.id, "name": self.project.name, "seeds": len(self.project.seeds)},
            "labeler": self.fit_key,
            **_request_facts(self.job.generate),
            "included_seeds": [seed.name for seed in self.project.seeds] if self.tally.seeds else [],
            "split": {part: self.tally.parts[part] for part in PARTS if self.tally.parts[part]},
            **self._totals(),
            "notes": self.fit_notes,
            "versions": {name: found for name in _VERSIONS_OF if (found := installed_version(name)) is not None},
        }

    def markdown(self, layouts: Sequence[Format[Any]] | None = None) -> str:
        """README.md: what this is, how it was made, what is in it, how to load it and what to be careful about.

        Files and loading are told for these formats; without them, for every one that suits the labels.
        """
        request, tally = self.job.generate, self.tally
        kinds = [entry for entry in FORMATS.values() if suits(entry.name, self.project)]
        # Sentences of ours, with code of ours; the names in them are to hold no HTML.
        told = [note.replace("<", "&lt;") for note in self.fit_notes]
        notes = "\n".join(f"- {note}" for note in [*told, *self._limits()])
        return _CARD.format(
            name=escaped(self.project.name),
            kinds=", ".join(self.project.label_kinds),
            count=tally.samples,
            size=self.generator.resolution,
            seeds=len(self.project.seeds),
            generator=escaped(self.generator.name),
            generator_id=self.generator.id,
            sha256=self.generator.sha256,
            project_id=self.project.id,
            fit_key=self.fit_key,
            seed=request.seed,
            truncation=request.truncation,
            discard=request.discard_fraction,
            more="".join(f"| {name} | {escaped(value)} |\n" for name, value in self._more().items()),
            formats="\n".join(self._loading(entry) for entry in layouts or kinds),
            sections=seeds_section(tally) + label_sections(self.project, tally),
            notes=notes,
        )

    def _schema(self) -> dict[str, Any]:
        """The label schema under the names it has in `project.json`; classes with their mask values."""
        schema = self.project.only_labels().model_dump(mode="json")
        schema["classes"] = [{"index": index, **entry} for index, entry in enumerate(schema["classes"])]
        return {name: value for name, value in schema.items() if value or name == "classes"}

    def _totals(self) -> dict[str, Any]:
        tally, schema = self.tally, self.project
        totals: dict[str, Any] = {
            "mean_uncertainty": significant(tally.mean_uncertainty()),
            "mean_uncertainties": {
                kind: significant(tally.mean_uncertainty(kind))
                for kind in sorted(tally.uncertainty_sums)
                if kind != "all"
            },
            "uncertainty_histogram": {
                "from": tally.uncertainty.first,
                "bin_width": tally.uncertainty.width,
                "counts": tally.uncertainty.counts,
            },
            "acceptance": round(tally.sources / max(1, tally.draws), 6),
            "unmet": tally.unmet,
        }
        if schema.classes:
            totals["coverage"] = {
                coverage.name: {
                    "pixels": coverage.pixels,
                    "share_of_pixels": round(coverage.pixels / max(1, tally.pixels), 6),
                    "samples": coverage.samples,
                }
                for coverage in tally.classes
            }
            totals["ignored_pixels"] = tally.ignored
        if schema.keypoints:
            totals["keypoint_visibility"] = {
                point.name: {"visible": counts[2], "hidden": counts[1], "not_known": counts[0]}
                for point, counts in zip(schema.points, tally.points, strict=True)
            }
        if schema.depth and tally.depth_steps:
            totals["depth_range"] = [significant(steps * schema.depth.scale) for steps in tally.depth_steps]
        if schema.attributes:
            described = zip(schema.attributes, tally.attributes, strict=True)
            totals["attribute_counts"] = {
                attribute.name: {
                    value: counts[value] for value in [*attribute.values, *(counts.keys() - attribute.values)]
                }
                for attribute, counts in described
            }
        return totals

    def _more(self) -> dict[str, str]:
        """What else was asked for, and how it went."""
        request, tally = self.job.generate, self.tally
        told = {"parts": ", ".join(f"{part} {tally.parts[part]}" for part in PARTS if tally.parts[part])}
        if tally.seeds:
            told["included seeds"] = f"{tally.seeds}, beside these, in train"
        if request.ignore_fraction:
            told["ignore fraction"] = f"{request.ignore_fraction}: this share of a mask's pixels is marked 255"
        if request.condition is not None:
            told["condition"] = str(request.condition)
        if request.augment:
            told["augmentation"] = ", ".join(f"{step.name} (p = {step.p:g})" for step in request.augment)
            told["versions"] = f"{request.multiply} of each sample"
        if request.balance is not None:
            wishes = [f"{count} with {value}" for value, count in request.balance.classes.items()]
            wishes += [
                f"{wish.samples} with {100 * wish.min_share:g}% of {name} or more"
                for name, wish in request.balance.coverage.items()
            ]
            outcome = "all met" if not tally.unmet else f"{tally.unmet} images do not show what was wished of them"
            told["balance"] = f"{'; '.join(wishes)}: {outcome}"
        told["candidates drawn"] = f"{tally.draws} for {tally.sources} samples"
        return told

    def _loading(self, layout: Format[Any]) -> str:
        rows = "\n".join(f"- `{path}`: {what}" for path, what in layout.files(self.project).items())
        return _LOADING.format(
            name=layout.name, rows=rows, snippet=layout.snippet(self.project, self._part_with_images())
        )

    def _part_with_images(self) -> Part:
        tally = self.tally
        return next((part for part in PARTS if tally.parts[part] or (part == "train" and tally.seeds)), "train")

    def _limits(self) -> list[str]:
        limits = list(_STANDING_LIMITS)
        if self.tally.unmet:
            reason = "the generator did not draw it in as many attempts as were allowed"
            if self.job.generate.augment:
                reason += ", or augmentation took it away"
            limits.append(f"{self.tally.unmet} images do not show what was wished of them: {reason}.")
        if self.project.classes:
            limits.append("Classes that are rare in the seeds are rare here, and their borders are the least reliable.")
        return limits


def _request_facts(request: GenerateRequest) -> dict[str, Any]:
    return {
        "job_seed": request.seed,
        "truncation": request.truncation,
        "discard_fraction": request.discard_fraction,
        "ignore_fraction": request.ignore_fraction,
        "condition": request.condition,
        "image_format": request.image_format,
        "augment": [step.model_dump(mode="json") for step in request.augment],
        "multiply": request.multiply,
        "balance": None if request.balance is None else request.balance.model_dump(mode="json", by_alias=True),
    }


_STANDING_LIMITS = (
    "The labels are predictions. A sample's `uncertainty` says how much the labeler's members disagreed about it: look "
    "at the highest first.",
    "The images show what the generator has learnt to draw, with its gaps and its mistakes, and nothing else.",
)

_CARD = """# {name}: {count} generated images with labels ({kinds})

{count} images of {size} × {size} pixels with their labels, made from {seeds} labeled images by HandsOff (Xu et al.,
CVPR 2023): the labeled images were inverted into the latent space of a generator, a labeler learnt to read their labels
from the generator's own features, and then generator and labeler made images and labels together.

![The first samples with their labels](preview.png)

| | |
|---|---|
| generator | {generator} (`{generator_id}`, sha256 `{sha256}`) |
| project | `{project_id}`, {seeds} seeds |
| labeler | `{fit_key}` |
| job seed | {seed}: sample i depends on this and on i alone |
| truncation | {truncation} |
| discard fraction | {discard}: this share of the most uncertain samples was drawn again |
{more}
{formats}
In every zip, `dataset.json` holds classes, colours and everything that decided the samples, and `preview.png` shows the
first of them.

{sections}
## Know its limits
{notes}
"""

_LOADING = """## Files and loading: {name}
{rows}

```python
{snippet}
```
"""
