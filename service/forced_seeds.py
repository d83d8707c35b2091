"""Which seeds enter the fit however badly the generator rebuilds them."""

from collections.abc import Callable, Sequence

from service.file_faults import shortened
from service.problems import Complaint
from service.uploads import shown


def forced_names(
    texts: Sequence[str], find: Callable[[str], str | None], file: str | None = None
) -> tuple[set[str], list[Complaint]]:
    """The NAMEs of the seeds that `forced_seeds` means, and what is wrong with it.

    `find` gives the NAME that a text means, or None; `file` is where the list stands, if it stands in one.
    """
    names, complaints = set[str](), []
    for index, text in enumerate(texts):
        name = find(text)
        if name is None or name in names:
            message = f"{shown(text)!r} is {'there twice' if name else 'the NAME of no image'}"
            remedy = f"name seeds of this {'upload' if file else 'project'}, each once"
            field = f"forced_seeds.{index}"
            complaints.append(Complaint(file=file, field=field, message=message, remedy=remedy))
        else:
            names.add(name)
    return names, shortened(complaints)
