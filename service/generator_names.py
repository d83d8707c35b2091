"""What people may call a generator, wherever it comes from."""

from pathlib import PurePath

NAME_REMEDY = "use at most 64 printable characters"

_LONGEST = 64


def is_name(text: str) -> bool:
    """Whether a generator may be called `text`."""
    return len(text) <= _LONGEST and text.isprintable() and bool(text.strip())


def name_of_file(file_name: str) -> str | None:
    """What a generator is called that is made of this file; None if its name has nothing that prints."""
    return "".join(c for c in PurePath(file_name).stem[:_LONGEST] if c.isprintable()).strip() or None
