"""How strongly to augment: ADA's control of the probability, by how sure the discriminator is of real images."""

from typing import Any

from torch import Tensor

from models.training.settings import TrainingSettings

INTERVAL = 4
"""Steps between two adjustments."""

HIGHEST = 0.999
"""p stays below 1: at 1 no image is left as it was."""


class AdaptiveProbability:
    """`p` of the augmentations; with `ada` it follows the discriminator, otherwise it stays where it is.

    `certainty` is the mean sign of the logits of real images over the last interval, NaN before the first: 0 when the
    discriminator guesses, 1 when it takes every real image for real.
    """

    def __init__(self, settings: TrainingSettings) -> None:
        self.settings = settings
        self.p = 0.0 if settings.augment == "none" else settings.augment_p
        self.certainty = float("nan")
        self._signs, self._steps = 0.0, 0
        self._unread: list[Tensor] = []

    def observe(self, real_logits: Tensor) -> None:
        """Take note of a step's logits of (augmented) real images; every fourth time p moves."""
        self._unread.append(real_logits.detach().sign().mean())
        self._steps += 1
        if self._steps < INTERVAL:
            return
        self._read()
        self.certainty = self._signs / self._steps
        self._signs, self._steps = 0.0, 0
        if self.settings.augment == "ada":
            excess = self.certainty - self.settings.ada_target
            direction = (excess > 0) - (excess < 0)
            moved = self.p + direction * INTERVAL * self.settings.batch / self.settings.ada_images
            self.p = min(max(moved, 0.0), HIGHEST)

    def _read(self) -> None:
        """Add up what was observed: not at every step, since a GPU has to finish it for that."""
        for signs in self._unread:
            self._signs += signs.item()
        self._unread.clear()

    def state(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        self._read()
        return {"p": self.p, "certainty": self.certainty, "signs": self._signs, "steps": self._steps}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`; where p is fixed or off, the settings' p holds."""
        self.certainty, self._signs, self._steps = state["certainty"], state["signs"], state["steps"]
        if self.settings.augment == "ada":
            self.p = state["p"]
