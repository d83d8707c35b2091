"""What steps said of themselves when they were done, one JSON line each: what a run that was ended goes on from."""

import json
import os
from pathlib import Path
from typing import Any

from benchmarks.quality.steps import Facts, Step, digest, plain


class Record:
    """A file of finished steps. What a step said is found by its digest, so that one whose settings changed is unknown;
    a line that was cut short is ignored."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[str, Facts] = {}
        text = path.read_text() if path.exists() else ""
        for line in text.splitlines():
            try:
                row: dict[str, Any] = json.loads(line)
                self.known[row["digest"]] = row["facts"]
            except (json.JSONDecodeError, KeyError, TypeError):
                continue
        self.torn = bool(text) and not text.endswith("\n")

    def facts(self, step: Step) -> Facts | None:
        """What a finished step said, with the `seconds` and the processor time `cpu_s` it took."""
        return self.known.get(digest(step))

    def add(self, step: Step, facts: Facts) -> None:
        """Note that a step is finished."""
        row = {"digest": digest(step), "title": step.title, "facts": facts, "step": plain(step)}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(("\n" if self.torn else "") + json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.torn = False
        self.known[digest(step)] = facts
