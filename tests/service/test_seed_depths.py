"""The depths of seeds lead to a schema whose figures are those that one would write."""

import numpy as np
import pytest

from service.project_spec import DepthSpec
from service.seed_depths import SeedDepth, scaled_depths


@pytest.mark.parametrize(
    ("scale", "least", "largest"),
    [(0.001, 3.832, 7.1), (0.1, 0.3, 4.1), (1e-12, 3e-12, 6.3e-11), (25.0, 75.0, 1000.0), (None, 1.001, 65.53)],
)
def test_the_range_of_depths_is_told_without_a_trail_of_digits(
    scale: float | None, least: float, largest: float
) -> None:
    depth = SeedDepth("depth/a.npy", np.array([[np.nan, largest], [least, least]], np.float32))
    schema, _, complaints = scaled_depths({"a": depth}, DepthSpec(scale=scale))
    assert schema is not None and not complaints
    assert (schema.minimum, schema.maximum) == (least, largest)
