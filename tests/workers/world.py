"""A world small enough for tests: a generator of 16 × 16 pixels with random weights, and a project of its samples."""

from pathlib import Path

import numpy as np
import torch

from models.architecture import Architecture
from models.bundle import load_bundle
from models.checkpoint import save_tensors
from models.generator import Generator
from models.inversion.latents import LatentStatistics
from models.pictures import to_uint8
from models.sampling import latent
from service.label_schema import LabelClass
from service.records import Fitting, ProjectRecord, SeedRecord
from service.stores import FileStore
from workers.png import image_png, mask_png, palette, read_mask
from workers.publish import publish_generator

GENERATOR = "tiny"
PROJECT = "project-1"
SIZE, SEEDS = 16, 3
CLASSES = [
    LabelClass(name="dark", color="#202020"),
    LabelClass(name="middle", color="#c08040"),
    LabelClass(name="light", color="#ffe0a0"),
]


def write_generator(folder: Path) -> None:
    """A generator with random weights, always the same ones; its latents count as standard normal."""
    folder.mkdir(parents=True)
    architecture = Architecture(SIZE, z_dim=16, w_dim=16, mapping_layers=2, channel_base=256, channel_max=16)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        generator = Generator(architecture)
    facts = {"architecture": architecture.to_dict()}
    save_tensors(folder / "weights.safetensors", generator.state_dict(), "generator", facts)
    width = architecture.w_dim
    latents = LatentStatistics(torch.zeros(width), torch.ones(width), torch.zeros(width), torch.eye(width))
    latents.save(folder / "latents.safetensors")


def labeled_seeds(folder: Path) -> list[dict[str, bytes]]:
    """The files of three samples of the generator in a folder, labeled by brightness."""
    bundle = load_bundle(folder, torch.device("cpu"))
    with torch.inference_mode():
        z = torch.from_numpy(np.stack([latent(99, index, 0, 16) for index in range(SEEDS)]))
        images = to_uint8(bundle.generator(z))
    seeds = []
    for image in images:
        mask = np.digitize(image.mean(axis=2), np.quantile(image.mean(axis=2), [1 / 3, 2 / 3])).astype(np.uint8)
        seeds.append({"image.png": image_png(image), "segmentation.png": mask_png(mask, palette(CLASSES))})
    return seeds


def make_world(store: FileStore, scratch: Path) -> ProjectRecord:
    """Put the generator and a project of three of its samples, labeled by brightness, into `store`."""
    folder = scratch / GENERATOR
    write_generator(folder)
    publish_generator(store, folder, GENERATOR, "Tiny", "trained")
    seeds = []
    for index, files in enumerate(labeled_seeds(folder)):
        for file, data in files.items():
            store.put(ProjectRecord.seed_key(PROJECT, index, file), data)
        mask = read_mask(files["segmentation.png"])
        fitting = Fitting(original=(SIZE, SIZE), resized=(SIZE, SIZE), crop=(0, 0, SIZE, SIZE))
        pixels = {entry.name: int((mask == value).sum()) for value, entry in enumerate(CLASSES)}
        seeds.append(SeedRecord(index=index, name=f"sample-{index}", fitting=fitting, class_pixels=pixels))
    project = ProjectRecord(
        id=PROJECT,
        name="Brightness",
        generator=GENERATOR,
        classes=CLASSES,
        seeds=seeds,
    )
    store.put(ProjectRecord.key(project.id), project.model_dump_json().encode())
    return project
