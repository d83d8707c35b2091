"""The loop: it learns, it survives being killed, and it starts from what is there."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.architecture import Architecture
from models.checkpoint import save_tensors
from models.generator import Generator
from models.training.adaptive import HIGHEST, AdaptiveProbability
from models.training.checkpoints import NEWEST, PREVIOUS
from models.training.discriminator import Discriminator, minibatch_deviation
from models.training.run import sample_images
from models.training.settings import TrainingSettings, plan_for
from models.training.start import Start, read_start, save_discriminator
from models.training.trainer import BEHIND, LAZY_SCALE, Trainer, TrainingProgress
from tests.models.training.subjects import SETTINGS, SMALL, colours, ignore


def test_training_moves_samples_to_the_images(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, SMALL, SETTINGS, colours(), "cpu")
    target = np.array([220, 120, 20])

    def distance() -> float:
        return float(np.abs(sample_images(trainer.average, 32, 0).mean(axis=(0, 1, 2)) - target).mean())

    before = distance()
    trainer.run(3200, ignore)
    assert distance() < min(30.0, 0.5 * before)


def test_a_killed_run_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, SMALL, SETTINGS, colours(), "cpu")
    trainer.run(160, ignore)
    seen: list[TrainingProgress] = []
    again = Trainer(tmp_path, SMALL, SETTINGS, colours(), "cpu")
    assert again.shown == 160
    for name, value in trainer.average.state_dict().items():
        assert torch.equal(again.average.state_dict()[name], value)
    moments = trainer.generator_adam.state_dict()["state"][0]["exp_avg_sq"]
    assert torch.equal(again.generator_adam.state_dict()["state"][0]["exp_avg_sq"], moments)
    again.run(320, seen.append)
    assert again.shown == seen[-1].images == 320
    assert seen[-1].seconds > trainer.seconds


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path: Path) -> None:
    Trainer(tmp_path, SMALL, SETTINGS, colours(), "cpu").save()
    with pytest.raises(ValueError, match="of another architecture"):
        Trainer(tmp_path, Architecture(8, 8, 8, 3, 128, 16, noise=False), SETTINGS, colours(), "cpu")


def test_the_penalty_is_the_squared_gradient_norm(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, SMALL, SETTINGS, colours(), "cpu")
    trainer.precision = torch.float32
    trainer.discriminator.double()
    real = torch.randn(1, 3, 8, 8, dtype=torch.float64)

    class Linear(torch.nn.Module):
        def forward(self, images: torch.Tensor, _precision: torch.dtype) -> torch.Tensor:
            return 3 * images.flatten(1).sum(dim=1)

    trainer.discriminator = Linear()
    # The gradient is 3 at each of 192 values: 9 · 192.
    assert float(trainer._penalty(real)) == pytest.approx(1728.0)


def test_the_learning_rate_falls_to_a_tenth_over_the_last_images(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, SMALL, SETTINGS, colours(), "cpu")
    rates: list[float] = []

    def note_rate(trainer: Trainer) -> None:
        rates.append(trainer.generator_adam.param_groups[0]["lr"])

    trainer.run(160, ignore, snapshot=note_rate, snapshot_images=8, decay_images=80)
    assert rates[0] == SETTINGS.learning_rate
    assert rates[-1] == pytest.approx(0.1 * SETTINGS.learning_rate)
    assert rates == sorted(rates, reverse=True)


def test_minibatch_deviation_sees_a_collapse() -> None:
    x = torch.randn(8, 3, 4, 4)
    alike = minibatch_deviation(x[:1].expand(8, -1, -1, -1))
    assert torch.allclose(alike[:, 3], torch.full((8, 4, 4), 1e-4), atol=1e-6)
    # Groups are strided: image i shares one with i + 2, i + 4, i + 6.
    expected = (x[0::2].var(dim=0, unbiased=False) + 1e-8).sqrt().mean()
    assert torch.allclose(minibatch_deviation(x)[0, 3], expected.expand(4, 4))


def test_the_discriminator_gives_one_logit_an_image() -> None:
    logits = Discriminator(SMALL)(torch.randn(8, 3, 8, 8), torch.bfloat16)
    assert logits.shape == (8,)
    assert logits.dtype == torch.float32


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize("cut", [0, 100, 0.5, 0.99, None])
def test_a_damaged_checkpoint_costs_one_interval(tmp_path: Path, cut: float | None) -> None:
    trainer = Trainer(tmp_path, SMALL, SETTINGS, colours(), "cpu")
    trainer.run(80, ignore)
    trainer.run(160, ignore)
    newest = tmp_path / NEWEST
    if cut is None:
        damage(newest)
    else:
        size = newest.stat().st_size
        os.truncate(newest, int(cut if cut > 1 or cut == 0 else cut * size))
    again = Trainer(tmp_path, SMALL, SETTINGS, colours(), "cpu")
    assert again.shown == 80
    damage(tmp_path / PREVIOUS)
    with pytest.raises(ValueError, match=r"checkpoint\.pt and .*checkpoint\.previous\.pt: damaged; delete"):
        Trainer(tmp_path, SMALL, SETTINGS, colours(), "cpu")


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(tmp_path, SMALL, SETTINGS, colours(), "cpu")
    trainer.run(80, ignore)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="No space"):
        trainer.save()
    assert [p.name for p in tmp_path.iterdir()] == [NEWEST]
    monkeypatch.undo()
    assert Trainer(tmp_path, SMALL, SETTINGS, colours(), "cpu").shown == 80


def test_what_ends_a_run_from_outside_finds_a_checkpoint(tmp_path: Path) -> None:
    class Enough(BaseException):
        pass

    def report(progress: TrainingProgress) -> None:
        if progress.images > 200:
            raise Enough

    trainer = Trainer(tmp_path, SMALL, SETTINGS, colours(), "cpu")
    with pytest.raises(Enough):
        trainer.run(10_000, report, checkpoint_every_s=3600)
    assert Trainer(tmp_path, SMALL, SETTINGS, colours(), "cpu").shown == trainer.shown > 200


def test_a_run_stops_when_asked(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, SMALL, SETTINGS, colours(), "cpu")
    trainer.run(10_000, ignore, snapshot=lambda t: t.stop(), snapshot_images=40)
    assert trainer.shown == 40


def test_a_run_stops_after_the_step_in_which_it_is_asked(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, SMALL, SETTINGS, colours(), "cpu")

    def report(progress: TrainingProgress) -> None:
        trainer.stop()

    trainer.run(10_000, report, snapshot_images=5_000)
    assert trainer.shown <= 2 * SETTINGS.batch


def weights(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def test_a_start_from_a_generator_trains_the_discriminator_first(tmp_path: Path) -> None:
    torch.manual_seed(3)
    given = Generator(SMALL)
    save_tensors(tmp_path / "weights.safetensors", given.state_dict(), "generator", {"architecture": SMALL.to_dict()})
    for place in (tmp_path, tmp_path / "weights.safetensors"):
        start = read_start(place)
        assert start.architecture == SMALL
        assert start.discriminator is None
    settings = replace(SETTINGS, warm_up_images=40)
    trainer = Trainer(tmp_path / "run", SMALL, settings, colours(), "cpu", start)
    assert torch.equal(weights(trainer.generator), weights(given))
    fresh = weights(trainer.discriminator)
    trainer.run(40, ignore)
    assert torch.equal(weights(trainer.generator), weights(given))
    assert torch.equal(weights(trainer.average), weights(given))
    assert not torch.equal(weights(trainer.discriminator), fresh)
    again = Trainer(tmp_path / "run", SMALL, settings, colours(), "cpu")
    again.run(80, ignore)
    assert not torch.equal(weights(again.generator), weights(given))
    # Half-lives of 500 images: the average has hardly left the start, as it would have without one.
    moved = (weights(again.average) - weights(given)).norm() / (weights(again.generator) - weights(given)).norm()
    assert moved < 0.2


def test_beside_a_new_discriminator_the_generator_learns_slowly(tmp_path: Path) -> None:
    given = Generator(SMALL).state_dict()
    settings = replace(SETTINGS, warm_up_images=40)
    trainer = Trainer(tmp_path, SMALL, settings, colours(), "cpu", Start(SMALL, given, given, None))
    rates: list[tuple[int, float, float]] = []

    def note_rates(trainer: Trainer) -> None:
        generator, discriminator = (
            a.param_groups[0]["lr"] for a in (trainer.generator_adam, trainer.discriminator_adam)
        )
        rates.append((trainer.shown, generator / settings.learning_rate, discriminator / settings.learning_rate))

    trainer.run(160, ignore, snapshot=note_rates, snapshot_images=8)
    at_work = [generator for shown, generator, _ in rates if shown > settings.warm_up_images]
    assert at_work == sorted(at_work)
    assert at_work[0] < 0.5 * at_work[-1]
    assert at_work[-1] == pytest.approx(BEHIND)
    assert [discriminator for _, _, discriminator in rates] == [pytest.approx(LAZY_SCALE)] * len(rates)


def test_a_start_from_a_run_takes_its_discriminator_along(tmp_path: Path) -> None:
    before = Trainer(tmp_path / "before", SMALL, SETTINGS, colours(), "cpu")
    before.run(80, ignore)
    trainer = Trainer(tmp_path / "after", SMALL, SETTINGS, colours(), "cpu", read_start(tmp_path / "before"))
    assert torch.equal(weights(trainer.discriminator), weights(before.discriminator))
    assert torch.equal(weights(trainer.average), weights(before.average))
    assert (trainer.shown, trainer.warm_until) == (0, 0)


def test_a_start_from_a_generator_takes_the_discriminator_beside_it(tmp_path: Path) -> None:
    before = Trainer(tmp_path / "before", SMALL, SETTINGS, colours(), "cpu")
    before.run(80, ignore)
    facts = {"architecture": SMALL.to_dict()}
    save_tensors(tmp_path / "weights.safetensors", before.average.state_dict(), "generator", facts)
    save_discriminator(tmp_path, before.discriminator, SMALL)
    trainer = Trainer(tmp_path / "after", SMALL, SETTINGS, colours(), "cpu", read_start(tmp_path))
    assert torch.allclose(weights(trainer.discriminator), weights(before.discriminator), rtol=1e-3, atol=1e-6)
    assert trainer.warm_until == 0
    assert read_start(tmp_path / "weights.safetensors").discriminator is None
    other = replace(SMALL, channel_max=SMALL.channel_max // 2)
    save_discriminator(tmp_path, Discriminator(other), other)
    with pytest.raises(ValueError, match=r"discriminator\.safetensors: belongs to another generator"):
        read_start(tmp_path)


def test_a_start_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no generator there"):
        read_start(tmp_path)
    Trainer(tmp_path / "before", SMALL, SETTINGS, colours(), "cpu").save()
    wider = replace(SMALL, channel_max=8)
    with pytest.raises(ValueError, match="to start from is of another architecture"):
        Trainer(tmp_path / "after", wider, SETTINGS, colours(), "cpu", read_start(tmp_path / "before"))


def test_class_conditional_generators_are_not_trained(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="class-conditional"):
        Trainer(tmp_path, replace(SMALL, c_dim=3), SETTINGS, colours(), "cpu")


def test_the_probability_follows_the_signs_of_real_logits() -> None:
    control = AdaptiveProbability(replace(SETTINGS, augment="ada", ada_images=320))
    sure, unsure = torch.ones(8), torch.tensor([1.0, -1.0] * 4)
    for _ in range(8):
        control.observe(sure)
    # Every fourth step moves it by 4 · 8 of 320 images.
    assert control.p == pytest.approx(0.2)
    assert control.certainty == 1.0
    for _ in range(4):
        control.observe(unsure)
    assert control.p == pytest.approx(0.1)
    for _ in range(400):
        control.observe(sure)
    assert control.p == HIGHEST < 1
    for _ in range(400):
        control.observe(unsure)
    assert control.p == 0.0


def test_a_fixed_probability_stays_and_none_is_none() -> None:
    for augment, expected in (("fixed", 0.3), ("none", 0.0)):
        control = AdaptiveProbability(replace(SETTINGS, augment=augment, augment_p=0.3))
        for _ in range(8):
            control.observe(torch.ones(8))
        assert control.p == expected


def test_the_probability_is_in_the_checkpoint(tmp_path: Path) -> None:
    settings = replace(SETTINGS, augment="ada", ada_target=-0.99, ada_images=500)
    trainer = Trainer(tmp_path, SMALL, settings, colours(), "cpu")
    trainer.run(160, ignore)
    assert trainer.probability.p > 0
    assert Trainer(tmp_path, SMALL, settings, colours(), "cpu").probability.p == trainer.probability.p


def test_both_kinds_of_images_are_augmented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the discriminator sees has gone through the augmentation, at the probability that holds."""
    settings = replace(SETTINGS, augment="fixed", augment_p=0.4)
    trainer = Trainer(tmp_path, SMALL, settings, colours(), "cpu")
    changed: list[torch.Tensor] = []
    seen: list[torch.Tensor] = []

    def mark(images: torch.Tensor, p: float, _dice: torch.Generator) -> torch.Tensor:
        assert p == 0.4
        changed.append(images * 0.5)
        return changed[-1]

    monkeypatch.setattr("models.training.trainer.augment", mark)
    trainer.discriminator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    trainer._step(0)
    # Generated ones once for both networks, real ones, and real ones again for the penalty.
    assert len(changed) == 3
    assert len(seen) == 4
    assert all(any(torch.equal(images, c) for c in changed) for images in seen)


@pytest.mark.parametrize(
    ("field", "value"),
    [("augment", "some"), ("augment_p", 1.0), ("ada_target", 1.0), ("batch", 6), ("learning_rate", 0.0)],
)
def test_settings_that_make_no_sense_are_named(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        TrainingSettings(**{field: value})


def test_there_is_a_plan_for_every_resolution() -> None:
    for resolution in (8, 16, 32, 64, 128, 256, 512, 1024):
        plan = plan_for(resolution)
        assert plan.architecture.resolution == resolution
        assert plan.settings.augment == "ada"
        assert plan.snapshot_images * 5 <= plan.images
    with pytest.raises(ValueError, match="power of two"):
        plan_for(100)
