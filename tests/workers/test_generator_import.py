"""Strangers' checkpoints are read in a process of its own, with limits that a user can act on."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from models.architecture import Architecture
from service.settings import Settings
from workers import generator_import
from workers.public_errors import JobFailure


def test_a_checkpoint_that_takes_too_much_memory_ends_its_own_process(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    reader = tmp_path / "pid"

    def greedy(path: Path, tell: Callable[[str], None]) -> None:
        reader.write_text(str(os.getpid()))
        bytearray(2**33)  # address space alone: the system gives no memory for it until it is written to
        raise AssertionError("there was no limit")

    monkeypatch.setattr(generator_import, "import_checkpoint", greedy)
    limited = settings.model_copy(update={"import_memory_bytes": 2**28})
    with pytest.raises(JobFailure) as refusal:
        generator_import.read_checkpoint(tmp_path / "any", tmp_path, limited, lambda: None, lambda _: None)
    error = refusal.value.error
    assert error.code == "import-too-large"
    assert "LABELMINT_IMPORT_MEMORY_BYTES" in error.message
    assert "LABELMINT_IMPORT_TIMEOUT_S" in error.message
    assert int(reader.read_text()) != os.getpid()


def test_a_generator_whose_images_are_too_large_is_refused_with_a_remedy() -> None:
    large = Architecture(1024, z_dim=8, w_dim=8, mapping_layers=1, channel_base=2**15, channel_max=2**9)
    with pytest.raises(JobFailure, match="LABELMINT_IMPORT_MEMORY_BYTES") as refusal:
        generator_import._check_size(large, 2**28)
    assert refusal.value.error.code == "import-too-large"
    generator_import._check_size(large, 2**30)
