"""What the scans of a training looked like, to warn of a scan that is unlike them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, field_validator

from diffcl.data.traits import TRAITS, traits

if TYPE_CHECKING:
    from diffcl.data.preprocess import PreparedScan
    from diffcl.io.scan import Scan

_UNITS = {"spacing": "mm between voxels", "extent": "mm", "brightness": "", "contrast": ""}


class Profile(BaseModel):
    """Range of each trait over the training scans, and their modality.

    Attributes:
        ranges: Smallest and largest value of each trait.
        modality: DICOM modality of the task.

    Raises:
        ValueError: If a range is of no trait, is no range, or has an end that is not finite.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ranges: dict[str, tuple[FiniteFloat, FiniteFloat]] = {}
    modality: Annotated[str, Field(max_length=16)]

    @field_validator("ranges")
    @classmethod
    def _of_traits(cls, ranges: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
        for name, (low, high) in ranges.items():
            if name not in TRAITS:
                raise ValueError(f"{name[:40]!r} is no trait of a scan; known are {', '.join(TRAITS)}")
            if low > high:
                raise ValueError(f"{name} of {low:g} to {high:g} is no range")
        return ranges

    @classmethod
    def of(cls, scans: Iterable[Mapping[str, float]], modality: str) -> Profile:
        """The profile of a training's scans, by the `traits` of each."""
        seen = list(scans)
        names = seen[0] if seen else {}
        ranges = {name: (min(one[name] for one in seen), max(one[name] for one in seen)) for name in names}
        return cls(ranges=ranges, modality=modality)

    def warnings(self, scan: Scan, prepared: PreparedScan) -> list[str]:
        """One sentence for each way in which a scan lies far outside what the model has seen.

        Far is further than the width of the range, or a quarter of its middle, beyond its nearer end.
        """
        found = []
        if scan.modality and scan.modality != self.modality:
            found.append(f"The scan is {scan.modality}; the model was trained on {self.modality}.")
        numbers = traits(prepared)
        for name, (low, high) in self.ranges.items():
            slack = max(high - low, abs(high + low) / 8, 0.02)
            if not low - slack <= numbers[name] <= high + slack:
                unit = _UNITS[name.split()[0]]
                found.append(
                    f"The scan's {name} is {numbers[name]:.3g} {unit}".rstrip()
                    + f"; the model was trained on {_span(low, high)}."
                )
        return found


def _span(low: float, high: float) -> str:
    """A range for people, which may be a single number.

    >>> _span(1.0, 1.0), _span(39.0, 42.0)
    ('1', '39 to 42')
    """
    ends = f"{low:.3g}", f"{high:.3g}"
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)
