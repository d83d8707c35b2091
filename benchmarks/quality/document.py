"""The page about quality: what was measured is filled in between marks, what people wrote around it stays.

A mark is `<!-- measured: NAME -->`, and what was filled in ends at `<!-- end -->`. The names of what was measured of
dressed bears begin with `dressed-`.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.quality import plots, tables
from benchmarks.quality.ablations import ABLATIONS
from models.bears import PLAIN

_SECTION = re.compile(r"(<!-- measured: (?P<name>[a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

_INTRODUCTION = """\
# What a data set is worth

A network that learns from generated samples is worth as much as it is right about real images. Here the same small
networks learn from every source, for the same number of steps and with the same augmentation, and are tested on renders
of toy bears, with accessories or without, whose labels are exact. The sources:

- *the seeds alone*: a few exact renders.
- *data set*: samples of a labeler that was fitted on those seeds, as a job delivers them.
- *data set and seeds*: every batch is drawn from both.
- *DatasetGAN's way*: as many random generated images in place of the seeds, labeled by a network that learnt from many
  exact renders. This labeler needs no inversion, but somebody who labels generated images.
- *annotated samples*: random generated images, every one of them labeled by that network: about the best that labels of
  generated images can be.
- *annotated samples and seeds*: every batch is drawn from both, as in *data set and seeds*: what that would come to if
  the labels were right.
- *exact labels*: many exact renders, which is what more seeds could come to.
"""

_ABOUT_ABLATIONS = """\
Each with the segmentation network on the data set alone, the last one on data set and seeds, all on the same draws of
seeds. The usual value is bold; *against* is the mean over the draws of the difference to it on the same draw, and its
standard deviation.
"""


def skeleton(prefix: str = "") -> str:
    """A page with a place for everything that can be measured; `prefix` is that of the names."""
    parts = [
        _INTRODUCTION,
        _mark(f"{prefix}machine"),
        "## Segmentation\n",
        _mark(f"{prefix}segmentation"),
        _mark(f"{prefix}classes"),
        "## Other kinds of labels\n",
        _mark(f"{prefix}kinds"),
        "## Inversion and fit\n",
        _mark(f"{prefix}timing"),
        "## What was aimed at\n",
        _mark(f"{prefix}bars"),
        "## What single settings are worth\n",
        _ABOUT_ABLATIONS,
        *(_mark(f"{prefix}ablation-{name}") for name in ABLATIONS),
    ]
    return "\n".join(parts)


def _mark(name: str) -> str:
    return f"<!-- measured: {name} -->\n<!-- end -->\n"


def fill(page: str, sections: Mapping[str, str]) -> str:
    """The page with these sections between their marks; a section that was not measured stays as it is.

    Raises:
        ValueError: the page lacks the mark of a section.
    """
    lacking = set(sections) - {match["name"] for match in _SECTION.finditer(page)}
    if lacking:
        raise ValueError(f"the page has no mark for: {', '.join(sorted(lacking))}")
    return _SECTION.sub(lambda m: f"{m[1]}{sections[m['name']]}\n{m[3]}" if m["name"] in sections else m[0], page)


def write(page: Path, results: Path, bears: str, quick: bool) -> None:
    """Fill the page from the results of a folder about these bears, with pictures in `pictures/` beside it; a page that
    is not there is begun.

    Raises:
        FileNotFoundError: the folder has no results.
    """
    pictures = page.parent / "pictures"
    result = json.loads(result_file(results, bears, quick).read_text())
    sections = _of_run(result, pictures)
    for name in ABLATIONS:
        file = result_file(results, bears, quick, name)
        if file.exists():
            ablation = json.loads(file.read_text())
            sections[f"{_prefix(ablation)}ablation-{name}"] = _of_ablation(ablation, pictures)
    text = page.read_text() if page.exists() else skeleton(_prefix(result))
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(fill(text, sections))


def result_file(folder: Path, bears: str, quick: bool, ablation: str | None = None) -> Path:
    """Where the JSON object of a run, or of an ablation, is kept."""
    return folder / f"{bears}-{'quick' if quick else 'full'}{f'-{ablation}' if ablation else ''}.json"


def draw_run(result: Mapping[str, Any], pictures: Path) -> None:
    """The pictures of a run."""
    plots.curves(result, pictures / _picture_file(result, "segmentation"))
    plots.classes(result, pictures / _picture_file(result, "classes"))


def draw_ablation(result: Mapping[str, Any], pictures: Path) -> None:
    """The picture of an ablation."""
    plots.ablation(result, pictures / _picture_file(result, result["ablation"]))


def _of_run(result: Mapping[str, Any], pictures: Path) -> dict[str, str]:
    draw_run(result, pictures)
    most = max(result["settings"]["counts"])
    pictured = {name: f"\n\n{_picture(result, name)}" for name in ("segmentation", "classes")}
    sections = {
        "machine": _machine(result),
        "segmentation": tables.segmentation_table(result) + pictured["segmentation"],
        "classes": f"With {most} seeds, class by class:\n\n{tables.classes_table(result)}{pictured['classes']}",
        "kinds": f"With {most} seeds; all kinds are learnt by one labeler.\n\n{tables.kinds_table(result)}",
        "timing": _timing(result),
        "bars": tables.bars_table(result),
    }
    return {_prefix(result) + name: text for name, text in sections.items()}


def _of_ablation(result: Mapping[str, Any], pictures: Path) -> str:
    draw_ablation(result, pictures)
    command = f"`{result['command']}`"
    if result["ablation"] in ("refinement", "lpips"):
        command += f" (LPIPS with {result['lpips']} features)"
    return f"{command}\n\n{tables.ablation_table(result)}\n\n{_picture(result, result['ablation'])}"


def _prefix(result: Mapping[str, Any]) -> str:
    return "" if result["bears"] == PLAIN.name else f"{result['bears']}-"


def _picture_file(result: Mapping[str, Any], name: str) -> str:
    return f"quality-{_prefix(result)}{name}.png"


def _picture(result: Mapping[str, Any], name: str) -> str:
    return f"![{name}](pictures/{_picture_file(result, name)})"


def _machine(result: Mapping[str, Any]) -> str:
    settings = result["settings"]
    budget, draws = settings["budget"], settings["draws"]
    first, last = (f"{share:.0%}" for share in settings["seeds_shares"])
    share = f"they are {first} of each batch" if first == last else f"their share rises from {first} to {last}"
    sentences = [
        f"`{result['command']}` on {result['device']} for each network, {result['workers']} side by side.",
        f"Every network learns for {budget['steps']:,} steps of {budget['batch']} images,",
        f"data sets have {settings['sampling']['count']:,} samples, and tests take {settings['test']:,} renders.",
        f"Figures are means over {draws} draw{'s' * (draws > 1)} of seeds, ± their standard deviation.",
        f"Where seeds are added, {share}.",
        f"The network that stands in for DatasetGAN's annotator learnt from {settings['annotated']:,} exact renders",
        f"and reaches {tables.figure(result['annotator_mean_iou'])} mIoU.",
    ]
    return " ".join(sentences)


def _timing(result: Mapping[str, Any]) -> str:
    timing = result["timing"]
    if timing is None:
        return "Not measured."
    mirrored = ", its mirror image included" if timing["flipped"] else ""
    return (
        f"{timing['seeds']} seeds are inverted to {result['inversion_psnr_db']:.1f} dB PSNR on average, in"
        f" {result['inversion_s_per_image']:.2f} s a seed{mirrored}, and all label kinds are fitted in"
        f" {result['fit_s']:.0f} s, cross-validation and pilot samples included ({timing['how']}; {timing['threads']}"
        f" threads; LPIPS with {timing['lpips']} features)."
    )
