"""Parsing multipart/form-data: every text is UTF-8, and files go to the disk."""

from starlette.formparsers import MultiPartParser

_SPOOL_BYTES = 64 * 1024


class FormParser(MultiPartParser):
    """Starlette's parser, with the differences that every upload needs."""

    # Of 200 small files this much each stays in memory; the rest goes to the disk.
    spool_max_size = _SPOOL_BYTES

    @property
    def _charset(self) -> str:
        """UTF-8, whatever charset the client names: Python's codecs are more than charsets, and fail in many ways."""
        return "utf-8"

    @_charset.setter
    def _charset(self, named: str) -> None:
        """What the content type says is not used."""
