"""Changing generated images and their labels alike, as the steps of a request say."""

import cv2

from workers.augmentation.augment import augment
from workers.augmentation.streams import sample_random

# OpenCV's own threads would only be in the way of torch and of the encoders, and do not outlive a fork.
cv2.setNumThreads(0)

__all__ = ["augment", "sample_random"]
