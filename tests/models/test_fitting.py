import numpy as np
import pytest
import torch

from models.bundle import GeneratorBundle
from models.fitting import FitError, FitSettings, SeedFeatures, class_iou, fit, mean_iou
from models.inversion.refinement import RefinementSettings
from models.labeler import Labeler
from models.pictures import to_uint8

QUICK = FitSettings(
    members=3,
    hidden=(16, 8),
    steps=150,
    batch=4,
    min_psnr_db=15.0,
    pilots=((0.5, 64), (1.0, 128)),
    refinement=RefinementSettings(steps=120, lpips_weight=0.0, learning_rate=0.15),
    lpips_backbone="squeeze",
)


def thirds(images: np.ndarray) -> np.ndarray:
    """A label that a generator's features can tell: is a pixel dark, medium or bright."""
    return np.digitize(images.mean(axis=-1), (95, 150)).astype(np.uint8)


def seeds_of(bundle: GeneratorBundle, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Samples of the generator and their labels."""
    z = torch.randn(count, 16, generator=torch.Generator().manual_seed(4))
    images = to_uint8(bundle.generator(z))
    return images, thirds(images)


def test_a_fit_labels_new_samples_and_reports_every_seed(tiny_bundle: GeneratorBundle) -> None:
    images, masks = seeds_of(tiny_bundle, 8)
    images[3] = np.random.default_rng(0).integers(0, 256, images[3].shape)
    phases: list[tuple[str, int, int]] = []
    outcome = fit(tiny_bundle, images, masks, ["dark", "medium", "bright"], QUICK, lambda *p: phases.append(p))

    seeds = outcome.report["seeds"]
    assert [s["index"] for s in seeds] == list(range(8))
    assert not seeds[3]["included"]
    assert "dB PSNR" in seeds[3]["reason"]
    good = [s for i, s in enumerate(seeds) if i != 3]
    assert sum(s["included"] for s in good) >= 6
    assert np.mean([s["psnr_db"] for s in good]) > 20
    assert {p[0] for p in phases} == {"invert", "fit"}
    # 150 steps, and one batch of pilot samples for truncation 0.5 and two for 1.0.
    assert phases[-1] == ("fit", 153, 153)
    assert outcome.report["perceptual"] == {"backbone": "squeeze", "weights": "random"}
    assert outcome.codes.shape == (8, tiny_bundle.num_ws, 16)

    z = torch.randn(64, 16, generator=torch.Generator().manual_seed(1000))
    new, features = tiny_bundle.generator.synthesis(tiny_bundle.generator.broadcast(tiny_bundle.generator.mapping(z)))
    truth = thirds(to_uint8(new))
    predicted = outcome.labeler.label(features).masks.numpy()
    guess = np.full_like(predicted, np.bincount(truth.ravel()).argmax())
    scores = [mean_iou(class_iou(p, truth, 3)) for p in (predicted, guess)]
    assert scores[0] > scores[1] + 0.15, "better than always the commonest class"
    assert outcome.labeler.discard_threshold(0.1, 1.0) < outcome.labeler.discard_threshold(0.01, 1.0)


def test_the_same_seeds_give_the_same_labeler(tiny_bundle: GeneratorBundle) -> None:
    images, masks = seeds_of(tiny_bundle, 2)
    runs = [fit(tiny_bundle, images, masks, ["a", "b", "c"], QUICK, lambda *_: None) for _ in range(2)]
    first, again = (run.labeler.state_dict() for run in runs)
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_seeds_from_another_domain_end_the_fit_with_advice(tiny_bundle: GeneratorBundle) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    with pytest.raises(FitError, match="none of the 2 seeds can be rebuilt"):
        fit(tiny_bundle, images, np.zeros((2, 16, 16), np.uint8), ["a"], QUICK, lambda *_: None)


def test_an_exception_from_progress_ends_the_fit(tiny_bundle: GeneratorBundle) -> None:
    class CancelledError(Exception):
        pass

    def cancel(phase: str, done: int, total: int) -> None:
        if phase == "fit" and done == 3:
            raise CancelledError

    images, masks = seeds_of(tiny_bundle, 2)
    with pytest.raises(CancelledError):
        fit(tiny_bundle, images, masks, ["a", "b", "c"], QUICK, cancel)


def test_features_are_the_same_kept_or_made_again(
    tiny_bundle: GeneratorBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    z = torch.randn(6, 16)
    codes = tiny_bundle.generator.broadcast(tiny_bundle.generator.mapping(z))
    kept = SeedFeatures(tiny_bundle, codes)
    monkeypatch.setattr("models.fitting.FEATURE_CACHE_BYTES", 0)
    made = SeedFeatures(tiny_bundle, codes)
    assert kept.kept is not None
    assert made.kept is None
    rows = torch.tensor([4, 1])
    for a, b in zip(kept.of(rows), made.of(rows), strict=True):
        assert torch.allclose(a.float(), b.float(), atol=0.05)


def test_iou_counts_by_hand_and_ignores_255() -> None:
    truth = np.array([[0, 0, 1, 255]], dtype=np.uint8)
    predicted = np.array([[0, 1, 1, 2]], dtype=np.uint8)
    assert class_iou(predicted, truth, 4) == [0.5, 0.5, None, None]
    assert mean_iou([0.5, None, 1.0]) == 0.75


def test_the_fingerprint_tells_fits_apart_and_is_json() -> None:
    assert FitSettings().fingerprint() == FitSettings().fingerprint()
    assert FitSettings(steps=1).fingerprint() != FitSettings().fingerprint()
    assert FitSettings().fingerprint()["lpips_weights"] == "random"


def test_a_labeler_of_a_fit_survives_the_disk(tiny_bundle: GeneratorBundle, tmp_path: object) -> None:
    from pathlib import Path

    images, masks = seeds_of(tiny_bundle, 2)
    outcome = fit(tiny_bundle, images, masks, ["a", "b", "c"], QUICK, lambda *_: None)
    path = Path(str(tmp_path)) / "labeler.safetensors"
    outcome.labeler.save(path)
    again = Labeler.load(path, torch.device("cpu"))
    assert again.discard_threshold(0.1, 0.8) == outcome.labeler.discard_threshold(0.1, 0.8)
