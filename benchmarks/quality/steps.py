"""What a run is made of: steps that depend on each other, and the folder where they keep what they made.

A step is a frozen dataclass of everything that decides its result. Its digest names what it made, so that nothing is
made twice, and a step with other settings is another step.
"""

import dataclasses
import hashlib
import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

Facts = dict[str, Any]
"""What a step says of itself when it is done, as JSON values."""

Report = Callable[[int, int], None]
"""Called with what is done and what there is in all; may raise to stop the work."""


@dataclasses.dataclass(frozen=True)
class Place:
    """root: where everything is kept. generator: the folder of the generator."""

    root: Path
    generator: Path

    def folder(self, step: "Step") -> Path:
        """Where a step keeps what it made."""
        return self.root / type(step).__name__.lower() / digest(step)

    def has(self, step: "Step") -> bool:
        """Whether what a step keeps is there; true if it keeps nothing."""
        return not step.KEEPS or self.folder(step).exists()

    def drop(self, step: "Step") -> None:
        """Nothing needs it any more: remove what it keeps, if that takes much room."""
        if step.BULKY:
            shutil.rmtree(self.folder(step), ignore_errors=True)

    def fill(self, step: "Step", write: Callable[[Path], None]) -> None:
        """Let `write` fill the folder of a step: whole, or not there at all."""
        folder = self.folder(step)
        partial = folder.with_name(f".{folder.name}.partial")
        for old in (partial, folder):
            shutil.rmtree(old, ignore_errors=True)
        partial.mkdir(parents=True)
        write(partial)
        partial.rename(folder)


class Step(ABC):
    """One piece of work, done in a process of its own from itself and what is in the place. Steps that are equal are
    the same step; subclasses are frozen dataclasses.

    KEEPS: whether it fills a folder. BULKY: whether the folder is removed once nothing needs it any more.
    """

    KEEPS: ClassVar[bool] = True
    BULKY: ClassVar[bool] = False

    @property
    @abstractmethod
    def title(self) -> str:
        """What a reader calls it."""

    @property
    def needs(self) -> tuple["Step", ...]:
        """The steps whose results it reads."""
        return ()

    @abstractmethod
    def make(self, place: Place, report: Report) -> Facts:
        """Do it, and fill its folder if it keeps anything."""


@cache
def digest(step: Step) -> str:
    """A name for a step that changes with everything that decides its result."""
    return hash_of(json.dumps(plain(step), sort_keys=True).encode())


def hash_of(*parts: bytes) -> str:
    """Sixteen hexadecimal digits of what these bytes, one after the other, are."""
    total = hashlib.sha256()
    for part in parts:
        total.update(part)
    return total.hexdigest()[:16]


def plain(value: Any) -> Any:
    """JSON values of nested dataclasses, with their types. What has a `fingerprint` is told by that."""
    if hasattr(value, "fingerprint"):
        return plain(value.fingerprint())
    if dataclasses.is_dataclass(value):
        fields = {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"type": type(value).__name__} | fields
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, (tuple, list)) else value
