"""Phantoms: synthetic scans with computed truth. Those of a hippocampus are imported from here, hearts from `heart`."""

from diffcl.phantom.hippocampus import Phantom, make_phantom, phantom_grid, varied_phantom
from diffcl.phantom.hippocampus_anatomy import ANTERIOR, POSTERIOR, Anatomy

__all__ = ["ANTERIOR", "POSTERIOR", "Anatomy", "Phantom", "make_phantom", "phantom_grid", "varied_phantom"]
