"""A project's seeds as samples of a dataset: their own images, and the labels they came with."""

from collections.abc import Generator

from service.records import ProjectRecord
from service.requests import ImageFormat
from service.stores.protocol import Store
from workers.image_files import SUFFIXES, image_file
from workers.packing import class_pixels
from workers.png import mask_png, palette, read_image, read_mask
from workers.seeds import other_labels, read_seed_files
from workers.tars import PackedSample, SampleFacts


def seed_samples(
    store: Store, project: ProjectRecord, image_format: ImageFormat, first_index: int
) -> Generator[PackedSample]:
    """Every seed of `project` in order, one at a time, at the generator's size, whether or not the fit could use it.

    The first one has the index `first_index`. Labels are those stored with the project, exactly; so are images, if
    `image_format` loses nothing. Raises `ObjectMissing`.
    """
    colors = palette(project.classes)
    for number, seed in enumerate(project.seeds):
        files = read_seed_files(store, project, seed)
        mask = read_mask(files["segmentation.png"]) if project.classes else None
        others = other_labels(files)
        facts = SampleFacts(
            index=first_index + number,
            source=number,
            version=0,
            uncertainty=0.0,
            kinds=dict.fromkeys(project.label_kinds, 0.0),
            class_pixels=None if mask is None else class_pixels(mask, len(project.classes)),
            keypoints=others.keypoints,
            attributes=others.attributes,
            attempts=0,
            origin="seed",
        )
        yield PackedSample(
            facts=facts,
            image=image_file(read_image(files["image.png"]), image_format),
            image_suffix=SUFFIXES[image_format],
            mask=None if mask is None else mask_png(mask, colors),
            depth=files.get("depth.png"),
        )
