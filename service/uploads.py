"""Files as a client sends them, whichever way they come: their names, and the rules for names."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import BinaryIO

from service.printed import shortened_text
from service.problems import Complaint

MAX_NAME_LENGTH = 255

_DRIVE = re.compile(r"[A-Za-z]:")
_IGNORED_FILES = {".ds_store", "thumbs.db", "desktop.ini"}


class UploadDamaged(Exception):
    """The bytes of an uploaded file cannot be had. `args[0]` says why, and is safe to show."""


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """One file of an upload: a checked relative POSIX path, and its bytes."""

    path: str
    open: Callable[[], AbstractContextManager[BinaryIO]]
    """A seekable stream of the bytes, closed on exit. May raise `UploadDamaged`."""


def shown(name: str) -> str:
    """`name` as it may be repeated in an error: short, and without characters that steer a terminal."""
    return shortened_text(name, 200)


def composed(name: str) -> str:
    """`name` in the one form of Unicode in which names are compared: systems differ in how they write an `ä`."""
    return unicodedata.normalize("NFC", name)


def name_complaint(name: str) -> Complaint | None:
    """What is wrong with a file's name; None if it is a plain relative path."""
    parts = name.rstrip("/").split("/")
    if not name.strip("/") or len(name) > MAX_NAME_LENGTH:
        reason = f"its name is empty or longer than {MAX_NAME_LENGTH} characters"
    elif any(unicodedata.category(c) in {"Cc", "Cs", "Cf", "Zl", "Zp"} for c in name):
        reason = "its name holds control characters"
    elif "\\" in name:
        reason = "its name holds a backslash"
    elif name.startswith("/") or _DRIVE.match(name):
        reason = "its name is an absolute path"
    elif ".." in parts or "." in parts or "" in parts:
        reason = "its name holds `.`, `..` or empty parts"
    else:
        return None
    return Complaint(file=shown(name), message=reason, remedy="name files by plain relative paths: images/NAME.png")


def is_ignored(path: str) -> bool:
    """Whether a file is the dropping of a file manager, which no one meant to send."""
    parts = path.split("/")
    return "__MACOSX" in parts or parts[-1].lower() in _IGNORED_FILES


def duplicate_complaints(paths: Iterable[str]) -> Iterator[Complaint]:
    """One complaint for every path that is another one's twin, also by case or by Unicode composition."""
    seen: dict[str, str] = {}
    for path in paths:
        first = seen.setdefault(unicodedata.normalize("NFKC", path).casefold(), path)
        if first is not path:
            yield Complaint(
                file=shown(path),
                message=f"the same name as {shown(first)}",
                remedy="send each file once; names differ by more than case",
            )


def without_common_folder(paths: Iterable[str], known: frozenset[str]) -> str:
    """The one folder that all `paths` lie in, with its `/`, unless it is one of the `known` ones; else nothing."""
    tops = {path.partition("/")[0] if "/" in path else "" for path in paths}
    if len(tops) != 1:
        return ""
    top = tops.pop()
    return f"{top}/" if top and top not in known else ""
