"""Images as files of the format a user asks for. The encoders let go of the interpreter's lock."""

import io

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from service.requests import ImageFormat
from workers.png import image_png

JPEG_QUALITY = 95
WEBP_QUALITY = 90
_WEBP_EFFORT = 2
"""Of 6: the next one takes twice the time for a few bytes."""

SUFFIXES = {ImageFormat.PNG: "png", ImageFormat.JPEG: "jpg", ImageFormat.WEBP: "webp"}


def image_file(image: npt.NDArray[np.uint8], image_format: ImageFormat) -> bytes:
    """The bytes of an RGB image, (H, W, 3) uint8; the same array always gives the same ones."""
    match image_format:
        case ImageFormat.PNG:
            return image_png(image)
        case ImageFormat.JPEG:
            return jpeg(image)
        case ImageFormat.WEBP:
            buffer = io.BytesIO()
            Image.fromarray(image, "RGB").save(buffer, "WEBP", quality=WEBP_QUALITY, method=_WEBP_EFFORT)
            return buffer.getvalue()


def jpeg(image: npt.NDArray[np.uint8]) -> bytes:
    """JPEG of an RGB image, (H, W, 3) uint8, with colours at full resolution: small pictures have fine borders."""
    settings = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    settings += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), settings)
    return data.tobytes()
