"""Bears in a mirror, to compare flipped images and labels with."""

import numpy as np

from models.bears.scene import KEYPOINT_MIRROR, Scene


def mirrored(scene: Scene) -> Scene:
    """The scene reflected at x = 0, left and right exchanged; its image is the mirror image of the scene's."""
    flip = np.diag([-1.0, 1.0, 1.0])
    swap = np.array([0, 1, 2, 4, 3, 5, 6, 8, 7, 10, 9, 12, 11, *range(13, len(scene.centers))])
    return Scene(
        species=scene.species,
        centers=scene.centers[swap] @ flip,
        shapes=flip @ scene.shapes[swap] @ flip,
        albedos=scene.albedos[swap],
        parts=scene.parts[swap],
        keypoints=scene.keypoints[KEYPOINT_MIRROR] @ flip,
        floor_albedo=scene.floor_albedo,
        wall_albedo=scene.wall_albedo,
        wall_z=scene.wall_z,
        light=scene.light @ flip,
        ambient=scene.ambient,
        eye=scene.eye @ flip,
        camera=flip @ scene.camera @ flip,
    )
