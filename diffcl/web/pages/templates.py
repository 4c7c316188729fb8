"""The templates of the pages and of the report."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from diffcl.web.pages.words import (
    clock,
    dice,
    millimetres,
    minutes,
    moment,
    name,
    percent,
    plural,
    said,
    without_name,
)

FOLDER: Final = Path(__file__).parent


@cache
def environment() -> Environment:
    """The templates; whatever goes into them is escaped."""
    made = Environment(
        loader=FileSystemLoader(FOLDER / "html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    words = (clock, dice, millimetres, minutes, moment, name, percent, plural, said, without_name)
    made.filters |= {word.__name__: word for word in words}
    return made
