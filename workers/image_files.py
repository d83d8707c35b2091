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
    return _jpeg(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))


def file_as_jpeg(data: bytes) -> bytes:
    """What `jpeg` gives for the image in the bytes of a file that `image_file` wrote. Raises `ValueError` if it is no
    image."""
    # OpenCV reads PNG in less than half of the time that Pillow takes.
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError("the bytes are not those of an image")
    return _jpeg(image)


def _jpeg(image: cv2.typing.MatLike) -> bytes:
    settings = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    settings += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    _, data = cv2.imencode(".jpg", image, settings)
    return data.tobytes()
