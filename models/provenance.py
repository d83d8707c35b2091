"""How the files of a generator came to be, in `provenance.json` beside them."""

import json
import platform
from pathlib import Path
from typing import Any

import torch

from models.whole_file import written_whole


def describe_device(device: torch.device) -> str:
    """The processor's name as a reader would know it, with the number of threads in use."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        name = models[0] if models else name
    threads = torch.get_num_threads()
    return f"CPU, {name}, {threads} thread{'s' if threads > 1 else ''}"


def note_provenance(folder: Path, part: str, facts: dict[str, Any]) -> None:
    """Write JSON `facts` under `part` into `provenance.json`, whole or not at all; other parts stay."""
    path = folder / "provenance.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    with written_whole(path) as file:
        file.write(f"{json.dumps(known | {part: facts}, indent=2)}\n".encode())
