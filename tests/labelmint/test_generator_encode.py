"""`labelmint generator encode` goes on where it was stopped."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from models.inversion.encoder import Encoder
from tests.labelmint.test_cli import labelmint
from tests.workers.world import write_generator


def takes_requests(pid: int) -> bool:
    """Whether a process has its own way with SIGTERM by now."""
    (caught,) = re.findall(r"SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


STEPS = ["--steps-code", "400", "--steps-image", "1", "--batch", "2", "--device", "cpu"]


def test_an_encoder_that_was_stopped_goes_on(tmp_path: Path) -> None:
    write_generator(tmp_path / "run")
    command = ["generator", "encode", "run", *STEPS]
    stopped = subprocess.Popen(
        [sys.executable, "-m", "labelmint", *command], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    while not takes_requests(stopped.pid):
        time.sleep(0.01)
    stopped.send_signal(signal.SIGTERM)
    _, told = stopped.communicate(timeout=120)
    assert (stopped.returncode, "the same command goes on from here" in told) == (130, True), told
    kept = tmp_path / "run" / "encoder-run" / "checkpoint.pt"
    assert kept.exists()
    assert not (tmp_path / "run" / "encoder.safetensors").exists()
    done = labelmint(tmp_path, *command, timeout=300)
    assert done.returncode == 0, done.stderr
    first = re.search(r"goes on from step (\d+) of stage 1", done.stderr)
    assert first is not None
    assert int(first[1]) >= 1
    assert not kept.parent.exists()
    Encoder.load(tmp_path / "run" / "encoder.safetensors", torch.device("cpu"))
    assert json.loads((tmp_path / "run" / "provenance.json").read_text())["encoder"]["at_the_end"]["stage"] == 2
