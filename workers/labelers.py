"""Labelers in the store: found by their fit key, or fitted and put there."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import safetensors.numpy

from models.bundle import GeneratorBundle, load_bundle
from models.device import choose_device
from models.fitting import FitError, FitOutcome, FitSettings, Progress, fit
from service.label_schema import LabelSchema
from service.records import Phase, ProjectRecord, labeler_key
from service.settings import Settings
from service.stores.protocol import Store
from workers.encoders import ensure_encoder
from workers.fit_key import fit_key
from workers.layout import has_silent_sides, layout_of, mirror_of, names_of
from workers.lease import lease
from workers.local_generators import file_digests, local_generator
from workers.public_errors import JobFailure
from workers.report_page import report_png
from workers.seeds import Seeds, read_seeds
from workers.sheet import SheetRow, sheet_png
from workers.throttle import Throttle
from workers.workbench import PROGRESS_INTERVAL_S, Workbench


def fit_settings(settings: Settings) -> FitSettings:
    """How the service fits."""
    return FitSettings(lpips_backbone=settings.lpips_backbone, lpips_weights=settings.lpips_weights)


def ensure_labeler(bench: Workbench, settings: FitSettings) -> str:
    """The fit key of the labeler of the job's project, fitted now unless the store has it.

    Raises `JobFailure` if the seeds cannot be fitted, and `Cancelled`.
    """
    seeds = read_seeds(bench.store, bench.project)
    settings = replace(settings, flip=settings.flip and learns_from_flipped(bench.project))
    ensure_encoder(bench)
    with local_generator(bench.store, bench.generator, bench.generator_cache) as folder:
        key = fit_key(
            file_digests(folder),
            seeds.files,
            seeds.forced,
            bench.project,
            settings.fingerprint(),
        )
        _ensure(bench, key, folder, seeds, settings)
    return key


def _ensure(bench: Workbench, key: str, folder: Path, seeds: Seeds, settings: FitSettings) -> None:
    """Fit the labeler of this key from the generator's files in `folder`, unless the store has it."""

    def still_missing() -> bool:
        bench.stop_if_cancelled()
        return not has_labeler(bench.store, key)

    if has_labeler(bench.store, key):
        return
    with lease(bench.redis, f"fit:{key}", bench.job_id, still_missing) as prolong:
        if prolong is not None and not has_labeler(bench.store, key):
            bundle = load_bundle(folder, choose_device(bench.settings.device))
            outcome = _fitted(bundle, seeds, bench.project, settings, _progress(bench, prolong))
            _publish(bench.store, key, bench.project, seeds, outcome)


def learns_from_flipped(project: ProjectRecord) -> bool:
    """Whether seeds flipped left to right are to be learnt from: what the project says, or else whether its schema
    tells what their labels become."""
    return not has_silent_sides(project) if project.flip is None else project.flip


def has_labeler(store: Store, key: str) -> bool:
    """Whether the store holds this labeler whole."""
    return store.exists(labeler_key(key, "report.json"))


def read_report(store: Store, key: str) -> dict[str, Any]:
    """What the fit of this labeler reported. Raises `ObjectMissing`."""
    report: dict[str, Any] = json.loads(store.read(labeler_key(key, "report.json")))
    return report


def _fitted(
    bundle: GeneratorBundle, seeds: Seeds, schema: LabelSchema, settings: FitSettings, progress: Progress
) -> FitOutcome:
    layout, names = layout_of(schema), names_of(schema)
    mirror = mirror_of(schema)
    try:
        return fit(bundle, seeds.images, seeds.labels, layout, names, settings, progress, seeds.forced, mirror)
    except FitError as refusal:
        raise JobFailure("fit-failed", f"{refusal}.") from refusal


def _progress(bench: Workbench, prolong: Callable[[], None]) -> Progress:
    """Passes what `fit` reports to the ledger, and keeps the lease on the fit."""
    phases: dict[str, Callable[[int], None]] = {}
    throttle = Throttle(PROGRESS_INTERVAL_S)

    def report(phase: str, done: int, total: int) -> None:
        if phase not in phases:
            phases[phase] = bench.phase(Phase(phase), total)
        phases[phase](done)
        if throttle.due():
            prolong()

    return report


def _publish(store: Store, key: str, project: ProjectRecord, seeds: Seeds, outcome: FitOutcome) -> None:
    with TemporaryDirectory() as folder:
        weights = Path(folder) / "labeler.safetensors"
        outcome.labeler.save(weights)
        with weights.open("rb") as stream:
            store.put(labeler_key(key, weights.name), stream)
    codes = safetensors.numpy.save({"codes": np.ascontiguousarray(outcome.codes)})
    store.put(labeler_key(key, "inversions.safetensors"), codes)
    store.put(labeler_key(key, "sheet.png"), _sheet(project, seeds, outcome))
    store.put(
        labeler_key(key, "report.png"),
        report_png(outcome.report, _names(seeds)),
    )
    # Written last: where there is a report, the labeler is whole.
    store.put(labeler_key(key, "report.json"), json.dumps(outcome.report, indent=2).encode())


def _names(seeds: Seeds) -> list[str]:
    """Numbers, because another project of the same seeds, which finds this labeler, may call them something else."""
    return [f"seed {index}" for index in range(len(seeds.labels))]


def _sheet(project: ProjectRecord, seeds: Seeds, outcome: FitOutcome) -> bytes:
    rows = [
        SheetRow(
            name=name,
            seed=seeds.images[index],
            labels=seeds.labels[index],
            reconstruction=outcome.reconstructions[index],
            predicted=outcome.predictions[index],
            psnr_db=row["psnr_db"],
            lpips=row["lpips"],
            excluded=not row["included"],
        )
        for index, (name, row) in enumerate(zip(_names(seeds), outcome.report["seeds"], strict=True))
    ]
    return sheet_png(rows, project)
