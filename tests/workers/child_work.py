"""What children of tests are told to do; imports nothing that a child should not have."""

import sys
from typing import Any


def loaded_modules(item: Any, work: Any) -> list[str]:
    """The modules that a process has loaded once it can do `work`."""
    work(item)
    return sorted(sys.modules)
