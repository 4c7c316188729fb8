"""Geometry: where the voxels of an image lie, how two grids compare, and boxes as parts of a grid."""

from diffcl.geometry.boxes import Box, around, extent, grown, moved_back, moved_by, overlap_of, slabs
from diffcl.geometry.comparison import (
    GRID_TOLERANCE_MM,
    difference,
    filled_up,
    nearest_axes,
    orientation,
    place_in,
    same_grid,
)
from diffcl.geometry.geometry import (
    AXES_TOLERANCE,
    FARTHEST_MM,
    Geometry,
    GeometryError,
    slice_points,
    straight_axes,
    voxels,
)

__all__ = [
    "AXES_TOLERANCE",
    "FARTHEST_MM",
    "GRID_TOLERANCE_MM",
    "Box",
    "Geometry",
    "GeometryError",
    "around",
    "difference",
    "extent",
    "filled_up",
    "grown",
    "moved_back",
    "moved_by",
    "nearest_axes",
    "orientation",
    "overlap_of",
    "place_in",
    "same_grid",
    "slabs",
    "slice_points",
    "straight_axes",
    "voxels",
]
