from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.architecture import Architecture
from models.bundle import GeneratorBundle, load_bundle, load_generator
from models.checkpoint import CheckpointError, half, save_tensors
from models.generator import Generator, NormalizedWeight, demodulated_convolution
from models.resample_filter import upsample_image


def naive_modulated_convolution(x: Tensor, weight: Tensor, styles: Tensor, demodulate: bool, up: bool) -> Tensor:
    """Equations 1 and 3 of StyleGAN2 to the letter, in float64, one sample and one set of weights at a time; upsampling
    is zero insertion, full convolution, then the separable [1, 3, 3, 1] filter."""
    outputs = []
    for sample, style in zip(x.double(), styles.double(), strict=True):
        modulated = weight.double() * style[None, :, None, None]
        if demodulate:
            modulated = modulated / (modulated.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if not up:
            outputs.append(F.conv2d(sample[None], modulated, padding=weight.shape[-1] // 2))
            continue
        channels, height, width = sample.shape
        sparse = torch.zeros(channels, 2 * height - 1, 2 * width - 1, dtype=torch.float64)
        sparse[:, ::2, ::2] = sample
        full = F.conv2d(F.pad(sparse, [2, 2, 2, 2])[None], modulated.flip(2, 3))
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float64) / 4
        filtered = F.pad(full, [1, 1, 1, 1])
        filtered = F.conv2d(filtered.transpose(0, 1), taps.view(1, 1, 4, 1))
        outputs.append(F.conv2d(filtered, taps.view(1, 1, 1, 4)).transpose(0, 1))
    return torch.cat(outputs)


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("scale", [3.0, 1e-4, 0.0])
@pytest.mark.parametrize("kernel", [1, 3])
def test_demodulated_convolution_equals_the_naive_one(up: bool, scale: float, kernel: int) -> None:
    if up and kernel == 1:
        kernel = 3
    torch.manual_seed(0)
    x, styles = torch.randn(3, 5, 8, 8), torch.randn(3, 5) + 1
    weight = scale * torch.randn(7, 5, kernel, kernel)
    naive = naive_modulated_convolution(x, weight, styles, True, up)
    for precision, tolerance in ((torch.float64, 1e-6), (torch.float32, 2e-4)):
        normalized = NormalizedWeight.of(weight.to(precision), precision)
        ours, remaining = demodulated_convolution(x.to(precision), normalized, styles.to(precision), up)
        ours = ours * remaining[:, :, None, None]
        assert ours.shape == naive.shape == (3, 7, 16 if up else 8, 16 if up else 8)
        assert torch.allclose(ours.double(), naive, atol=tolerance)


def test_large_features_fit_into_half_precision() -> None:
    torch.manual_seed(0)
    architecture = Architecture(8, 16, 16, 2, channel_base=4096, channel_max=512, noise=False)
    generator = Generator(architecture).eval().requires_grad_(False)
    generator.synthesis.const.mul_(1000)
    ws = torch.randn(2, architecture.num_ws, 16)
    exact, halves = (generator.synthesis(ws, precision)[1] for precision in (torch.float32, torch.float16))
    for feature, rounded in zip(exact, halves, strict=True):
        assert feature.abs().max() > 2000
        assert torch.allclose(rounded.float(), feature, rtol=0.01, atol=0.01 * float(feature.std()))


def test_fewer_large_images_are_made_at_once() -> None:
    for resolution, expected in ((8, 50), (256, 50), (512, 16), (1024, 4)):
        assert Generator(Architecture(resolution, 8, 8, 1, 4096, 4, noise=False)).at_once(50) == expected


def test_colours_are_a_modulated_convolution_without_demodulation(tiny_generator: Generator) -> None:
    layer = tiny_generator.synthesis.to_rgb[-1]
    x, w = torch.randn(3, layer.weight.shape[1], 8, 8), torch.randn(3, 16)
    styles = layer.affine(w) / layer.weight.shape[1] ** 0.5
    naive = naive_modulated_convolution(x, layer.weight, styles, False, False) + layer.bias[:, None, None]
    assert torch.allclose(layer(x, w).double(), naive, atol=1e-5)
    assert torch.allclose(layer(x.contiguous(memory_format=torch.channels_last), w).double(), naive, atol=1e-5)


def test_a_changed_weight_is_seen_although_it_is_kept_normalised(tiny_generator: Generator) -> None:
    z = torch.randn(2, 16)
    before = tiny_generator(z)
    with torch.inference_mode():
        assert torch.allclose(tiny_generator(z), before, atol=1e-6)
    weight = tiny_generator.synthesis.blocks[2].weight
    with torch.no_grad():
        weight[:, 0].add_(3)
    changed = tiny_generator(z)
    assert not torch.allclose(before, changed, atol=1e-3)
    fresh = Generator(tiny_generator.architecture)
    fresh.load_state_dict(tiny_generator.state_dict())
    assert torch.allclose(fresh(z), changed, atol=1e-6)
    assert not any("normalized" in name for name in fresh.state_dict())
    brain = tiny_generator(z, precision=torch.bfloat16)
    assert torch.equal(tiny_generator(z), changed)
    assert not torch.equal(brain, changed)


def test_codes_and_weights_get_their_gradients(tiny_generator: Generator) -> None:
    codes = torch.randn(2, tiny_generator.architecture.num_ws, 16)
    with torch.inference_mode():
        tiny_generator.synthesis(codes)  # keeps normalised weights
    tiny_generator.double()
    direction = torch.randn_like(codes).double()

    def loss(step: float) -> Tensor:
        moved = (codes.double() + step * direction).requires_grad_()
        total = tiny_generator.synthesis(moved, torch.float64)[0].square().sum()
        total.backward()
        assert moved.grad is not None
        slopes.append(float((moved.grad * direction).sum()))
        return total.detach()

    slopes: list[float] = []
    rise = (loss(1e-5) - loss(-1e-5)) / 2e-5
    assert abs(rise - sum(slopes) / 2) < 1e-3 * abs(rise)
    tiny_generator.requires_grad_(True)
    tiny_generator.synthesis(codes.double(), torch.float64)[0].square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in tiny_generator.synthesis.parameters())


def test_upsampling_an_image_keeps_its_mean_and_equals_zero_insertion_and_filter() -> None:
    image = torch.rand(2, 3, 6, 6, dtype=torch.float64)
    sparse = torch.zeros(2, 3, 12, 12, dtype=torch.float64)
    sparse[:, :, ::2, ::2] = image
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float64) / 4
    kernel = torch.outer(taps, taps).expand(3, 1, 4, 4)
    expected = F.conv2d(F.pad(sparse, [2, 1, 2, 1]), kernel, groups=3)
    assert torch.allclose(upsample_image(image), expected)
    flat = upsample_image(torch.ones(1, 3, 8, 8))
    assert torch.allclose(flat[:, :, 2:-2, 2:-2], torch.ones(1, 3, 12, 12))


def test_features_are_the_outputs_of_every_style_block(tiny_generator: Generator) -> None:
    architecture = tiny_generator.architecture
    ws = torch.randn(2, architecture.num_ws, architecture.w_dim)
    captured: list[Tensor] = []
    for block in tiny_generator.synthesis.blocks:
        block.register_forward_hook(lambda _module, _inputs, output: captured.append(output))
    _, features = tiny_generator.synthesis(ws)
    assert tuple(f.shape[1] for f in features) == architecture.feature_channels
    assert tuple(f.shape[-1] for f in features) == architecture.feature_sides == (4, 8, 8, 16, 16)
    assert all(torch.equal(a, b) for a, b in zip(features, captured, strict=True))


def test_each_style_reaches_the_image_and_the_last_only_the_colours(tiny_generator: Generator) -> None:
    ws = torch.randn(1, tiny_generator.architecture.num_ws, tiny_generator.architecture.w_dim)
    image, features = tiny_generator.synthesis(ws)
    for index in range(ws.shape[1]):
        changed = ws.clone()
        changed[:, index] += 1
        other, other_features = tiny_generator.synthesis(changed)
        assert not torch.allclose(image, other)
        moved = [not torch.equal(a, b) for a, b in zip(features, other_features, strict=True)]
        assert moved == [level >= index for level in range(len(features))]


def test_truncation_pulls_towards_the_mean_w(tiny_generator: Generator) -> None:
    mapping = tiny_generator.mapping
    mapping.w_avg.copy_(torch.randn(16))
    z = torch.randn(4, 16)
    w = mapping(z)
    assert torch.allclose(mapping(z, 0.7), mapping.w_avg + 0.7 * (w - mapping.w_avg), atol=1e-6)
    assert torch.allclose(mapping(z, 0.0), mapping.w_avg.expand(4, -1), atol=1e-6)
    assert torch.allclose(mapping(3 * z), w, atol=1e-5), "only the direction of z matters"


def test_bfloat16_stays_near_float32(tiny_generator: Generator) -> None:
    z = torch.randn(8, 16)
    single, brain = tiny_generator(z), tiny_generator(z, precision=torch.bfloat16)
    assert brain.dtype == torch.float32
    assert (single - brain).abs().mean() < 0.02 * single.std()


def test_fixed_noise_is_fixed_and_scaled_by_its_strength() -> None:
    torch.manual_seed(1)
    generator = Generator(Architecture(16, 16, 16, 2, 256, 16, noise=True))
    ws = torch.randn(1, generator.architecture.num_ws, 16)
    silent, _ = generator.synthesis(ws)
    for block in generator.synthesis.blocks:
        block.noise_strength.data.fill_(0.5)
    with torch.no_grad():
        first, _ = generator.synthesis(ws)
        again, _ = generator.synthesis(ws)
        random, _ = generator.synthesis(ws, random_noise=True)
    assert torch.equal(first, again)
    assert not torch.allclose(first, silent)
    assert not torch.allclose(first, random)


def save_generator(generator: Generator, folder: Path) -> Path:
    path = folder / "weights.safetensors"
    facts = {"architecture": generator.architecture.to_dict()}
    save_tensors(path, half(generator.state_dict()), "generator", facts)
    return path


def test_weights_survive_the_disk_in_half_precision(tiny_generator: Generator, tmp_path: Path) -> None:
    path = save_generator(tiny_generator, tmp_path)
    again = load_generator(path, torch.device("cpu"))
    assert again.architecture == tiny_generator.architecture
    z = torch.randn(4, 16)
    assert (again(z) - tiny_generator(z)).abs().max() < 0.05
    assert not any(p.requires_grad for p in again.parameters())
    assert [p.name for p in tmp_path.iterdir()] == ["weights.safetensors"]


def test_bad_weights_are_refused_by_name(tiny_generator: Generator, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(CheckpointError, match=r"weights\.safetensors: not a readable generator"):
        load_generator(path, torch.device("cpu"))
    save_tensors(path, tiny_generator.state_dict(), "encoder", {})
    with pytest.raises(CheckpointError, match="holds encoder, not a generator"):
        load_generator(path, torch.device("cpu"))
    save_tensors(path, tiny_generator.state_dict(), "generator", {"architecture": Architecture(32).to_dict()})
    with pytest.raises(CheckpointError, match="does not fit its own architecture"):
        load_generator(path, torch.device("cpu"))


def test_a_bundle_without_latents_measures_them(
    tiny_generator: Generator, tiny_bundle: GeneratorBundle, tmp_path: Path
) -> None:
    save_generator(tiny_generator, tmp_path)
    bundle = load_bundle(tmp_path, torch.device("cpu"))
    assert bundle.encoder is None
    assert (bundle.resolution, bundle.num_ws, bundle.w_dim) == (16, 6, 16)
    assert np.allclose(bundle.latents.w_avg, tiny_bundle.latents.w_avg, atol=1e-3)


def test_who_needs_no_encoder_does_not_read_it(tiny_generator: Generator, tmp_path: Path) -> None:
    save_generator(tiny_generator, tmp_path)
    (tmp_path / "encoder.safetensors").write_bytes(b"no encoder")
    assert load_bundle(tmp_path, torch.device("cpu"), with_encoder=False).encoder is None
    with pytest.raises(CheckpointError, match=r"encoder\.safetensors"):
        load_bundle(tmp_path, torch.device("cpu"))
