"""Everything that computes, on a GPU that is not there: nothing mixes devices, and no inner loop waits for it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from models.architecture import Architecture
from models.bundle import GeneratorBundle
from models.device import choose_device, fast_precision, repeatable, sent, training_precision
from models.distances.features import choose_features
from models.fitting import fit
from models.fitting.fit import learn, seed_pictures
from models.fitting.seed_features import SeedFeatures
from models.generator import Generator
from models.inversion.encoder import Encoder, EncoderArchitecture
from models.inversion.latents import describe_latents, measure_latents
from models.inversion.perceptual import PerceptualDistance
from models.inversion.refinement import RefinementSettings, invert
from models.inversion.training import EncoderSettings, EncoderTraining
from models.labeler import Labeler, bilinear
from models.labeling import LabelingKernel
from models.labels import LabelMirror
from models.sampling import labeled_samples
from models.training.evaluation import Evaluator
from models.training.images import TrainingImages
from models.training.run import Run
from models.training.trainer import Trainer
from tests.models.conftest import TINY
from tests.models.fitting.subjects import LAYOUT, NAMES, QUICK, Subjects, subjects
from tests.models.pretended_gpu import GPU, PretendedGpu, pretended_gpu
from tests.models.training.subjects import SETTINGS, SMALL, colours, ignore

BRIEF = replace(
    QUICK,
    steps=4,
    second_steps=8,
    fold_steps=2,
    image_steps=2,
    min_psnr_db=-100.0,
    pilots=((1.0, 64),),
    refinement=RefinementSettings(steps=3, lpips_weight=1.0, random_lpips_weight=1.0),
)
MIRROR = LabelMirror((0, 1, 2), (0, 1), ((0, 1),))


@pytest.fixture
def seeds(tiny_bundle: GeneratorBundle) -> Subjects:
    return subjects(tiny_bundle, 6)


@pytest.fixture
def gpu(seeds: Subjects, monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendedGpu]:
    """Entered after the seeds were made, on the CPU."""
    with pretended_gpu(monkeypatch) as gpu:
        yield gpu


def bundle_there(architecture: Architecture = TINY) -> GeneratorBundle:
    torch.manual_seed(5)
    generator = Generator(architecture).to(GPU).eval().requires_grad_(False)
    encoder = Encoder(EncoderArchitecture.for_generator(architecture)).to(GPU).eval().requires_grad_(False)
    return GeneratorBundle(generator, encoder, measure_latents(generator))


def waits(gpu: PretendedGpu, work: Callable[[], object]) -> dict[str, int]:
    """What made the processor wait for the device during `work`."""
    gpu.waits.clear()
    work()
    return dict(gpu.waits)


def test_the_pretended_gpu_refuses_what_a_gpu_would(gpu: PretendedGpu) -> None:
    there, here = torch.zeros(3, device="cuda"), torch.ones(3)
    assert (there.device, there.is_cuda, there[1:].device, here.device.type) == (GPU, True, GPU, "cpu")
    assert (there + torch.tensor(1.0)).device == GPU, "a number may come from anywhere"
    with pytest.raises(RuntimeError, match="different devices"):
        there + here
    with pytest.raises(RuntimeError, match="different devices"):
        torch.cat([there, here])
    with pytest.raises(TypeError, match="convert cuda:0"):
        there.numpy()
    with pytest.raises(RuntimeError, match="generator of random numbers"):
        torch.randn(2, generator=torch.Generator(), device="cuda")
    assert waits(gpu, lambda: here.to("cuda")) == {"to cuda": 1}
    assert waits(gpu, there.sum().item) == {"item": 1}
    assert waits(gpu, lambda: there[here > 0]) == {"__getitem__ by data": 1}
    assert waits(gpu, lambda: sent(here, GPU) + there) == {}


def test_synthesis_needs_nothing_from_the_processor(gpu: PretendedGpu) -> None:
    generator = bundle_there(replace(TINY, noise=True, c_dim=3, conv_clamp=256.0)).generator
    z, classes = torch.randn(3, 16, device=GPU), generator.mapping.random_classes(3, torch.Generator())
    for precision in (torch.float32, torch.float16, torch.bfloat16):
        ws = generator.broadcast(generator.mapping(z, 0.7, classes))
        images, features = generator.synthesis(ws, precision)
        assert {each.device for each in (images, *features)} == {GPU}
        assert (images.dtype, features[0].dtype) == (torch.float32, precision)
        assert waits(gpu, lambda ws=ws, precision=precision: generator.synthesis(ws, precision, True)) == {}


@pytest.mark.parametrize("lattice_side", [8, 128])
def test_a_fit_and_the_samples_that_it_labels(
    gpu: PretendedGpu, seeds: Subjects, lattice_side: int, tmp_path: Path
) -> None:
    bundle, settings = bundle_there(), replace(BRIEF, lattice_side=lattice_side)
    outcome = fit(bundle, seeds.images, seeds.labels.each(), LAYOUT, NAMES, settings, lambda *_: None, mirror=MIRROR)
    assert outcome.report["held_out"] is not None
    assert outcome.report["flipped"] is not None
    outcome.labeler.save(tmp_path / "labeler.safetensors")
    fixed = []
    bundle.generator.synthesis.register_forward_hook(lambda *_: fixed.append(torch.backends.cudnn.deterministic))
    for labeler in (outcome.labeler, Labeler.load(tmp_path / "labeler.safetensors", bundle.device)):
        assert {t.device for t in labeler.state_dict().values()} == {GPU}
        samples = list(labeled_samples(bundle, labeler, 7, range(20), 0.8, 0.3, ignore_fraction=0.1))
        assert [sample.index for sample in samples] == list(range(20))
        assert samples[0].labels.keypoints is not None
        assert samples[0].labels.depth is not None
    assert fixed
    assert all(fixed), "every worker makes the same bytes of a sample"


@pytest.mark.parametrize("lattice_side", [8, 128])
def test_a_step_of_a_fit_waits_for_nothing(gpu: PretendedGpu, seeds: Subjects, lattice_side: int) -> None:
    bundle, settings = bundle_there(), replace(BRIEF, folds=0, lattice_side=lattice_side)
    codes = seeds.codes.to(GPU)

    def waits_of(steps: int) -> dict[str, int]:
        longer = replace(settings, steps=steps, image_steps=steps)
        return waits(gpu, lambda: learn(bundle, codes, seeds.labels, [True] * 6, LAYOUT, longer, lambda *_: None))

    assert waits_of(1) == waits_of(1) == waits_of(5), "they are of the fit, not of its steps"


def test_gradients_never_go_through_float16(
    gpu: PretendedGpu, seeds: Subjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = bundle_there()
    assert fast_precision(GPU) == torch.float16
    for capability, precision in (((8, 6), torch.bfloat16), ((7, 5), torch.float32)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, capability=capability: capability)
        assert training_precision(GPU) == precision
        features = SeedFeatures(bundle, seeds.codes.to(GPU)).to_learn_from(torch.arange(2))
        assert {each.dtype for each in features} == {precision}


def test_inversion(gpu: PretendedGpu, seeds: Subjects) -> None:
    bundle = bundle_there()
    perceptual = PerceptualDistance("squeeze").to(GPU)
    images = torch.from_numpy(seeds.images).to(GPU).permute(0, 3, 1, 2).float() / 127.5 - 1
    made = {}
    for steps in (2, 6):
        settings = replace(BRIEF.refinement, steps=steps)
        made[steps] = waits(
            gpu, lambda settings=settings: invert(bundle, perceptual, images, settings, lambda *_: None)
        )
    assert made[2] == made[6], "no step waits"
    assert describe_latents(bundle.generator, bundle.latents)["p_norm_mean"] > 0


def test_the_training_of_an_encoder(gpu: PretendedGpu) -> None:
    bundle = bundle_there(replace(TINY, c_dim=3))
    perceptual, settings = PerceptualDistance("squeeze").to(GPU), EncoderSettings(3, 2, batch=4)
    training = EncoderTraining(bundle.generator, bundle.latents, perceptual, settings)
    assert waits(gpu, training._sample) == {}
    assert {t.device for t in training.run(lambda _: None).state_dict().values()} == {GPU}
    again = EncoderTraining(bundle.generator, bundle.latents, perceptual, replace(settings))
    assert again.restore(training.state())


def test_the_training_of_a_generator(gpu: PretendedGpu, tmp_path: Path) -> None:
    settings = replace(SETTINGS, augment="ada", augment_p=0.7, mirror=True)
    architecture = replace(SMALL, noise=True)
    trainer = Trainer(tmp_path, architecture, settings, colours(), "auto")
    assert trainer.device.type == "cuda"
    assert waits(gpu, lambda: [trainer._step(step) for step in range(3)]) == {}, "R1 and augmentation as well"

    images = TrainingImages(colours(), tmp_path / "colours.u8", None)
    evaluator = Evaluator(choose_features("random-convnet-v1", device=trainer.device), images, True, 60)
    run = Run(trainer, evaluator, "", "")
    trainer.run(80, ignore, snapshot=run.snapshot, snapshot_images=40)
    assert np.isfinite(run.snapshots.evaluations[-1].distance.frechet)

    again = Trainer(tmp_path, architecture, settings, colours(), "auto")
    for network in (again.generator, again.discriminator, again.average):
        assert {t.device for t in network.state_dict().values()} == {GPU}
    for adam in (again.generator_adam, again.discriminator_adam):
        for state in adam.state_dict()["state"].values():
            places = {name: value.device.type for name, value in state.items()}
            # Adam reads its counts of steps at every step, each on its own.
            assert places == {"step": "cpu", "exp_avg": "cuda", "exp_avg_sq": "cuda"}
    again.run(120, ignore)
    assert again.shown == 120


def test_the_second_round_of_a_fit(gpu: PretendedGpu, seeds: Subjects) -> None:
    bundle, codes = bundle_there(), seeds.codes.to(GPU)
    settings = replace(BRIEF, folds=0, lessons=64, teacher_steps=20)
    pictures = seed_pictures(seeds.images, seeds.labels, None, None)
    learnt = learn(bundle, codes, seeds.labels, [True] * 6, LAYOUT, settings, lambda *_: None, pictures=pictures)
    assert learnt.lessons == 64
    assert {t.device for t in learnt.labeler.state_dict().values()} == {GPU}


def test_gradients_of_upsampling_are_added_up_in_float32(gpu: PretendedGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    interpolate, given = F.interpolate, list[torch.dtype]()

    def watched(x: torch.Tensor, **how: object) -> torch.Tensor:
        given.append(x.dtype)
        return interpolate(x, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(F, "interpolate", watched)
    x = torch.randn(1, 3, 4, 4, device=GPU, dtype=torch.bfloat16, requires_grad=True)
    wide = bilinear(x, 64)
    assert (wide.dtype, set(given)) == (torch.bfloat16, {torch.float32})
    wide.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.full_like(x, 256.0)), "a pixel becomes 256"


def test_a_kernel_is_where_its_labeler_is(gpu: PretendedGpu, seeds: Subjects) -> None:
    bundle = bundle_there()
    labeler = learn(bundle, seeds.codes.to(GPU), seeds.labels, [True] * 6, LAYOUT, BRIEF, lambda *_: None).labeler
    kernel = LabelingKernel(labeler, torch.float16)
    assert kernel.device == GPU
    features = bundle.generator.synthesis(seeds.codes.to(GPU), torch.float16)[1]
    assert waits(gpu, lambda: kernel.label(features, ignore_fraction=0.1)) == {}
    while not kernel.network.is_smallest:
        kernel.network.halve()
    assert kernel.label(features).masks is not None


def test_a_device_is_refused_before_there_is_work_for_it(gpu: PretendedGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [choose_device(name).type for name in ("auto", "cuda", "cuda:0", "cpu")] == ["cuda", "cuda", "cuda", "cpu"]
    for name in ("gpu", "mps", "meta", "cuda:x"):
        with pytest.raises(ValueError, match="is not one of auto, cpu, cuda, cuda:N"):
            choose_device(name)
    with pytest.raises(ValueError, match="the last GPU that torch sees is cuda:0"):
        choose_device("cuda:1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto").type == "cpu"
    with pytest.raises(ValueError, match="torch sees no GPU"):
        choose_device("cuda")


def test_what_is_to_be_repeated_is_computed_in_one_order() -> None:
    for device, fixed in ((torch.device("cpu"), False), (GPU, True)):
        with repeatable(device):
            assert torch.backends.cudnn.enabled
            assert not torch.backends.cudnn.benchmark
            assert torch.backends.cudnn.deterministic == fixed
        assert not torch.backends.cudnn.deterministic
