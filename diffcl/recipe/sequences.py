"""The sequences of a task whose cases have several images, in the order in which the networks see them."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from diffcl.recipe.preparation import Intensity
from diffcl.recipe.section import Section

MOST_SEQUENCES = 16
"""Sequences that a task may have."""


class ImageSequence(Section):
    """One of the images of a case.

    Attributes:
        name: For people, and for whoever gives images by name.
        modality: DICOM modality; by default that of the task.
        pattern: Regular expression, found anywhere in the SeriesDescription or ProtocolName of the DICOM series that
            is meant, whatever the case of its letters; by default the name itself.
        required: Whether a case without it is refused. One that is not required is empty where it is absent.
        intensity: How its values are made comparable; by default as the recipe says for the task's modality, and by
            the percentiles of the scan for any other.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_+.-]{0,31}$")]
    modality: Literal["MR", "CT", "PT"] | None = None
    pattern: Annotated[str, Field(max_length=200)] = ""
    required: bool = True
    intensity: Intensity | None = None

    @field_validator("pattern")
    @classmethod
    def _is_a_pattern(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"is no regular expression ({error})") from error
        return pattern

    def matches(self, *texts: str) -> bool:
        """Whether a series with these descriptions is meant.

        >>> plain = ImageSequence(name="T1", pattern="t1(?!.*gd)")
        >>> plain.matches("AX T1 SE"), plain.matches("AX T1 Gd"), plain.matches("", "T1")
        (True, False, True)
        """
        pattern = self.pattern or re.escape(self.name)
        return any(re.search(pattern, text, re.IGNORECASE) for text in texts)
