"""Encoders in the store: found with their generator, or trained and put there."""

import math
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from models.bundle import load_bundle
from models.device import choose_device
from models.inversion.encoder import Encoder
from models.inversion.perceptual import PerceptualDistance
from models.inversion.training import EncoderProgress, EncoderSettings, EncoderTraining
from models.provenance import describe_device
from models.training.checkpoints import read_checkpoint, write_checkpoint
from service.generators import find_generator, generators_lock
from service.records import GeneratorRecord, Phase, generator_key
from service.settings import Settings
from workers.lease import lease
from workers.leftovers import remove_old_folders
from workers.local_generators import local_generator
from workers.public_errors import JobFailure
from workers.workbench import Workbench, log

_ENCODER = "encoder.safetensors"


@dataclass(frozen=True)
class TrainedEncoder:
    """facts: how it was trained, for the generator's provenance."""

    encoder: Encoder
    facts: dict[str, Any]


def encoder_settings(settings: Settings, resolution: int) -> EncoderSettings:
    """How the service trains an encoder: smaller batches for larger images, two thirds of the steps for the code."""
    steps_code = math.ceil(settings.encoder_steps * 2 / 3)
    return EncoderSettings(
        steps_code=steps_code,
        steps_image=settings.encoder_steps - steps_code,
        time_limit_s=60 * settings.encoder_minutes,
        batch=max(4, min(32, 32 * 128 // resolution)),
    )


def ensure_encoder(bench: Workbench) -> None:
    """Have the job's generator, or its project's, come with an encoder: train one now unless the store has it.

    Raises `JobFailure` if the generator is deleted meanwhile, and `Cancelled`.
    """
    record = bench.generator
    if record.has_encoder:
        return

    def still_missing() -> bool:
        bench.stop_if_cancelled()
        newest = find_generator(bench.store, record.id)
        return newest is not None and not newest.has_encoder

    with lease(bench.redis, f"encoder:{record.id}", bench.job_id, still_missing) as prolong:
        if prolong is not None and still_missing():
            _publish(bench, record, _trained(bench, record, prolong))
            # Not before: a worker that dies while it publishes goes on from there.
            shutil.rmtree(_kept(bench, record), ignore_errors=True)
    vars(bench).pop("generator", None)  # what is known of it has changed
    if not bench.generator.has_encoder:
        raise _replaced(record.id)


def _kept(bench: Workbench, record: GeneratorRecord) -> Path:
    """The folder of what a training on this machine has reached."""
    return bench.settings.data_dir / "encoders" / f"{record.id}-{record.sha256[:16]}"


def _trained(bench: Workbench, record: GeneratorRecord, prolong: Callable[[], None]) -> TrainedEncoder:
    device = choose_device(bench.settings.device)
    with local_generator(bench.store, record, bench.generator_cache) as folder:
        bundle = load_bundle(folder, device, with_encoder=False)
    perceptual = PerceptualDistance(bench.settings.lpips_backbone, bench.settings.lpips_weights).to(device)
    settings = encoder_settings(bench.settings, bundle.resolution)
    training = EncoderTraining(bundle.generator, bundle.latents, perceptual, settings)
    kept = _kept(bench, record)
    _go_on(training, kept)
    remove_old_folders(kept.parent)  # of trainings that were cancelled, or went on elsewhere
    advance = bench.phase(Phase.ENCODE, bench.settings.encoder_steps)
    bench.ledger.advance(bench.job_id, _steps_done(settings, training.stage, training.step))
    bench.ledger.count_from_here(bench.job_id)
    last: dict[str, float | str] = {}
    began = time.monotonic()

    def report(progress: EncoderProgress) -> None:
        prolong()
        last.update(_details(progress))
        bench.ledger.tell(bench.job_id, last)
        advance(_steps_done(settings, progress.stage, progress.step))

    def keep(state: dict[str, Any]) -> None:
        prolong()
        kept.mkdir(parents=True, exist_ok=True)
        write_checkpoint(kept, state)

    encoder = training.run(report, keep)
    if perceptual.source == "random":
        bench.ledger.note(
            bench.job_id,
            f"The encoder was trained, and its `lpips` measured, with random weights of {perceptual.backbone}, because "
            "its own were not at hand. Name a file with them in LABELMINT_LPIPS_WEIGHTS, and its figures can be "
            "compared with others.",
        )
    facts = {
        "settings": asdict(settings),
        "perceptual": f"{perceptual.backbone}, {perceptual.source} weights",
        "device": describe_device(device),
        "seconds": round(time.monotonic() - began, 1),
        "at_the_end": last,
    }
    return TrainedEncoder(encoder, facts)


def _go_on(training: EncoderTraining, kept: Path) -> None:
    """Take up what a killed worker of this machine left."""
    try:
        state = read_checkpoint(kept)
        if state is not None:
            training.restore(state)
    except (ValueError, KeyError, RuntimeError):
        log.warning("what is left of an encoder's training cannot be used", folder=str(kept))
        shutil.rmtree(kept, ignore_errors=True)


def _steps_done(settings: EncoderSettings, stage: int, step: int) -> int:
    """Of both stages, when so many steps of `stage` are done."""
    return step + (settings.steps_code if stage == 2 else 0)


def _details(progress: EncoderProgress) -> dict[str, float | str]:
    figures = {"code_error": progress.code_error, "psnr_db": progress.psnr_db, "lpips": progress.lpips}
    return {"stage": progress.stage, **{name: value for name, value in figures.items() if math.isfinite(value)}}


def _publish(bench: Workbench, record: GeneratorRecord, trained: TrainedEncoder) -> None:
    """The encoder first, then the record that says so; neither if the generator is gone or another by now."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / _ENCODER
        trained.encoder.save(path, {"perceptual": trained.facts["perceptual"]})
        with path.open("rb") as stream, generators_lock(bench.redis):
            newest = find_generator(bench.store, record.id)
            if newest is None or newest.sha256 != record.sha256:
                raise _replaced(record.id)
            bench.store.put(generator_key(record.id, _ENCODER), stream)
            provenance = newest.provenance | {"encoder": trained.facts}
            changed = newest.model_copy(update={"has_encoder": True, "provenance": provenance})
            bench.store.put(GeneratorRecord.key(record.id), changed.model_dump_json(indent=1).encode())


def _replaced(generator_id: str) -> JobFailure:
    message = f"Generator {generator_id} was deleted or replaced while its encoder was trained. Send the request again."
    return JobFailure("generator-missing", message)
