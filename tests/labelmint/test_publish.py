"""A generator that was trained is made known to the service by one command."""

from pathlib import Path

from service.generators import find_generator
from service.stores import FileStore
from tests.labelmint.test_cli import labelmint
from tests.workers.world import write_generator


def test_a_trained_generator_is_published(tmp_path: Path, store: FileStore) -> None:
    write_generator(tmp_path / "run")
    url = f"file://{tmp_path / 'store'}"
    done = labelmint(tmp_path, "generator", "publish", "run", "--id", "cats-16", LABELMINT_STORE_URL=url)
    assert done.returncode == 0, done.stderr
    record = find_generator(store, "cats-16")
    assert record is not None
    assert (record.resolution, record.source, record.has_encoder) == (16, "trained", False)


def test_something_else_is_refused_in_one_line(tmp_path: Path) -> None:
    for folder, generator_id in (("nothing-here", "cats"), (".", "Cats and dogs")):
        done = labelmint(tmp_path, "generator", "publish", folder, "--id", generator_id)
        assert done.returncode == 2
        assert len(done.stderr.strip().splitlines()) == 1
