"""The levers, each one change to how the product inverts."""

from dataclasses import dataclass, replace
from typing import Literal

from models.inversion.perceptual import Backbone
from models.inversion.refinement import RefinementSettings

Start = Literal["encoder", "corrected-image", "corrected-code"]

SHIPPED = replace(RefinementSettings(), time_limit_s=1e9)
"""As shipped, except that no clock ends it."""


@dataclass(frozen=True)
class Lever:
    """refinement: its settings; 0 steps for none. backbone: of the LPIPS that is minimised. start: where refinement
    begins, see `starting_codes`. starts: how many of them, see `several_starts`; if more than one, `start` does not
    count. shared_share: of the steps, all layers share one w, the first of them."""

    name: str
    refinement: RefinementSettings = SHIPPED
    backbone: Backbone = "alex"
    start: Start = "encoder"
    starts: int = 1
    shared_share: float = 0.0

    @property
    def shipped(self) -> bool:
        """Whether the product itself can do this, given these settings."""
        return self.start == "encoder" and self.starts == 1 and not self.shared_share


def _set(name: str, **changes: float) -> Lever:
    return Lever(name, replace(SHIPPED, **changes))  # type: ignore[arg-type]


def _lpips(weight: float) -> RefinementSettings:
    """LPIPS counts so much, whosever features it compares."""
    return replace(SHIPPED, lpips_weight=weight, random_lpips_weight=weight)


_ENCODED = replace(SHIPPED, steps=0)

LEVERS = (
    Lever("shipped"),
    Lever("encoder-only", _ENCODED),
    Lever("corrected-image", _ENCODED, start="corrected-image"),
    Lever("corrected-code", _ENCODED, start="corrected-code"),
    Lever("corrected-image-refined", start="corrected-image"),
    Lever("corrected-code-refined", start="corrected-code"),
    *(_set(f"steps-{steps}", steps=steps) for steps in (50, 100, 200, 400)),
    *(_set(f"rate-{rate}", learning_rate=rate) for rate in (0.06, 0.2, 0.3)),
    *(Lever(f"lpips-{weight}", _lpips(weight)) for weight in (0.0, 1.0, 3.0, 10.0)),
    Lever("lpips-squeeze", _lpips(10.0), backbone="squeeze"),
    Lever("lpips-vgg", _lpips(10.0), backbone="vgg"),
    Lever("w-first", shared_share=1 / 3),
    *(_set(f"prior-{weight}", prior_weight=weight) for weight in (0.0, 1e-3, 2e-2)),
    *(_set(f"layers-{weight}", layer_weight=weight) for weight in (0.0, 2e-3)),
    *(_set(f"encoder-{weight}", encoder_weight=weight) for weight in (0.0, 2e-3)),
    *(_set(f"pixel-{weight}", pixel_weight=weight) for weight in (1.0, 10.0, 20.0)),
    Lever("starts-2", starts=2),
    Lever("starts-2-steps-240", replace(SHIPPED, steps=240), starts=2),
    Lever("starts-4", starts=4),
    *(_set(f"batch-{batch}", batch=batch) for batch in (1, 8)),
)
