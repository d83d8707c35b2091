"""What follows from the few figures that describe a generator."""

import pytest

from models.architecture import Architecture


@pytest.mark.parametrize(("resolution", "num_ws"), [(32, 8), (256, 14), (1024, 18)])
def test_styles_and_features_follow_the_resolution(resolution: int, num_ws: int) -> None:
    architecture = Architecture(resolution)
    assert architecture.num_ws == num_ws
    assert len(architecture.feature_channels) == len(architecture.feature_sides) == num_ws - 1
    assert architecture.feature_sides[-2:] == (resolution, resolution)


def test_features_are_as_large_and_as_many_as_their_blocks() -> None:
    architecture = Architecture(16, channel_base=256, channel_max=48)
    assert architecture.feature_sides == (4, 8, 8, 16, 16)
    assert architecture.feature_channels == (48, 32, 32, 16, 16)
    widths = Architecture(16, widths=(5, 6, 7))
    assert widths.feature_channels == (5, 6, 6, 7, 7)


def test_a_resolution_that_is_no_power_of_two_is_refused() -> None:
    with pytest.raises(ValueError, match="resolution 100"):
        Architecture(100)
