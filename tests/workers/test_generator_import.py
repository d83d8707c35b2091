"""Strangers' checkpoints are read in a process of its own, with limits that a user can act on."""

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from models.architecture import Architecture
from models.checkpoint import save_tensors
from models.generator import Generator
from service.records import JobError
from service.settings import Settings
from tests.models.foreign.rosinality_files import rosinality_state
from workers import generator_import
from workers.public_errors import JobFailure

ALLOWED = 2**25
"""Bytes that reading may take here."""


def refusal_of(settings: Settings, checkpoint: Path, folder: Path) -> JobError:
    """Why a checkpoint is not read with so little memory."""
    limited = settings.model_copy(update={"import_memory_bytes": ALLOWED})
    with pytest.raises(JobFailure) as refusal:
        generator_import.read_checkpoint(checkpoint, folder, limited, lambda: None, lambda _: None)
    return refusal.value.error


def write_own(path: Path) -> None:
    architecture = Architecture(32, z_dim=8, w_dim=8, mapping_layers=1)
    facts = {"architecture": architecture.to_dict()}
    save_tensors(path, Generator(architecture).state_dict(), "generator", facts)


def write_rosinality(path: Path) -> None:
    torch.save({"g_ema": rosinality_state([512] * 4)}, path)


@pytest.mark.parametrize("write", [write_own, write_rosinality])
def test_a_sound_checkpoint_without_room_for_it_is_too_large(
    write: Callable[[Path], None], settings: Settings, tmp_path: Path
) -> None:
    write(tmp_path / "checkpoint")
    assert (tmp_path / "checkpoint").stat().st_size > ALLOWED
    error = refusal_of(settings, tmp_path / "checkpoint", tmp_path)
    assert (error.code, error.retry) == ("import-too-large", False)
    assert "LABELMINT_IMPORT_MEMORY_BYTES" in error.message


def test_a_checkpoint_that_takes_too_much_memory_ends_its_own_process(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    reader = tmp_path / "pid"

    def greedy(path: Path, tell: Callable[[str], None]) -> None:
        reader.write_text(str(os.getpid()))
        bytearray(2**33)  # address space alone: the system gives no memory for it until it is written to
        raise AssertionError("there was no limit")

    monkeypatch.setattr(generator_import, "import_checkpoint", greedy)
    assert refusal_of(settings, tmp_path / "any", tmp_path).code == "import-too-large"
    assert int(reader.read_text()) != os.getpid()


def test_a_crash_of_the_reading_process_names_both_limits(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(generator_import, "import_checkpoint", lambda *_: os.kill(os.getpid(), signal.SIGXCPU))
    error = refusal_of(settings, tmp_path / "any", tmp_path)
    assert error.code == "import-too-large"
    assert "LABELMINT_IMPORT_MEMORY_BYTES" in error.message
    assert "LABELMINT_IMPORT_TIMEOUT_S" in error.message


def test_a_full_disk_is_told_as_such(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    architecture = Architecture(8, z_dim=8, w_dim=8, mapping_layers=1, channel_max=8)
    facts = {"architecture": architecture.to_dict()}
    save_tensors(tmp_path / "checkpoint", Generator(architecture).state_dict(), "generator", facts)
    monkeypatch.setattr(generator_import, "save_tensors", full)
    with pytest.raises(OSError, match="No space left on device") as refusal:
        generator_import.read_checkpoint(tmp_path / "checkpoint", tmp_path, settings, lambda: None, lambda _: None)
    assert refusal.value.errno == errno.ENOSPC


def test_a_generator_whose_images_are_too_large_is_refused_with_a_remedy() -> None:
    large = Architecture(1024, z_dim=8, w_dim=8, mapping_layers=1, channel_base=2**15, channel_max=2**9)
    with pytest.raises(JobFailure, match="LABELMINT_IMPORT_MEMORY_BYTES") as refusal:
        generator_import._check_size(large, 2**28)
    assert refusal.value.error.code == "import-too-large"
    generator_import._check_size(large, 2**30)
