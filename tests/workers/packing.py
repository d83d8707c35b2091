"""A finished job's samples, drawn by hand, in a store: everything that packing needs, and no network."""

import json
import zipfile
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import numpy.typing as npt
import redis as redis_client

from models.labels import ImageLabels
from service.label_schema import Attribute, DepthSchema, Keypoint, KeypointSchema, LabelClass, LabelSchema
from service.ledger import Ledger
from service.queue import JobQueue
from service.records import (
    Fitting,
    GeneratorRecord,
    JobRecord,
    ProjectRecord,
    SeedRecord,
    labeler_key,
    shard_key,
)
from service.requests import GenerateRequest, ImageFormat, JobRequest
from service.settings import Settings
from service.stores import FileStore
from workers.image_files import SUFFIXES, image_file
from workers.package import make_dataset
from workers.plan import Plan, write_plan
from workers.png import depth_png, mask_png, palette
from workers.tars import PackedSample, SampleFacts, ShardWriter, blocks_of
from workers.workbench import Workbench

SIDE = 24
SCALE = 0.002
PROJECT, GENERATOR, FIT = "shapes", "drawn", "fit"

CLASSES = [
    LabelClass(name="background", color="#000000"),
    LabelClass(name="disc, red", color="#c02020"),
    LabelClass(name="bar: left", color="#2020c0", mirror="bar: right"),
    LabelClass(name="bar: right", color="#20c0c0", mirror="bar: left"),
]
EVERY_KIND = LabelSchema(
    classes=CLASSES,
    keypoints=KeypointSchema(
        points=[
            Keypoint(name="middle"),
            Keypoint(name="left end", mirror="right end"),
            Keypoint(name="right end", mirror="left end"),
        ],
        skeleton=[("middle", "left end"), ("middle", "right end")],
    ),
    depth=DepthSchema(unit="m", scale=SCALE, minimum=1.0, maximum=4.0),
    attributes=[Attribute(name="size", values=["small", "large"]), Attribute(name="tone", values=["dark", "light"])],
)


@dataclass
class Drawn:
    """One sample before it was packed: its labels, and its image as its file has it."""

    image: npt.NDArray[np.uint8]
    labels: ImageLabels
    packed: PackedSample


def draw(index: int, schema: LabelSchema, image_format: ImageFormat = ImageFormat.PNG, versions: int = 1) -> Drawn:
    """A disc with a hole and two bars; every fifth image is empty, every third one has ignored pixels."""
    random = np.random.default_rng(index)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    x, y = random.integers(6, SIDE - 6, 2)
    if index % 5 != 4:
        columns, rows = np.meshgrid(np.arange(SIDE), np.arange(SIDE))
        distance = np.hypot(columns - x, rows - y)
        mask[(distance < 6) & (distance > 1.5)] = 1
        mask[2:4, :9], mask[SIDE - 3 :, 12:], mask[10, 20] = 2, 3, 3
    if index % 3 == 2:
        mask[:, 10:12] = 255
    there = index % 5 != 4
    points = [(x + 0.5, y + 0.5, 2), (0.25, 3.0, 1), (0.0, 0.0, 0)] if there else [(0.0, 0.0, 0)] * 3
    depth = random.uniform(1.0, 4.0, (SIDE, SIDE)).astype(np.float32)
    depth[: index % 4] = np.nan
    labels = ImageLabels(
        mask if schema.classes else None,
        np.array(points, np.float32) if schema.keypoints else None,
        depth if schema.depth else None,
        np.array([index % 2, -1 if index % 4 == 0 else 1]) if schema.attributes else None,
    )
    image = np.repeat((mask * 60 % 251)[..., None], 3, axis=2) + random.integers(0, 5, (SIDE, SIDE, 3), np.uint8)
    return Drawn(image, labels, _packed(index, image, labels, schema, image_format, versions))


def _packed(
    index: int,
    image: npt.NDArray[np.uint8],
    labels: ImageLabels,
    schema: LabelSchema,
    image_format: ImageFormat,
    versions: int,
) -> PackedSample:
    mask, points, depth, attributes = labels.mask, labels.keypoints, labels.depth, labels.attributes
    pixels = None if mask is None else np.bincount(mask.ravel(), minlength=256)[: len(schema.classes)].tolist()
    facts = SampleFacts(
        index,
        *divmod(index, versions),
        uncertainty=index / 100,
        kinds=dict.fromkeys(schema.label_kinds, index / 100),
        class_pixels=pixels,
        keypoints=None if points is None else [(x, y, int(v)) for x, y, v in points.tolist()],
        attributes=None if attributes is None else attributes.tolist(),
        attempts=1 + index % 2,
        met=index != 3,
    )
    return PackedSample(
        facts,
        image_file(image, image_format),
        SUFFIXES[image_format],
        None if mask is None else mask_png(mask, palette(schema.classes)),
        None if depth is None else depth_png(depth, SCALE),
    )


@dataclass
class PackingWorld:
    """A store and a ledger, and jobs in them that have made all their shards."""

    settings: Settings
    redis: redis_client.Redis
    store: FileStore
    ledger: Ledger = field(init=False)
    project_name: str = "Shapes & sizes"

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.store, self.redis, self.settings.job_ttl_s)
        generator = GeneratorRecord(
            id=GENERATOR,
            name="Drawn",
            resolution=SIDE,
            w_dim=1,
            num_ws=1,
            parameters=1,
            sha256="0" * 64,
            source="trained",
            has_encoder=False,
        )
        self.store.put(GeneratorRecord.key(GENERATOR), generator.model_dump_json().encode())
        report = {
            "seeds": [{"index": 0, "included": True, "psnr_db": 28.0}],
            "perceptual": {"weights": "pretrained"},
            "settings": {"refinement": {"steps": 300}},
        }
        self.store.put(labeler_key(FIT, "report.json"), json.dumps(report).encode())
        self.put_project(EVERY_KIND)

    def put_project(self, schema: LabelSchema) -> None:
        """Let the project have this schema."""
        fitting = Fitting(original=(SIDE, SIDE), resized=(SIDE, SIDE), crop=(0, 0, SIDE, SIDE))
        project = ProjectRecord(
            id=PROJECT,
            name=self.project_name,
            generator=GENERATOR,
            seeds=[SeedRecord(index=0, name="seed", fitting=fitting)],
            **dict(schema),
        )
        self.store.put(ProjectRecord.key(PROJECT), project.model_dump_json().encode())

    def bench(self, job_id: str, request: JobRequest) -> Workbench:
        """Accept a job, and a workbench for it."""
        self.ledger.accept(JobRecord(id=job_id, request=request))
        queue = JobQueue(self.redis, self.settings)
        return Workbench(job_id, self.settings, self.store, self.redis, self.ledger, queue)

    def put_shards(self, job_id: str, samples: list[PackedSample], versions: int, shard_size: int) -> None:
        """Store shards of `shard_size` samples with all their versions, and the plan of them."""
        plan = Plan(fit_key=FIT, count=len(samples) // versions, shard_size=shard_size)
        write_plan(self.store, job_id, plan)
        for shard, indices in enumerate(plan.all_indices()):
            with TemporaryFile() as stream:
                with ShardWriter(stream) as tar:
                    for sample in samples[indices.start * versions : indices.stop * versions]:
                        tar.add(blocks_of(sample))
                stream.seek(0)
                self.store.put(shard_key(job_id, shard), stream)

    def packed(
        self, request: GenerateRequest, schema: LabelSchema = EVERY_KIND, job_id: str = "job"
    ) -> tuple[JobRecord, list[Drawn]]:
        """A job that has succeeded, packed by the real body; and what was drawn for it."""
        self.put_project(schema)
        versions = request.multiply
        drawn = [draw(index, schema, request.image_format, versions) for index in range(request.delivered)]
        bench = self.bench(job_id, request)
        self.put_shards(job_id, [entry.packed for entry in drawn], versions, shard_size=7)
        make_dataset(bench)
        return self.ledger.get(job_id), drawn

    def unpacked(self, job: JobRecord, layout: str, folder: Path) -> Path:
        """The folder into which a job's zip of a format was unpacked."""
        with zipfile.ZipFile(BytesIO(self.store.read(job.outputs[layout]))) as archive:
            assert archive.testzip() is None
            archive.extractall(folder)
        return folder
