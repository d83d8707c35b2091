import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision

from models.bundle import GeneratorBundle
from models.checkpoint import CheckpointError
from models.inversion import refinement
from models.inversion.encoder import Encoder, EncoderArchitecture
from models.inversion.latents import LatentStatistics
from models.inversion.perceptual import PerceptualDistance
from models.inversion.refinement import RefinementSettings, invert, measure, misfit, psnr_db
from models.inversion.training import EncoderProgress, EncoderSettings, EncoderTraining

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def perceptual() -> PerceptualDistance:
    return PerceptualDistance("squeeze")


def sample_codes(bundle: GeneratorBundle, count: int, seed: int = 3) -> torch.Tensor:
    z = torch.randn(count, 16, generator=torch.Generator().manual_seed(seed))
    return bundle.generator.broadcast(bundle.generator.mapping(z)).contiguous()


def test_random_samples_have_p_norm_one_and_the_prior_grows_with_distance(tiny_bundle: GeneratorBundle) -> None:
    codes = sample_codes(tiny_bundle, 2000)
    norms = tiny_bundle.latents.p_norm(codes)
    assert norms.shape == (2000, tiny_bundle.num_ws)
    # Directions that hardly vary count for less than their share.
    assert 0.8 < float(norms.mean()) < 1.05
    far = tiny_bundle.latents.w_avg + 4 * (codes - tiny_bundle.latents.w_avg)
    assert (tiny_bundle.latents.p_norm(far).mean(1) > norms.mean(1)).float().mean() > 0.99


def test_the_whitening_is_that_of_float64(tiny_bundle: GeneratorBundle) -> None:
    codes = sample_codes(tiny_bundle, 4000, seed=9)[:, 0].double()
    p = torch.where(codes >= 0, codes, 5 * codes)
    covariance = torch.cov(((p - tiny_bundle.latents.p_mean) @ tiny_bundle.latents.whiten.double().T).T)
    kept = covariance.diagonal() > 0.5
    assert kept.sum() >= 8, "directions with variance are whitened"
    assert torch.allclose(covariance[kept][:, kept], torch.eye(int(kept.sum()), dtype=torch.float64), atol=0.12)


def test_latents_survive_the_disk(tiny_bundle: GeneratorBundle, tmp_path: Path) -> None:
    tiny_bundle.latents.save(tmp_path / "latents.safetensors")
    again = LatentStatistics.load(tmp_path / "latents.safetensors", CPU)
    assert torch.equal(again.whiten, tiny_bundle.latents.whiten)
    with pytest.raises(CheckpointError, match="holds latents, not a encoder"):
        Encoder.load(tmp_path / "latents.safetensors", CPU)


def test_psnr_is_the_closed_form() -> None:
    a = torch.zeros(2, 3, 4, 4)
    b = torch.stack([torch.full((3, 4, 4), 0.2), torch.full((3, 4, 4), 0.02)])
    # A difference of 0.2 on a range of 2 is a tenth: 20 dB.
    assert psnr_db(a, b).tolist() == pytest.approx([20.0, 40.0], abs=1e-4)


def test_misfit_is_the_deviation_around_each_pixel() -> None:
    random = np.random.default_rng(3)
    a, b = random.uniform(-1, 1, (2, 2, 3, 6, 5))
    squares = np.square(a - b).mean(axis=1)
    wanted = np.empty_like(squares)
    for y in range(6):
        for x in range(5):
            around = squares[:, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
            wanted[:, y, x] = np.sqrt(around.mean(axis=(1, 2)))
    found = misfit(torch.from_numpy(a).float(), torch.from_numpy(b).float())
    assert np.allclose(found.numpy(), wanted, atol=1e-6)


def test_refinement_brings_each_image_back_and_keeps_its_best(
    tiny_bundle: GeneratorBundle, perceptual: PerceptualDistance
) -> None:
    codes = sample_codes(tiny_bundle, 3)
    targets = tiny_bundle.generator.synthesis(codes)[0].clamp(-1, 1)
    before = {name: p.clone() for name, p in tiny_bundle.generator.named_parameters()}
    mean = tiny_bundle.latents.w_avg.expand(3, tiny_bundle.num_ws, -1)
    start = measure(tiny_bundle, perceptual, targets, mean)
    calls: list[tuple[int, int]] = []
    settings = RefinementSettings(steps=150, lpips_weight=0.5, batch=2)
    found = invert(tiny_bundle, perceptual, targets, settings, lambda done, total: calls.append((done, total)))
    assert (found.psnr_db > start.psnr_db + 5).all()
    assert calls[-1] == (450, 450)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)
    assert all(torch.equal(p, before[name]) for name, p in tiny_bundle.generator.named_parameters())
    again = measure(tiny_bundle, perceptual, targets, found.codes)
    assert torch.equal(again.psnr_db, found.psnr_db), "the code kept is the one whose quality is reported"


def test_a_seed_is_refined_the_same_alone_and_in_company(
    tiny_bundle: GeneratorBundle, perceptual: PerceptualDistance
) -> None:
    targets = tiny_bundle.generator.synthesis(sample_codes(tiny_bundle, 3))[0].clamp(-1, 1)
    settings = RefinementSettings(steps=20, lpips_weight=0.5)
    together = invert(tiny_bundle, perceptual, targets, settings, lambda *_: None)
    alone = invert(tiny_bundle, perceptual, targets[1:2], settings, lambda *_: None)
    assert float(alone.psnr_db[0]) == pytest.approx(float(together.psnr_db[1]), abs=0.5)


def test_refinement_stops_at_its_time_limit(tiny_bundle: GeneratorBundle, perceptual: PerceptualDistance) -> None:
    targets = tiny_bundle.generator.synthesis(sample_codes(tiny_bundle, 2))[0].clamp(-1, 1)
    started = time.monotonic()
    settings = RefinementSettings(steps=100_000, time_limit_s=1.0, lpips_weight=0.0)
    found = invert(tiny_bundle, perceptual, targets, settings, lambda *_: None)
    assert time.monotonic() - started < 10
    assert found.codes.shape == (2, tiny_bundle.num_ws, 16)
    assert 0 < found.steps < 100_000


def test_every_image_has_its_share_of_the_time(tiny_bundle: GeneratorBundle, perceptual: PerceptualDistance) -> None:
    """The last batch is refined as well as the first, and the rate has fallen by the time it runs out."""
    same = tiny_bundle.generator.synthesis(sample_codes(tiny_bundle, 1))[0].clamp(-1, 1)
    settings = RefinementSettings(steps=100_000, time_limit_s=4.0, lpips_weight=0.0, batch=1)
    first, *_, last = invert(tiny_bundle, perceptual, same.repeat(3, 1, 1, 1), settings, lambda *_: None).psnr_db
    encoded = measure(tiny_bundle, perceptual, same, tiny_bundle.latents.w_avg.expand(1, tiny_bundle.num_ws, -1))
    assert min(first, last) > encoded.psnr_db[0] + 5
    assert float(last) == pytest.approx(float(first), abs=5)


def test_large_images_are_refined_a_few_at_a_time(
    tiny_bundle: GeneratorBundle, perceptual: PerceptualDistance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refinement, "BATCH_PIXELS", 2 * 16 * 16)
    targets = tiny_bundle.generator.synthesis(sample_codes(tiny_bundle, 5))[0].clamp(-1, 1)
    shown: list[int] = []

    def note(_module: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        if given[0].requires_grad:
            shown.append(len(given[0]))

    hook = tiny_bundle.generator.synthesis.register_forward_pre_hook(note)
    try:
        found = invert(tiny_bundle, perceptual, targets, RefinementSettings(steps=1), lambda *_: None)
    finally:
        hook.remove()
    assert shown == [2, 2, 2, 2, 1, 1]
    assert (len(found.codes), found.steps) == (5, 1)


def test_the_prior_keeps_codes_near_random_samples(
    tiny_bundle: GeneratorBundle, perceptual: PerceptualDistance
) -> None:
    targets = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    norms = []
    for weight in (0.0, 1.0):
        settings = RefinementSettings(
            steps=60, lpips_weight=0, prior_weight=weight, encoder_weight=0, layer_weight=0, learning_rate=0.2
        )
        norms.append(float(invert(tiny_bundle, perceptual, targets, settings, lambda *_: None).p_norm.mean()))
    assert norms[1] < 0.5 * norms[0]


def test_training_the_encoder_finds_codes_and_resumes(
    tiny_bundle: GeneratorBundle, perceptual: PerceptualDistance, tmp_path: Path
) -> None:
    reports: list[EncoderProgress] = []
    settings = EncoderSettings(steps_code=100, steps_image=2, batch=16)
    training = EncoderTraining(tiny_bundle.generator, tiny_bundle.latents, perceptual, settings)
    encoder = training.run(reports.append)
    assert reports[0].stage == 1
    assert reports[-1].stage == 2
    assert reports[-1].lpips > 0
    assert reports[-1].code_error < 0.8 * reports[0].code_error
    codes = sample_codes(tiny_bundle, 32, seed=77)
    images = tiny_bundle.generator.synthesis(codes)[0].clamp(-1, 1)
    spread = tiny_bundle.latents.w_std

    def error(found: torch.Tensor) -> float:
        return float(((found - codes) / spread).square().mean())

    assert error(encoder(images)) < 0.8 * error(tiny_bundle.latents.w_avg.expand_as(codes))

    encoder.save(tmp_path / "encoder.safetensors", {})
    again = Encoder.load(tmp_path / "encoder.safetensors", CPU)
    assert torch.allclose(again(images), encoder(images), atol=0.02)
    resumed = EncoderTraining(
        tiny_bundle.generator, tiny_bundle.latents, perceptual, EncoderSettings(0, 0), start=again
    ).run(reports.append)
    assert torch.allclose(resumed(images), again(images), atol=1e-2)


def test_what_is_left_of_another_training_is_not_gone_on_with(
    tiny_bundle: GeneratorBundle, perceptual: PerceptualDistance
) -> None:
    settings = EncoderSettings(steps_code=6, steps_image=6, batch=4)

    def training() -> EncoderTraining:
        return EncoderTraining(tiny_bundle.generator, tiny_bundle.latents, perceptual, settings)

    def stop(progress: EncoderProgress) -> None:
        if progress.step == 6:
            raise KeyboardInterrupt

    left = training()
    with pytest.raises(KeyboardInterrupt):
        left.run(stop)
    state = left.state()
    again = training()
    assert again.restore(state)
    assert (again.stage, again.step) == (1, 6)

    other = replace(left.encoder.architecture, hidden=8)
    foreign = state | {"architecture": asdict(other), "encoder": Encoder(other).state_dict()}
    fresh = training()
    before = {name: value.clone() for name, value in fresh.encoder.state_dict().items()}
    assert not fresh.restore(foreign)
    assert all(torch.equal(value, before[name]) for name, value in fresh.encoder.state_dict().items())
    for damaged in (state | {"encoder": Encoder(other).state_dict()}, state | {"adam": {}, "stage": 2}):
        with pytest.raises((KeyError, RuntimeError)):
            fresh.restore(damaged)
        assert (fresh.stage, fresh.step, fresh.seconds) == (1, 0, 0.0)


def test_an_encoder_reduces_large_images() -> None:
    encoder = Encoder(EncoderArchitecture(16, 4, 8, channel_base=128, channel_max=8, hidden=8))
    large = torch.rand(2, 3, 64, 64)
    assert torch.allclose(encoder(large), encoder(F.avg_pool2d(large, 4)), atol=1e-5)


def test_a_random_backbone_says_so_and_is_the_same_every_time(tmp_path: Path) -> None:
    first, again = PerceptualDistance("alex"), PerceptualDistance("alex")
    assert first.source == "random"
    a, b = torch.rand(2, 2, 3, 64, 64).unbind()
    assert torch.equal(first(a, b), again(a, b))
    assert (first(a, a) == 0).all()
    assert (first(a, b) > 0).all()


def test_backbone_weights_are_loaded_from_a_path(tmp_path: Path) -> None:
    torch.manual_seed(12)
    alexnet = torchvision.models.alexnet(weights=None)
    path = tmp_path / "alexnet.pth"
    torch.save(alexnet.state_dict(), path)
    distance = PerceptualDistance("alex", path)
    assert distance.source == "pretrained"
    images = torch.rand(2, 3, 64, 64)
    ours = distance.network.net(images).relu5
    assert torch.allclose(ours, alexnet.features[:12](images), atol=1e-6)


@pytest.mark.parametrize("content", [b"", b"not a state dict", b"\x80\x04\x95"])
def test_wrong_backbone_weights_are_refused_by_name(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "vgg.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"vgg\.pth: not the torchvision weights of vgg"):
        PerceptualDistance("vgg", path)
