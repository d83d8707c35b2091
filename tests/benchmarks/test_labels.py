"""The benchmark of label quality."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import labels
from models.bears import render
from models.bundle import load_bundle
from models.bundled import bundled_folders
from models.fitting import FitSettings


def test_inversions_that_are_kept_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = load_bundle(bundled_folders()[0], torch.device("cpu"))
    usual = FitSettings()
    settings = replace(usual, refinement=replace(usual.refinement, steps=2))
    renders = render(range(2), bundle.resolution)
    made = labels.inverted(bundle, renders, settings, tmp_path)
    monkeypatch.delattr(labels, "invert")  # from now on there is only the folder
    kept = labels.inverted(bundle, renders, settings, tmp_path)
    assert kept.steps == made.steps == 2
    for name in ("codes", "reconstructions", "lpips", "psnr_db", "p_norm"):
        assert torch.equal(getattr(kept, name), getattr(made, name))
