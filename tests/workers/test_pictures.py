"""The pictures for people: the right size, the right colours, room for every name."""

import io

import numpy as np
import pytest
from PIL import Image

from service.label_schema import LabelClass, LabelSchema
from tests.workers.packing import EVERY_KIND, draw
from workers.label_drawing import depth_cell, points_cell
from workers.pictures import PAPER, cell, grid, legend, overlay, page
from workers.preview import preview_png
from workers.typeface import extent, fitted, readable, wrapped

CLASSES = [LabelClass(name=f"class number {index}", color=f"#{index:02x}80ff") for index in range(40)]
RNG = np.random.default_rng(5)


def image(side: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    return RNG.integers(0, 256, (side, side, 3), np.uint8)


def written(name: str) -> bytes:
    return legend([LabelClass(name=name, color="#000000")], 400).tobytes()


def decoded(png: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(png))
    picture.load()
    return picture


@pytest.mark.parametrize(("side", "shown"), [(8, 192), (64, 192), (100, 100), (192, 192), (1024, 192)])
def test_cells_are_enlarged_in_whole_steps_or_reduced(side: int, shown: int) -> None:
    assert cell(image(side), 192).size == (shown, shown)
    mask = np.zeros((side, side), np.uint8)
    assert overlay(image(side), mask, CLASSES, 192).size == (shown, shown)


def test_an_overlay_has_the_tint_of_the_class_and_a_line_between_classes() -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[:, 32:] = 1
    classes = [LabelClass(name="left", color="#ff0000"), LabelClass(name="right", color="#0000ff")]
    picture = np.asarray(overlay(np.full((64, 64, 3), 128, np.uint8), mask, classes, 64), np.int64)
    red, _, blue = picture[10, 10]
    assert red - blue > 100
    red, _, blue = picture[10, 50]
    assert blue - red > 100
    assert picture[10, 32].sum() < 0.6 * picture[10, 50].sum()


def test_a_legend_has_room_for_many_classes() -> None:
    narrow, wide = legend(CLASSES, 400), legend(CLASSES, 2000)
    assert narrow.width == 400
    assert narrow.height > wide.height


def test_a_legend_has_room_for_the_longest_name() -> None:
    assert written("W" * 63) != written("W" * 64)


def test_a_page_of_a_small_picture_has_room_for_its_title_and_note() -> None:
    parts = [Image.new("RGB", (128, 128))]
    short, long = page("title", "note", parts), page("a long title " * 9, "a long note " * 9, parts)
    assert long.height > short.height
    assert np.asarray(long)[:, -16:].min() == PAPER[0]


def test_rows_of_a_grid_are_as_high_as_their_highest_picture() -> None:
    pictures = [Image.new("RGB", (20, height), "red") for height in (10, 30, 20)]
    board = np.asarray(grid(pictures, 2, gap=5))
    assert board.shape == (30 + 5 + 20, 20 + 5 + 20, 3)
    assert (board[..., 1] == 0).sum() == 20 * (10 + 30 + 20)


@pytest.mark.parametrize("text", ["", "word", "two words", "W" * 50, "some words and then " + "W" * 50, "猫 " * 20])
def test_text_is_wrapped_into_lines_that_fit_and_nothing_is_lost(text: str) -> None:
    lines = wrapped(text, 14, 120)
    assert all(extent(line, 14) <= 120 for line in lines)
    assert "".join(lines).replace(" ", "") == readable(text).replace(" ", "")


def test_text_beyond_the_last_line_or_the_width_is_cut_visibly() -> None:
    assert wrapped("a b c d", 14, 1000, most=1) == ["a b c d"]
    first, last = wrapped("one two three four five six", 14, 60, most=2)
    assert first == "one two"
    assert last.startswith("three") and last.endswith("…") and extent(last, 14) <= 60
    assert fitted("short", 14, 1000) == "short"
    assert fitted("W" * 30, 14, 100).endswith("W…")
    assert fitted("W", 14, 1) == "…"


@pytest.mark.parametrize("letters", ["äößéñçł", "αβω", "джя", "猫犬", "🐻🐼", "कीकु"])
def test_names_in_letters_of_all_kinds_can_be_told_apart(letters: str) -> None:
    assert len({written(f"B{letter}r") for letter in letters}) == len(set(letters))


def test_a_letter_looks_the_same_whether_its_mark_is_a_part_of_it_or_not() -> None:
    assert written("Ba\u0308r") == written("Bär")


def test_what_does_not_print_is_one_sign_on_one_line() -> None:
    assert written("two\nlines") == written("two�lines")


def test_only_what_the_typeface_lacks_is_escaped() -> None:
    known = "Bär łódź Ωμέγα медведь … · → 5 µm²"
    assert readable(known) == known
    assert readable("猫 und 🐻") == "\\u732b und \\U0001f43b"


@pytest.mark.parametrize("count", [1, 3, 20])
@pytest.mark.parametrize(("kinds", "pictures"), [("every kind", 4), ("attributes", 1)])
def test_a_preview_of_any_number_of_samples_and_kinds_of_labels(count: int, kinds: str, pictures: int) -> None:
    schema = EVERY_KIND if kinds == "every kind" else LabelSchema(attributes=EVERY_KIND.attributes)
    samples = [draw(index, schema).packed for index in range(count)]
    picture = decoded(preview_png(samples, schema, "bears"))
    assert picture.width >= pictures * 192
    assert picture.height >= 192


def test_points_are_drawn_where_they_are_unless_they_are_not_there() -> None:
    points = np.array([[4.5, 4.5, 2], [12.5, 4.5, 1], [8.5, 12.5, 0]], np.float32)
    blank = np.zeros((16, 16, 3), np.uint8)
    picture = np.asarray(points_cell(blank, points, EVERY_KIND, 160))
    assert picture[47, 45].max() > 150  # a disc
    assert picture[47, 125].max() == 0  # a ring
    assert picture[45, 85].min() > 200  # the line between them
    assert not picture[110:140, 70:100].any()


def test_depth_grows_darker_with_distance_and_shows_what_is_not_known() -> None:
    depth = np.full((8, 8), 1.0, np.float32)
    depth[:, 4:] = 4.0
    depth[0] = np.nan
    assert EVERY_KIND.depth is not None
    picture = np.asarray(depth_cell(depth, EVERY_KIND.depth, 8), np.int64)
    assert picture[4, 1].sum() > picture[4, 6].sum() + 300
    assert (picture[0, 0] == picture[0, 7]).all()
    assert picture[0, 0].tolist() not in (picture[4, 1].tolist(), picture[4, 6].tolist())
