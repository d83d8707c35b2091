"""Rotations and colours that scenes are put together from."""

import colorsys

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def rotation(axis: int, angle: float) -> Array:
    """(3, 3), the right-handed rotation by `angle` radians about x, y or z (0, 1, 2)."""
    cosine, sine = np.cos(angle), np.sin(angle)
    turn = np.eye(3)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    turn[i, i] = turn[j, j] = cosine
    turn[i, j], turn[j, i] = -sine, sine
    return turn


def hsv(hue: float, saturation: float, value: float) -> Array:
    """(3,), RGB in [0, 1]; hues repeat with period 1."""
    return np.array(colorsys.hsv_to_rgb(hue % 1.0, saturation, value))


def luminance(color: Array) -> float:
    """Brightness of an RGB colour in [0, 1], weighted as in ITU-R BT.601."""
    return float(color @ np.array([0.299, 0.587, 0.114]))
