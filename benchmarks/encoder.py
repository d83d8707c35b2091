"""How long a generator's encoder takes to train: `python -m benchmarks.encoder --resolutions 64 256 --device cpu`.

Every generator that comes without an encoder has one trained before its first project is fitted. Both stages of that
training are timed for a few steps, with the service's settings; generators have the published sizes (config f) and
random weights, except for the bundled one, which `--bundled` measures. The last line is one JSON object.
"""

import argparse
import json
import math
import time
from dataclasses import replace
from typing import Any

from benchmarks.published_sizes import random_bundle
from models.bundle import GeneratorBundle, load_bundle
from models.bundled import bundled_folders
from models.device import choose_device
from models.inversion.perceptual import PerceptualDistance
from models.inversion.training import EncoderProgress, EncoderTraining
from models.provenance import describe_device
from service.settings import Settings
from workers.encoders import encoder_settings


def seconds_a_step(bundle: GeneratorBundle, steps: int) -> tuple[float, float]:
    """Wall time of one step of each stage, the first step of each left out.

    Args:
        steps: of each stage, at least 2.
    """
    usual = encoder_settings(Settings(_env_file=None), bundle.resolution)
    settings = replace(usual, steps_code=steps, steps_image=steps, time_limit_s=math.inf)
    training = EncoderTraining(bundle.generator, bundle.latents, PerceptualDistance("alex").to(bundle.device), settings)
    moments: dict[tuple[int, int], float] = {}

    def note(progress: EncoderProgress) -> None:
        moments[progress.stage, progress.step] = time.perf_counter()

    training.run(note)
    code, image = ((moments[stage, steps] - moments[stage, 1]) / (steps - 1) for stage in (1, 2))
    return code, image


def figures(bundle: GeneratorBundle, steps: int) -> dict[str, Any]:
    """What the training of this generator's encoder comes to within the service's default limits."""
    service = Settings(_env_file=None)
    settings = encoder_settings(service, bundle.resolution)
    code_s, image_s = seconds_a_step(bundle, steps)
    whole_s = settings.steps_code * code_s + settings.steps_image * image_s
    return {
        "step_code_s": round(code_s, 3),
        "step_image_s": round(image_s, 3),
        "batch": settings.batch,
        "default_steps": service.encoder_steps,
        "all_steps_minutes": round(whole_s / 60, 1),
        "default_minutes": round(min(whole_s / 60, service.encoder_minutes), 1),
        "share_of_steps": round(min(1.0, service.encoder_minutes * 60 / whole_s), 3),
    }


def main() -> None:
    """Print the figures of each resolution; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resolutions", type=int, nargs="*", default=[256])
    parser.add_argument("--bundled", action="store_true", help="the toy bears' generator as well")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=6, help="timed of each stage")
    arguments = parser.parse_args()
    if arguments.steps < 2:
        parser.error("--steps: the first one is not counted, so give 2 or more")
    device = choose_device(arguments.device)
    found: dict[str, Any] = {}
    if arguments.bundled:
        found["bundled"] = figures(load_bundle(bundled_folders()[0], device), arguments.steps)
        print("bundled", json.dumps(found["bundled"]), flush=True)
    for resolution in arguments.resolutions:
        found[str(resolution)] = figures(random_bundle(resolution, device), arguments.steps)
        print(resolution, json.dumps(found[str(resolution)]), flush=True)
    print(json.dumps({"generators": found, "device": describe_device(device)}))


if __name__ == "__main__":
    main()
