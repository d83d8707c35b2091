"""Generators along a run: the best one by Fréchet distance is published, it and the last are kept."""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from models.checkpoint import half, save_tensors
from models.distances.statistics import Distance, FeaturesDiffer
from models.generator import Generator
from models.whole_file import written_whole


@dataclass(frozen=True)
class Evaluation:
    """images: shown until then. p: of the augmentations."""

    images: int
    p: float
    distance: Distance


class Snapshots:
    """`snapshots/` and `evaluations.json` of a run's folder, and its `weights.safetensors`: the best so far."""

    def __init__(self, folder: Path, features: str) -> None:
        """
        Args:
            features: that evaluations of this run compare.

        Raises:
            FeaturesDiffer: this run was evaluated with other features before.
        """
        self.folder, self.features = folder, features
        (folder / "snapshots").mkdir(parents=True, exist_ok=True)
        self.evaluations = _read(folder)
        for known in self.evaluations:
            if known.distance.features != features:
                raise FeaturesDiffer(
                    f"{folder}: its distances are by {known.distance.features}, and by {features} they could not be "
                    f"compared; go on with --features {known.distance.features}, or start in another folder"
                )
        if self.best:
            self._publish(self.path(self.best.images))

    @staticmethod
    def features_of(folder: Path) -> str | None:
        """The features that a run's evaluations compare; None if there are none yet."""
        known = _read(folder)
        return known[0].distance.features if known else None

    def path(self, images: int) -> Path:
        return self.folder / "snapshots" / f"{images:08d}.safetensors"

    @property
    def best(self) -> Evaluation | None:
        """The evaluation of the smallest Fréchet distance whose weights are here."""
        found: Evaluation | None = None
        for candidate in self.evaluations:
            if self.path(candidate.images).exists() and (
                found is None or candidate.distance.is_closer_than(found.distance)
            ):
                found = candidate
        return found

    @property
    def last(self) -> Evaluation | None:
        return self.evaluations[-1] if self.evaluations else None

    @property
    def since_best(self) -> int:
        """Evaluations after the best one."""
        best = self.best
        return sum(e.images > best.images for e in self.evaluations) if best else 0

    def add(self, generator: Generator, images: int, p: float, distance: Distance | None) -> None:
        """Keep this generator as the last, and publish it if it is the best.

        Args:
            distance: None if it was not measured; then it is published only while none was.
        """
        facts = {"architecture": generator.architecture.to_dict(), "images_shown": images}
        save_tensors(self.path(images), half(generator.state_dict()), "generator", facts)
        if distance is not None:
            others = [e for e in self.evaluations if e.images != images]
            self.evaluations = sorted([*others, Evaluation(images, p, distance)], key=lambda e: e.images)
            with written_whole(self.folder / "evaluations.json") as file:
                file.write(f"{json.dumps([asdict(e) for e in self.evaluations], indent=1)}\n".encode())
        best = self.best
        published = self.path(best.images if best else images)
        self._publish(published)
        for path in (self.folder / "snapshots").glob("*.safetensors"):
            if path not in (published, self.path(images)):
                path.unlink()

    def _publish(self, snapshot: Path) -> None:
        with snapshot.open("rb") as source, written_whole(self.folder / "weights.safetensors") as file:
            shutil.copyfileobj(source, file)


def _read(folder: Path) -> list[Evaluation]:
    path = folder / "evaluations.json"
    entries = json.loads(path.read_text()) if path.exists() else []
    return [Evaluation(entry["images"], entry["p"], Distance(**entry["distance"])) for entry in entries]
