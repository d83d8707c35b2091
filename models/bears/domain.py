"""The two kinds of bears, and what there is to know of each."""

from collections.abc import Sequence
from dataclasses import dataclass

from models.bears.renderer import Renders, render
from models.bears.scene import DRESSED_PART_COLORS, DRESSED_PARTS, PART_COLORS, PARTS


@dataclass(frozen=True)
class Domain:
    """name: on command lines. parts: classes of the part mask, by index. colors: of each, for pictures and palettes.
    dressed: whether bears have accessories."""

    name: str
    parts: tuple[str, ...]
    colors: tuple[str, ...]
    dressed: bool

    def render(self, seeds: Sequence[int], size: int = 64, device: str = "cpu") -> Renders:
        """The bears of these seeds, as `models.bears.render` draws them."""
        return render(seeds, size, device, self.dressed)


PLAIN = Domain("plain", PARTS, PART_COLORS, dressed=False)
DRESSED = Domain("dressed", DRESSED_PARTS, DRESSED_PART_COLORS, dressed=True)
DOMAINS = {domain.name: domain for domain in (PLAIN, DRESSED)}
