"""What killed workers left on this machine's disk."""

import shutil
import time
from contextlib import suppress
from pathlib import Path

_LEFT_AFTER_S = 24 * 3600


def remove_leftovers(parent: Path, pattern: str = "*") -> None:
    """Remove the folders in `parent` whose names match `pattern` and that nobody has written to for a day."""
    for folder in parent.glob(pattern):
        with suppress(FileNotFoundError):  # another worker may be removing it, too
            if folder.stat().st_mtime < time.time() - _LEFT_AFTER_S:
                shutil.rmtree(folder, ignore_errors=True)
