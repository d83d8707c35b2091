"""How fast images are made: `python -m benchmarks.generator --resolution 256 --device cpu`.

Our synthesis in float32 and in bfloat16 against the plain way of pure PyTorch: every sample's own modulated weights in
one grouped convolution. Same network (configuration f, random weights), same process; timings take turns, so that
whatever else the machine does meets all alike. The last line is one JSON object.
"""

import argparse
import json
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from models.architecture import Architecture
from models.device import choose_device, fast_precision
from models.generator import Generator, StyleBlock, ToRGB
from models.provenance import describe_device
from models.resample_filter import resample_kernel, upsample_image

WARM_UPS = 2


def grouped_convolution(x: Tensor, weight: Tensor, styles: Tensor, demodulate: bool, up: bool) -> Tensor:
    """(B, I, H, W) with weights (O, I, k, k) modulated by styles (B, I), all samples in one grouped convolution."""
    batch, inputs, height, width = x.shape
    weights = weight * styles[:, None, :, None, None]
    if demodulate:
        weights = weights * torch.rsqrt(weights.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8)
    x = x.reshape(1, batch * inputs, height, width)
    outputs, kernel = weight.shape[0], weight.shape[-1]
    if not up:
        weights = weights.reshape(batch * outputs, inputs, kernel, kernel)
        return F.conv2d(x, weights, padding=kernel // 2, groups=batch).view(batch, outputs, height, width)
    weights = weights.transpose(1, 2).reshape(batch * inputs, outputs, kernel, kernel)
    x = F.conv_transpose2d(x, weights, stride=2, groups=batch)
    x = x.view(batch, outputs, 2 * height + 1, 2 * width + 1)
    return F.conv2d(x, resample_kernel(outputs, 4.0, x), padding=1, groups=outputs)


def plain_block(block: StyleBlock, x: Tensor, w: Tensor) -> Tensor:
    """A style block."""
    x = grouped_convolution(x, block.weight, block.affine(w), True, block.up)
    x = x + block.noise_const * block.noise_strength
    return F.leaky_relu(x + block.bias[:, None, None], 0.2) * 2**0.5


def plain_color(layer: ToRGB, x: Tensor, w: Tensor) -> Tensor:
    """A ToRGB layer."""
    styles = layer.affine(w) * layer.weight_gain
    return grouped_convolution(x, layer.weight, styles, False, False) + layer.bias[:, None, None]


def plain_synthesis(generator: Generator, ws: Tensor) -> Tensor:
    """Images (B, 3, R, R) of codes (B, num_ws, w_dim), in float32."""
    synthesis = generator.synthesis
    x, index = synthesis.const.repeat(len(ws), 1, 1, 1), 0
    image = torch.zeros(len(ws), 3, 2, 2, device=ws.device)
    for level, layer in enumerate(synthesis.to_rgb):
        for _ in range(1 if level == 0 else 2):
            x = plain_block(synthesis.blocks[index], x, ws[:, index])
            index += 1
        color = plain_color(layer, x, ws[:, index])
        image = upsample_image(image) + color
    return image


def configuration_f(resolution: int, device: torch.device) -> Generator:
    """A frozen generator of the largest published width, with random weights and audible noise."""
    torch.manual_seed(0)
    generator = Generator(Architecture(resolution)).eval().requires_grad_(False)
    for block in generator.synthesis.blocks:
        block.noise_strength.fill_(0.1)
    return generator.to(device)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


@torch.inference_mode()
def main() -> None:
    """Print images per second of each way, and how much faster ours are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=2, help="images at once; the service makes 2 at 256² on a CPU")
    parser.add_argument("--rounds", type=int, default=8)
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    generator = configuration_f(arguments.resolution, device)
    z = torch.randn(arguments.batch, 512, device=device)
    ws = generator.broadcast(generator.mapping(z))
    ways: dict[str, Callable[[], Tensor]] = {
        "fp32": lambda: generator.synthesis(ws)[0],
        "bf16": lambda: generator.synthesis(ws, torch.bfloat16)[0],
        "fast": lambda: generator.synthesis(ws, fast_precision(device))[0],
        "plain": lambda: plain_synthesis(generator, ws),
    }
    # A GPU's TF32 keeps ten bits: fast, but no measure of whether two ways do the same.
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        images = {name: way() for name, way in ways.items()}
    error = float((images["fp32"] - images["plain"]).abs().max())
    bf16_error = float((images["bf16"] - images["plain"]).abs().mean() / images["plain"].std())
    if error > 1e-3 or bf16_error > 0.05:
        raise SystemExit(f"the ways make different images: by {error} in float32, {bf16_error} in bfloat16")
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(arguments.rounds + WARM_UPS):
        for name, way in ways.items():
            spent = seconds(way, device)
            if turn >= WARM_UPS:
                times[name].append(spent)
    # The best of each: what is slower was disturbed by something else.
    rates = {name: arguments.batch / min(spent) for name, spent in times.items()}
    result = {
        "resolution": arguments.resolution,
        "batch": arguments.batch,
        "images_s_fp32": round(rates["fp32"], 3),
        "images_s_bf16": round(rates["bf16"], 3),
        "plain_images_s": round(rates["plain"], 3),
        "ratio_to_plain": round(rates["fast"] / rates["plain"], 3),
        "ratio_fp32": round(rates["fp32"] / rates["plain"], 3),
        "default_precision": str(fast_precision(device)).removeprefix("torch."),
        "largest_difference": error,
        "device": describe_device(device),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
