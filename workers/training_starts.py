"""How often a training began without getting any further: an interrupted one goes on, a hopeless one is given up."""

from pathlib import Path

from pydantic import ValidationError

from service.label_schema import Record
from service.records import JobError
from workers.public_errors import WORKER_LOST, JobFailure

MOST_STARTS = 3
"""From the same checkpoint."""


def run_folder(data_dir: Path, job_id: str) -> Path:
    """Where a machine keeps the run of a training; it need not be there."""
    return data_dir / "trainings" / job_id


class _Known(Record):
    shown: int
    starts: int
    error: JobError = WORKER_LOST


class Starts:
    """The count in the run's folder. It begins anew with every checkpoint that knows more images."""

    def __init__(self, folder: Path) -> None:
        """`folder`: of the run. Where there is none, nothing was counted, and nothing can be."""
        self._path = folder / "starts.json"

    def count(self, shown: int) -> None:
        """Another start, after `shown` images.

        Raises `JobFailure`, with the words of the last failure, if there were `MOST_STARTS` from there already.
        """
        known = self._read()
        if known is None or known.shown != shown:
            known = _Known(shown=shown, starts=0)
        if known.starts >= MOST_STARTS:
            where = f"after {shown} images" if shown > 0 else "at its beginning"
            message = f"The training started {known.starts} times {where} and never got further. {known.error.message}"
            raise JobFailure(known.error.code, message)
        # Who is killed cannot say why.
        self._write(known.model_copy(update={"starts": known.starts + 1, "error": WORKER_LOST}))

    def forgive(self) -> None:
        """Take the last start back, if there was one: what ended it was no fault of the training."""
        known = self._read()
        if known is not None:
            self._write(known.model_copy(update={"starts": max(0, known.starts - 1)}))

    def blame(self, error: JobError) -> None:
        """Remember why the last start came to nothing."""
        known = self._read()
        if known is not None:
            self._write(known.model_copy(update={"error": error}))

    def _read(self) -> _Known | None:
        try:
            return _Known.model_validate_json(self._path.read_text())
        except (FileNotFoundError, ValidationError):
            return None

    def _write(self, known: _Known) -> None:
        partial = self._path.with_name(f".{self._path.name}.partial")
        partial.write_text(known.model_dump_json())
        partial.replace(self._path)
