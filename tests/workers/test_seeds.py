"""What the service stores of an upload is what a fit reads, for every combination of label kinds."""

import io
import itertools

import numpy as np
import pytest

from models.bears.renderer import Renders, render
from models.bears.scene import SPECIES
from models.bears.upload import KINDS, bear_files
from service.projects import Upload, create_project
from service.records import ProjectRecord
from service.settings import Settings
from service.stores import FileStore
from service.uploads import UploadedFile
from tests.service.jobs import make_generator
from workers.seeds import read_seeds, seed_files

COUNT, SIZE = 3, 32


@pytest.fixture(scope="module")
def renders() -> Renders:
    return render(range(5, 5 + COUNT), SIZE)


def bears(store: FileStore, kinds: tuple[str, ...]) -> ProjectRecord:
    store.put("generators/toy-bears/generator.json", make_generator("toy-bears", SIZE).model_dump_json().encode())
    files = [
        UploadedFile(path, lambda data=data: io.BytesIO(data))  # type: ignore[misc]
        for path, data in bear_files(COUNT, 5, SIZE, kinds=kinds)
    ]
    return create_project(store, Upload(files, None, []), Settings())


@pytest.mark.parametrize(
    "kinds", [kinds for count in range(1, 5) for kinds in itertools.combinations(KINDS, count)], ids="+".join
)
def test_bears_come_back_as_rendered(store: FileStore, renders: Renders, kinds: tuple[str, ...]) -> None:
    project = bears(store, kinds)
    assert [kind.value for kind in project.label_kinds] == list(kinds)
    seeds = read_seeds(store, project)
    assert np.array_equal(seeds.images, renders.images)
    assert [len(files) for files in seeds.files] == [len(seed_files(project))] * COUNT
    assert seeds.files[0][0] == store.read(ProjectRecord.seed_key(project.id, 0, "image.png"))
    assert seeds.forced == [False] * COUNT
    for index, labels in enumerate(seeds.labels):
        there = [labels.mask, labels.keypoints, labels.depth, labels.attributes]
        assert [label is not None for label in there] == [kind in kinds for kind in KINDS]
        if labels.mask is not None:
            assert np.array_equal(labels.mask, renders.parts[index])
        if labels.depth is not None:
            assert (labels.depth.dtype, labels.depth.shape) == (np.float32, (SIZE, SIZE))
            assert np.abs(labels.depth - renders.depth[index]).max() <= 0.000125 * 0.51
        if labels.keypoints is not None:
            known = renders.keypoints[index, :, 2] > 0
            assert labels.keypoints.dtype == np.float32
            assert np.array_equal(labels.keypoints[:, 2], renders.keypoints[index, :, 2])
            assert np.abs(labels.keypoints - renders.keypoints[index])[known].max() < 1e-4
            assert (labels.keypoints[~known] == 0).all()
        if labels.attributes is not None:
            assert labels.attributes.dtype == np.int64
            assert project.attributes[0].values[labels.attributes[0]] == SPECIES[renders.species[index]]


def test_depth_that_is_not_known_is_nan(store: FileStore) -> None:
    depth = np.linspace(1, 3, SIZE * SIZE).reshape(SIZE, SIZE)
    depth[:4] = np.nan
    buffer = io.BytesIO()
    np.save(buffer, depth)
    files = dict(bear_files(1, 5, SIZE, kinds=["depth"])) | {"depth/bear-00005.npy": buffer.getvalue()}
    del files["depth/bear-00005.png"]
    store.put("generators/toy-bears/generator.json", make_generator("toy-bears", SIZE).model_dump_json().encode())
    opened = [UploadedFile(path, lambda data=data: io.BytesIO(data)) for path, data in files.items()]  # type: ignore[misc]
    project = create_project(store, Upload(opened, None, []), Settings())
    read = read_seeds(store, project).labels[0].depth
    assert read is not None
    assert np.isnan(read[:4]).all()
    assert np.abs(read[4:] - depth[4:]).max() <= 0.000125 * 0.51
    assert project.seeds[0].known_depth == 1 - 4 / SIZE
