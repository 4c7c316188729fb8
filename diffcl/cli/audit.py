"""`diffcl audit`: who did what with which scan on a server, and when."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from diffcl.cli.console import say, say_json


def audit(
    work: Annotated[Path, typer.Option(help="Folder of --work of the server.")] = Path("work"),
    user: Annotated[str, typer.Option(help="Of this user alone.")] = "",
    scan: Annotated[str, typer.Option(help="About this scan alone.")] = "",
    action: Annotated[
        str, typer.Option(help="Acts with this word in them, such as label, DELETE or train.")
    ] = "",
    since: Annotated[str, typer.Option(help="From this time on, UTC: 2026-01-31 or 2026-01-31T08:00.")] = "",
    until: Annotated[str, typer.Option(help="Up to this time, which is still part of it.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Print the audit trail: time, who, from where, what, which scan, and what was answered.

    Everything that changes something is in it, and looking at scans, labels and logs; no patient's name is. Of many
    refusals in ten minutes of one address the first 20 have a line each, and the others one together.

    - `diffcl audit --user ann --since 2026-01-31`
    - `diffcl audit --scan p07 --action label`
    """
    from diffcl.access.audit import read_audit

    folder = work / "audit"
    for record in read_audit(folder, user=user, scan=scan, action=action, since=since, until=until):
        if as_json:
            say_json(asdict(record))
        else:
            who = f"{record.user or '-'} {record.address}"
            several = f"  {record.times} times since {record.since}" if record.since else ""
            say(f"{record.when}  {who}  {record.action}  {record.scan or '-'}  {record.status}{several}")
