"""Toy bears: an endless image domain with exact labels, made by a small ray tracer of ellipsoids."""

from models.bears.domain import DOMAINS, DRESSED, PLAIN, Domain
from models.bears.renderer import Renders, render
from models.bears.scene import KEYPOINTS, PARTS, SPECIES

__all__ = ["DOMAINS", "DRESSED", "KEYPOINTS", "PARTS", "PLAIN", "SPECIES", "Domain", "Renders", "render"]
