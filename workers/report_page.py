"""A labeler's report on one page: how right the labels of seeds held out were, and what to do about it."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw

from models.label_quality import pck_reach
from workers.pictures import ALARM, CAPTION_LINES, FAINT, INK, PAPER, page, text_lines
from workers.typeface import extent, fitted, wrapped, write

_WIDTH, _LINE, _NAME, _BAR = 720, 22, 240, 380
_GOOD, _MIDDLING, _TRACK = (46, 139, 87), (214, 158, 46), (236, 238, 241)
_LOW, _HIGH = 0.6, 0.8
_LETTERS, _INDENT = 14, "   "
_MISTAKES = 5
_BARS = 48
"""So many bars a chart; of more, those with the lowest figures."""


def report_png(report: Mapping[str, Any], seed_names: Sequence[str]) -> bytes:
    """PNG bytes of a page with the figures of `report`, a labeler's report.json."""
    held_out = report.get("held_out") or {}
    parts = [_advice(report.get("advice", []))]
    if masks := held_out.get("segmentation"):
        parts.append(_bars(f"Classes: intersection over union, mean {_figure(masks['mean_iou'])}", masks["class_iou"]))
        parts.append(_reliability("Classes: how often a pixel is right, by confidence", masks["reliability"]["bins"]))
    if points := held_out.get("keypoints"):
        reach = pck_reach(len(points["point_pck"]), points["alpha"])
        parts.append(_bars(f"Points: found {reach}, mean {_figure(points['pck'])}", points["point_pck"]))
    if depth := held_out.get("depth"):
        parts.append(_text([f"Depth: off by {_percent(depth['abs_rel'])} on average"], INK))
    if attributes := held_out.get("class"):
        shares = {name: figures["accuracy"] for name, figures in attributes.items()}
        parts.append(_bars("Attributes: share that is right", shares))
    if confused := _confused(held_out):
        parts.append(_text(["Most often mistaken:", *confused], INK, 2 * CAPTION_LINES))
    for kind, areas in held_out.get("risk_coverage", {}).items():
        if areas.get("curve"):
            parts.append(
                _discarding(f"{kind.capitalize()}: error when uncertain samples are discarded", areas["curve"])
            )
    parts.append(_left_out(report["seeds"], seed_names))
    used = sum(row["included"] for row in report["seeds"])
    note = f"seeds in the fit: {used} of {len(report['seeds'])}"
    if held_out:
        note += f"; each was labeled by one of {held_out['folds']} labelers that had not seen it"
    buffer = io.BytesIO()
    page("How right the labels will be", note, parts).save(buffer, "PNG")
    return buffer.getvalue()


def _confused(held_out: Mapping[str, Any]) -> list[str]:
    """What is most often taken for what, of classes and of attributes."""
    tables = {
        "": held_out.get("segmentation", {}),
        **{f"{name} ": of for name, of in held_out.get("class", {}).items()},
    }
    return [
        f"{what}{row['truth']} for {row['predicted']} ({_percent(row['share'])})"
        for what, figures in tables.items()
        for row in figures.get("confused", [])[:_MISTAKES]
    ]


def _figure(value: float | None) -> str:
    return "not known" if value is None else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return "an unknown share" if value is None else f"{value:.1%}"


def _text(paragraphs: Sequence[str], color: tuple[int, int, int], most: int | None = None) -> Image.Image:
    """Paragraphs of at most so many lines, of which those after the first are indented."""
    room = _WIDTH - extent(_INDENT, _LETTERS)
    lines = [
        f"{_INDENT if number else ''}{line}"
        for paragraph in paragraphs
        for number, line in enumerate(wrapped(paragraph, _LETTERS, room, most))
    ]
    return text_lines(lines, _WIDTH, color, _LETTERS)


def _advice(sentences: Sequence[str]) -> Image.Image:
    return _text([f"- {sentence}" for sentence in sentences] or ["Nothing stands out."], INK)


def _left_out(seeds: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Image.Image:
    rows = [f"{names[row['index']]}: {row['reason']}" for row in seeds if row.get("reason")]
    return _text(["Seeds that invert badly:", *rows] if rows else ["No seed inverts badly."], ALARM if rows else FAINT)


def _bars(title: str, shares: Mapping[str, float | None]) -> Image.Image:
    """A line for each share from 0 to 1, with its name and a bar in the colour of how good it is."""
    rows = list(shares.items())
    if len(rows) > _BARS:
        rows = sorted(rows, key=lambda row: 2.0 if row[1] is None else row[1])[:_BARS]
        title += f" (the {_BARS} lowest)"
    picture = Image.new("RGB", (_WIDTH, _LINE * (len(rows) + 1) + 6), PAPER)
    draw = ImageDraw.Draw(picture)
    write(draw, (0, _LINE // 2), title, INK, 15, anchor="lm")
    for number, (name, share) in enumerate(rows, start=1):
        top = number * _LINE + 6
        middle = top + _LINE // 2 - 3
        write(draw, (_NAME - 8, middle), fitted(name, 13, _NAME - 8), INK, 13, anchor="rm")
        draw.rectangle((_NAME, top, _NAME + _BAR, top + _LINE - 8), fill=_TRACK)
        if share is not None:
            color = _GOOD if share >= _HIGH else _MIDDLING if share >= _LOW else ALARM
            draw.rectangle((_NAME, top, _NAME + max(1, round(share * _BAR)), top + _LINE - 8), fill=color)
        write(draw, (_NAME + _BAR + 8, middle), _figure(share), INK, 13, anchor="lm")
    return picture


def _reliability(title: str, bins: Sequence[Mapping[str, float]]) -> Image.Image:
    """Share right against confidence, as dots whose area tells how many there are, beside the diagonal."""
    side, left, top = 200, _NAME, _LINE + 8
    picture = Image.new("RGB", (_WIDTH, top + side + _LINE), PAPER)
    draw = ImageDraw.Draw(picture)
    write(draw, (0, _LINE // 2), title, INK, 15, anchor="lm")
    draw.rectangle((left, top, left + side, top + side), outline=FAINT)
    draw.line((left, top + side, left + side, top), fill=FAINT)
    largest = max((row["count"] for row in bins), default=1)
    for row in bins:
        x, y = left + row["confidence"] * side, top + (1 - row["right"]) * side
        radius = 3 + 7 * (row["count"] / largest) ** 0.5
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_GOOD, outline=PAPER)
    write(draw, (left + side // 2, top + side + _LINE // 2), "confidence", FAINT, 13, anchor="mm")
    write(draw, (left - 8, top + side // 2), "right", FAINT, 13, anchor="rm")
    return picture


def _discarding(title: str, curve: Sequence[Mapping[str, float]]) -> Image.Image:
    """Mean error of what is left against the share discarded: as jobs discard, and by an oracle that knows it."""
    side, left, top = 120, _NAME, _LINE + 8
    picture = Image.new("RGB", (_WIDTH, top + side + _LINE), PAPER)
    draw = ImageDraw.Draw(picture)
    write(draw, (0, _LINE // 2), title, INK, 15, anchor="lm")
    draw.rectangle((left, top, left + _BAR, top + side), outline=FAINT)
    most = max((row["error"] for row in curve), default=0.0) * 1.1 or 1.0
    last = curve[-1]["discarded"] or 1.0
    below = 0.0
    for name, label, color, width in (("error", "in jobs", _GOOD, 3), ("oracle", "at best", FAINT, 1)):
        points = [(left + row["discarded"] / last * _BAR, top + side - row[name] / most * side) for row in curve]
        draw.line(points, fill=color, width=width)
        place = max(points[-1][1], below)
        below = place + _LINE - 6
        write(draw, (left + _BAR + 8, place), f"{label} {curve[-1][name]:.3f}", color, 13, anchor="lm")
    for row in curve:
        x = left + row["discarded"] / last * _BAR
        write(draw, (x, top + side + _LINE // 2), f"{row['discarded']:.0%}", FAINT, 13, anchor="mm")
    write(draw, (left - 8, top + 6), f"{most:.3f}", FAINT, 13, anchor="rm")
    return picture
