"""The classes of a task: value, name, colour and DICOM code of every structure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

Byte = Annotated[int, Field(ge=0, le=255)]


class Code(BaseModel):
    """A coded concept as DICOM writes it, for example SNOMED CT 82471001 "Left atrium".

    Source: DICOM PS3.3 section 8.8, Code Sequence Macro.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: str = Field(min_length=1, max_length=16)
    scheme: str = Field(default="SCT", min_length=1, max_length=16)
    meaning: str = Field(min_length=1, max_length=64)


ANATOMICAL_STRUCTURE = Code(value="123037004", meaning="Anatomical Structure")

UNKNOWN: Final = 255
"""Value of voxels of a label map that nobody has decided; no class of a recipe has it."""

LEAST_SOURCE: Final = -(2**31)
MOST_SOURCE: Final = 2**32 - 1
"""Ends of the values that a file may have for a class."""

UNKNOWN_NAME: Final = "unknown"
"""Name of the segment that stands for voxels that nobody has decided."""

UNKNOWN_SLICES: Final = "unknown_slices"
"""Name of a segment that says that only slices are known in which something is drawn; it is never part of a label."""

UNDECIDED: Final = -100
"""Class of a voxel that nobody has decided, as networks learn it: PyTorch's own value for what carries no weight."""


class LabelClass(BaseModel):
    """One structure: its voxel value in a label map and what the value means.

    Attributes:
        value: Voxel value, 1..255; 0 is always background and never listed.
        name: Short lower-case name, shown in viewers.
        color: Recommended display colour, red, green, blue, 0..255.
        category: Coded property category (DICOM CID 7150).
        type: Coded property type; without it a DICOM segment cannot be written.
        modifier: Which part of it, where the type has no code of its own for that, for example SNOMED CT
            255549009 "Anterior".
        region: Coded anatomic region, for a type that is not one itself, for example a tumour.
        sources: Values in annotated label files that mean this class; by default just `value`.
        missing: What it means where a label lacks the class: that it is `absent`, or that it was `not outlined`, so
            that nobody knows where it is. A submitted label may say the latter of itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: int = Field(ge=1, le=255)
    name: str = Field(min_length=1, max_length=64)
    color: tuple[Byte, Byte, Byte] = (230, 120, 80)
    category: Code = ANATOMICAL_STRUCTURE
    type: Code | None = None
    modifier: Code | None = None
    region: Code | None = None
    sources: tuple[Annotated[int, Field(ge=LEAST_SOURCE, le=MOST_SOURCE)], ...] = Field(
        default=(), max_length=1000
    )
    missing: Literal["absent", "not outlined"] = "absent"

    @property
    def source_values(self) -> tuple[int, ...]:
        """The values in annotated files that mean this class."""
        return self.sources or (self.value,)


Color = tuple[int, int, int]
"""Red, green, blue, 0..255."""

OUTLINES: Final[tuple[Color, ...]] = (
    (165, 75, 255), (75, 240, 255), (240, 240, 0), (240, 0, 135), (150, 150, 240), (180, 240, 165), (225, 165, 30),
    (30, 150, 165), (135, 240, 105), (240, 45, 15), (45, 195, 120), (150, 195, 255), (135, 105, 225), (255, 105, 195),
    (255, 165, 195),
)  # fmt: skip
"""Bright colours that lie far from each other, from the default of a class and from grey, also as people see them who
see no red, no green or no blue; the farthest first."""

NEAR: Final = 60
"""Sum of the differences of red, green and blue below which two colours look alike as lines."""


def distinct_colors(classes: Sequence[LabelClass]) -> dict[int, Color]:
    """A colour for each class by its value: its own, or one of `OUTLINES` where a class before it has the same.

    >>> distinct_colors([LabelClass(value=1, name="head"), LabelClass(value=2, name="tail")])
    {1: (230, 120, 80), 2: (165, 75, 255)}

    Args:
        classes: Of one task; where more share a colour than there are others, these come again.
    """
    own: dict[Color, int] = {}
    for one in classes:
        own.setdefault(one.color, one.value)
    free = [color for color in OUTLINES if all(_difference(color, other) >= NEAR for other in own)]
    others = cycle(free or OUTLINES)
    return {one.value: one.color if own[one.color] == one.value else next(others) for one in classes}


def _difference(one: Color, other: Color) -> int:
    return sum(abs(first - second) for first, second in zip(one, other, strict=True))


def distinct_names(tasks: Sequence[tuple[str, Sequence[str]]]) -> list[list[str]]:
    """Names of the classes of several tasks, of which those that two tasks have get the task behind them.

    >>> distinct_names([("abdomen", ["liver", "spleen"]), ("tumour", ["liver"])])
    [['liver (abdomen)', 'spleen'], ['liver (tumour)']]

    Args:
        tasks: Name of each task, and the names of its classes.
    """
    count = Counter(name.casefold() for _, names in tasks for name in names)
    return [
        [name_in_task(name, task) if count[name.casefold()] > 1 else name for name in names]
        for task, names in tasks
    ]


def name_in_task(name: str, task: str) -> str:
    """Name of a class beside a class of the same name in another task.

    >>> name_in_task("liver", "abdomen")
    'liver (abdomen)'
    """
    return f"{name} ({task})"


def plain(name: str) -> str:
    """A name as names are compared: without case, and without blanks around it."""
    return name.strip().casefold()


def meant_by_names(names: Mapping[int, str], classes: Mapping[str, int], task: str) -> dict[int, int]:
    """The class value in a task of every value of a map whose name it knows, and `UNKNOWN` of what is unknown.

    A name with the task behind it, see `name_in_task`, says that the same name alone is that of another task.

    >>> meant_by_names({1: "Head ", 2: "UNKNOWN", 3: "liver"}, {"head": 4}, "organ")
    {1: 4, 2: 255}

    Args:
        names: The name of each value.
        classes: The value of each class of the task by name.
        task: Name of the task.
    """
    known = {UNKNOWN_NAME: UNKNOWN, **{plain(name): value for name, value in classes.items()}}
    told = {plain(name_in_task(name, task)): value for name, value in known.items()}
    sure = {value: told[plain(name)] for value, name in names.items() if plain(name) in told}
    alone = {value: known[plain(name)] for value, name in names.items() if plain(name) in known}
    return {value: meant for value, meant in alone.items() if meant not in sure.values()} | sure
