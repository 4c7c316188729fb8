"""`diffcl report`: where an annotation project stands, as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diffcl.cli.console import say
from diffcl.cli.options import DEFAULT_STORE, StoreOption


def report(
    studies: Annotated[Path, typer.Argument(help="Folder of scans that was or is served.")],
    out: Annotated[Path, typer.Option(help="HTML file to write; it holds its figures.")] = Path(
        "report.html"
    ),
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Write what is known of an annotation project: labels, versions, scores, a forecast, and what is not known.

    The file loads nothing from elsewhere; a browser prints it as PDF. No scan is in it.

    - `diffcl report my-scans --out report.html`
    """
    from diffcl.resources import models_folder
    from diffcl.web.pages.report import write_report

    write_report(studies, out, store, models_folder())
    say(f"{out}: report of {studies}")
