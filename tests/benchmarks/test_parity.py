"""The comparison with other people's code, with folders in their layout that hold code of the tests."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import parity
from benchmarks.parity import CONFIGURATIONS, TOLERANCE, Configuration, Outcome, compare, outcomes

NVIDIA_FILES = {
    "dnnlib/__init__.py": "from dnnlib.util import EasyDict",
    "dnnlib/util.py": "from tests.models.foreign.nvidia_files import EasyDict",
    "torch_utils/__init__.py": "",
    "torch_utils/persistence.py": "from tests.models.foreign.nvidia_files import _reconstruct_persistent_obj",
    "training/__init__.py": "",
    "training/augment.py": "print('hello')\nfrom tests.benchmarks.runnable_nvidia import AugmentPipe",
    "training/networks.py": "from tests.benchmarks.runnable_nvidia import Discriminator, Generator",
}
BRIGHTER = """
plain = Generator.forward
Generator.forward = lambda *given, **named: plain(*given, **named) + 0.01
"""
SYNTHESIS = {"channel_base": 128, "channel_max": 8}
NETWORK = {"network": "training.networks", "resolution": 16, "z_dim": 16, "w_dim": 16, "synthesis": SYNTHESIS}
WITH_CLASSES = NETWORK | {"c_dim": 3, "classes": [0, 2], "mapping": {"num_layers": 2}}
TINY_NVIDIA = [
    Configuration("plain", NETWORK),
    Configuration("classes", WITH_CLASSES),
    Configuration("resnet", NETWORK | {"synthesis": {"architecture": "resnet"}}, refusal="only 'skip'"),
    Configuration("taken", NETWORK, refusal="only 'skip'"),
    Configuration("other words", NETWORK | {"synthesis": {"architecture": "orig"}}, refusal="a StyleGAN3"),
]
TINY_ROSINALITY = [
    Configuration("converted", {"resolution": 16, "multiplier": 2, "width": 16, "depth": 3}),
    Configuration(
        "trained",
        {"resolution": 8, "multiplier": 1, "width": 16, "depth": 2, "training": True, "old_format": True},
        truncations=(1.0,),
    ),
]


def checkout(folder: Path, files: dict[str, str]) -> Path:
    """A folder with these files; it is no part of this project, and on nobody's path."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text + "\n")
    return folder


def test_networks_of_nvidias_layout_are_compared_and_refused(tmp_path: Path) -> None:
    found = dict(outcomes(checkout(tmp_path, NVIDIA_FILES), TINY_NVIDIA))
    assert [outcome.ok for outcome in found.values()] == [True, True, True, False, False]
    for name in ("plain", "classes"):
        assert set(found[name].differences) == {"w", "features", "colors", "images"}
        assert 0 < found[name].differences["images"] < TOLERANCE
        assert found[name].largest > 1
    assert "architecture 'resnet'" in found["resnet"].message
    assert found["taken"].message == "was imported"
    assert "architecture 'orig'" in found["other words"].message


def test_networks_of_rosinalitys_layout_are_compared(tmp_path: Path) -> None:
    folder = checkout(tmp_path, {"model.py": "from tests.benchmarks.runnable_rosinality import *"})
    found = dict(outcomes(folder, TINY_ROSINALITY))
    assert [outcome.ok for outcome in found.values()] == [True, True], found
    assert all(0 < outcome.differences["colors"] < TOLERANCE for outcome in found.values())


def test_an_image_that_differs_is_told_and_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    networks = NVIDIA_FILES["training/networks.py"] + BRIGHTER
    folder = checkout(tmp_path, NVIDIA_FILES | {"training/networks.py": networks})
    monkeypatch.setitem(CONFIGURATIONS, "nvidia", TINY_NVIDIA[:1])
    monkeypatch.setattr(sys, "argv", ["parity", "--nvidia", str(folder)])
    with pytest.raises(SystemExit) as ended:
        parity.main()
    assert ended.value.code == 1
    *table, last = capsys.readouterr().out.splitlines()
    assert table[-1].startswith("WRONG")
    result = json.loads(last)
    assert result["ok"] is False
    differences = result["configurations"]["nvidia"]["plain"]["differences"]
    assert differences["images"] == pytest.approx(0.01, rel=0.02)
    assert max(differences["features"], differences["colors"]) < TOLERANCE


def test_a_folder_without_their_code_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["parity", "--rosinality", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"the code in .* failed; see above"):
        parity.main()
    assert "No module named 'model'" in capfd.readouterr().err


def record(**changes: Any) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    names = ("z", "w", "images", "features.0", "colors.0")
    return {name: torch.randn(2, 5, generator=random) for name in names} | changes


@pytest.mark.parametrize(
    ("theirs", "message"),
    [
        ({"features.1": torch.randn(2, 5)}, "features.1 is missing or of another shape"),
        ({"images": torch.randn(2, 1)}, "images is missing or of another shape"),
        ({"w": torch.zeros(2, 5)}, ""),
        ({"colors.0": torch.full([2, 5], torch.nan)}, ""),
        ({"features.0": record()["features.0"] + 2e-4}, ""),
    ],
)
def test_what_cannot_be_the_same_is_not_ok(theirs: dict[str, torch.Tensor], message: str) -> None:
    outcome = compare(record(), record(**theirs))
    assert (outcome.ok, outcome.message) == (False, message)
    assert not compare(record(**theirs), record()).ok


def test_the_largest_difference_of_each_kind_is_told() -> None:
    ours = record()
    ours["features.0"] = ours["features.0"].clone()
    ours["features.0"][1, 3] += 5e-5
    outcome = compare(ours, record())
    assert outcome.ok
    assert outcome.differences == {"w": 0, "features": pytest.approx(5e-5, rel=0.01), "colors": 0, "images": 0}
    assert compare(record(), record()) == Outcome(True, dict.fromkeys(outcome.differences, 0.0), outcome.largest)


def test_every_configuration_can_be_told_apart() -> None:
    for configurations in CONFIGURATIONS.values():
        names = [configuration.name for configuration in configurations]
        assert len(set(names)) == len(names)
        settings = [json.dumps(c.settings, sort_keys=True) for c in configurations]
        assert len(set(settings)) == len(settings)
