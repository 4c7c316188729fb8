"""A section of a recipe, the kinds of numbers in it, and what is said of a wrong one."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Positive = Annotated[float, Field(gt=0, le=1000)]
Weight = Annotated[float, Field(ge=0, le=1000)]
Share = Annotated[float, Field(ge=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
Steps = Annotated[int, Field(ge=0, le=10_000_000)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]
Crops = Annotated[int, Field(ge=1, le=256)]
"""Crops of a training step."""
Vectors = Annotated[int, Field(ge=1, le=65_536)]
"""Feature vectors of the contrastive loss."""
LONGEST_SIDE: Final = 512
Side = Annotated[int, Field(ge=1, le=LONGEST_SIDE)]
"""Voxels of a crop or window along an axis."""
FINEST_MM: Final = 0.01
COARSEST_MM: Final = 20.0
Millimetres = Annotated[float, Field(ge=FINEST_MM, le=COARSEST_MM)]
"""Distance between voxels of a working grid."""
Width = Annotated[int, Field(ge=1, le=1024)]
"""Channels of a network."""
Depth = Annotated[int, Field(ge=1, le=16)]
"""Convolutions of a level, or DDIM steps of a pseudo-label."""
Angle = Annotated[float, Field(ge=0, le=180)]
"""Degrees."""
Level = Annotated[int, Field(ge=0, le=7)]
Stride = tuple[Literal[1, 2], Literal[1, 2], Literal[1, 2]]
"""How many voxels become one along each axis."""
Kernel = tuple[Literal[1, 3], Literal[1, 3], Literal[1, 3]]
"""Voxels that a convolution sees along each axis."""
Pieces = bool | tuple[Annotated[int, Field(ge=1, le=254)], ...]
"""Which classes are one piece: all, none, or those of some values."""
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Text = Annotated[str, Field(max_length=10_000)]


class Section(BaseModel):
    """A frozen part of a recipe that refuses fields it does not know, and numbers beyond any sense."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def first_fault(error: ValidationError, whole: str) -> str:
    """The first thing that is wrong with a document, in words: which field, why, and the number that it has.

    Args:
        error: Of its reading.
        whole: What the document is, for a fault of no single field.
    """
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"]) or whole
    value = first["input"]
    short = type(value) in (int, float) and abs(value) < 1e15
    return f"{field}: {first['msg']}" + (f", not {value:g}" if short else "")
