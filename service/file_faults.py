"""What is wrong with one uploaded file, however much that is."""

from collections.abc import Sequence

from service.problems import Complaint
from service.uploads import UploadDamaged, UploadedFile, shown

_TOLD = 100


class FileFaults:
    """Collects the complaints about one file: the first ones in words, of the others how many there are."""

    def __init__(self, path: str) -> None:
        """`path` is the file's, as uploaded."""
        self._file = shown(path)
        self._told: list[Complaint] = []
        self._more = 0

    def add(self, message: str, remedy: str, field: str | None = None) -> None:
        """One more; `field` is the place in the file."""
        if len(self._told) < _TOLD:
            self._told.append(Complaint(file=self._file, field=field, message=message, remedy=remedy))
        else:
            self._more += 1

    @property
    def complaints(self) -> list[Complaint]:
        """All of them, as far as they are told."""
        return [*self._told, *_rest(self._file, self._more)]


def _rest(file: str | None, count: int) -> list[Complaint]:
    message = f"{count} more faults{' of this file' if file else ''}"
    return [Complaint(file=file, message=message, remedy="correct those above first")] if count else []


def shortened(complaints: Sequence[Complaint]) -> list[Complaint]:
    """`complaints` about one file or request; of very many the first ones, and how many more there are."""
    return [*complaints[:_TOLD], *(_rest(complaints[0].file, max(0, len(complaints) - _TOLD)) if complaints else [])]


def read_bounded(file: UploadedFile, limit: int, faults: FileFaults) -> bytes | None:
    """The bytes of the file; None if it has more than `limit` or is damaged, which `faults` then says."""
    try:
        with file.open() as stream:
            data = stream.read(limit + 1)
    except UploadDamaged as error:
        faults.add(str(error), "make the upload anew")
        return None
    if len(data) > limit:
        faults.add(f"it is larger than {limit} bytes", "leave out what is not about the uploaded images")
        return None
    return data
