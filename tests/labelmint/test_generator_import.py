"""A checkpoint is made known to the service by one command, which says in one line what is wrong."""

import os
import pickle
from pathlib import Path
from typing import Any

from service.generators import every_generator, find_generator
from service.stores import FileStore
from tests.labelmint.test_cli import labelmint
from tests.workers.world import write_generator


class _Malice:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch harm",)


def test_a_checkpoint_is_imported_once(tmp_path: Path, store: FileStore) -> None:
    write_generator(tmp_path / "run")
    environment = {"LABELMINT_STORE_URL": f"file://{tmp_path / 'store'}", "OMP_NUM_THREADS": "1"}
    command = ("generator", "import", "run/weights.safetensors", "--name", "Tiny", "--id", "tiny-16")
    done = labelmint(tmp_path, *command, **environment)
    assert done.returncode == 0, done.stderr
    record = find_generator(store, "tiny-16")
    assert record is not None
    assert (record.name, record.resolution, record.source) == ("Tiny", 16, "labelmint")
    assert store.exists("generators/tiny-16/samples-0.70.png")
    before = list(store.list())
    assert labelmint(tmp_path, *command, **environment).returncode == 0
    assert list(store.list()) == before
    file = (tmp_path / "run" / "weights.safetensors").rename(tmp_path / "\u200b Small\u200b bears .safetensors")
    assert labelmint(tmp_path, "generator", "import", file.name, **environment).returncode == 0
    assert {found.name for found in every_generator(store)} == {"Tiny", "Small bears"}


def test_what_is_no_checkpoint_is_refused_in_one_line(tmp_path: Path, store: FileStore) -> None:
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(_Malice(), 2))
    environment = {"LABELMINT_STORE_URL": f"file://{tmp_path / 'store'}", "OMP_NUM_THREADS": "1"}
    for arguments, words in (
        (["evil.pkl"], "evil.pkl: "),
        (["missing.pkl"], "missing.pkl: "),
        (["evil.pkl", "--id", "Not An Id"], "--id"),
        (["evil.pkl", "--name", "x" * 65], "--name"),
        (["evil.pkl", "--name", "Tiny\x1b[2J"], "--name"),
    ):
        done = labelmint(tmp_path, "generator", "import", *arguments, **environment)
        assert done.returncode == 2
        assert done.stderr.startswith("Error: ")
        assert words in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "harm").exists()
    assert list(every_generator(store)) == []
