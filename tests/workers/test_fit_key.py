"""The fit key changes with everything that decides a labeler, and with nothing else."""

import pytest

from service.label_schema import LabelClass
from workers.fit_key import fit_key

GENERATOR = {"weights.safetensors": "aa", "encoder.safetensors": "bb"}
SEEDS = [(b"image 0", b"mask 0"), (b"image 1", b"mask 1")]
CLASSES = [LabelClass(name="floor", color="#101010"), LabelClass(name="bear", color="#8b5a2b")]
RECOLORED = [CLASSES[0], LabelClass(name="bear", color="#ffffff")]
SETTINGS = {"steps": 300, "lpips": "alex"}


def test_it_is_the_same_for_the_same_inputs_in_any_order_of_names() -> None:
    turned = dict(reversed(GENERATOR.items()))
    assert fit_key(GENERATOR, SEEDS, CLASSES, SETTINGS) == fit_key(turned, list(SEEDS), CLASSES, dict(SETTINGS))


@pytest.mark.parametrize(
    ("generator", "seeds", "classes", "settings"),
    [
        ({**GENERATOR, "encoder.safetensors": "cc"}, SEEDS, CLASSES, SETTINGS),
        (GENERATOR, SEEDS[::-1], CLASSES, SETTINGS),
        (GENERATOR, [SEEDS[0], (b"image 1", b"another mask")], CLASSES, SETTINGS),
        (GENERATOR, SEEDS[:1], CLASSES, SETTINGS),
        (GENERATOR, SEEDS, RECOLORED, SETTINGS),
        (GENERATOR, SEEDS, CLASSES, {**SETTINGS, "steps": 301}),
    ],
)
def test_it_changes_with_each_of_them(
    generator: dict[str, str], seeds: list[tuple[bytes, bytes]], classes: list[LabelClass], settings: dict[str, object]
) -> None:
    assert fit_key(generator, seeds, classes, settings) != fit_key(GENERATOR, SEEDS, CLASSES, SETTINGS)
