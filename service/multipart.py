"""Parsing multipart/form-data: every text is UTF-8, and files go to the disk."""

from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser

from service.problems import Problem
from service.temporary_disk import temporary_disk

_SPOOL_BYTES = 64 * 1024


class FormParser(MultiPartParser):
    """Starlette's parser, with the differences that every upload needs."""

    # Of 200 small files this much each stays in memory; the rest goes to the disk.
    spool_max_size = _SPOOL_BYTES

    async def parse(self) -> FormData:
        """The form; its files are the caller's to close.

        Raises `Problem`: 400 for a broken body, and for more parts than are taken; 503 if the disk for files is full.
        """
        try:
            with temporary_disk():
                return await super().parse()
        except MultiPartException as error:
            detail = error.message
            if self._current_fields > self.max_fields:
                detail = (
                    f"More than {self.max_fields} parts come without a file name. Give each file its name, and send "
                    "one part of each other kind."
                )
            raise Problem(400, "bad-multipart", "Unreadable multipart body", detail) from error

    @property
    def _charset(self) -> str:
        """UTF-8, whatever charset the client names: Python's codecs are more than charsets, and fail in many ways."""
        return "utf-8"

    @_charset.setter
    def _charset(self, named: str) -> None:
        """What the content type says is not used."""
