"""What a benchmark found, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table


def show(result: Mapping[str, Any], *, as_json: bool) -> None:
    """Print a line for each figure, and one JSON object on the last line."""
    table = Table("", "")
    for name, value in result.items():
        table.add_row(name, str(value))
    Console().print(table)
    if as_json:
        print(json.dumps(result))
