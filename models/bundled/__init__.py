"""The generators that come with the package, one folder each, named by their id."""

from pathlib import Path


def bundled_folders() -> list[Path]:
    """Folders with weights.safetensors, encoder.safetensors, latents.safetensors and provenance.json."""
    return sorted(path.parent for path in Path(__file__).parent.glob("*/weights.safetensors"))
