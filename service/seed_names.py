"""Which seed a table or a COCO file means."""

from collections.abc import Mapping

from service.uploads import UploadedFile, composed


class SeedNames:
    """The NAMEs of an upload's images, found by what other files call them."""

    def __init__(self, images: Mapping[str, UploadedFile]) -> None:
        """`images` maps each NAME to its image."""
        self._found = {composed(name): name for name in images}
        for name, file in images.items():
            path = composed(file.path)
            self._found.setdefault(path.rpartition("/")[2], name)
            self._found.setdefault(path, name)
        self.all = sorted(images)

    def find(self, text: str) -> str | None:
        """The NAME that `text` means: the NAME itself, the image's file name, or its path. None if there is none."""
        return self._found.get(composed(text))
