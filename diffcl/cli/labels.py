"""`diffcl labels`: every accepted label of a studies folder, and the way back to an older one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from diffcl.cli.console import console, say, say_json
from diffcl.errors import UsageError


def labels(
    studies: Annotated[Path, typer.Argument(help="Folder of scans that was served.")],
    scan: Annotated[
        str | None, typer.Argument(help="Scan whose versions are wanted; all by default.")
    ] = None,
    restore: Annotated[
        int | None, typer.Option(help="Make this version of the scan's label the final one again.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON: a list, or the restored version.")
    ] = False,
) -> None:
    """List the labels that annotators submitted, or restore one.

    Nothing is lost: a restored label is a new version, and a running server uses it at once.

    - `diffcl labels my-scans` lists the scans with their newest label for each task
    - `diffcl labels my-scans case7` lists all versions of one
    - `diffcl labels my-scans case7 --restore 2`
    """
    from diffcl.studies.label_history import History, restore_label

    if not studies.is_dir():
        raise UsageError(studies, "no such folder", "Name the folder that was served")
    history = History(studies / "history")
    if scan is not None and scan not in history.images():
        known = ", ".join(history.images()) or "none yet"
        raise UsageError(f"scan {scan[:80]}", "no label of it was submitted", f"Scans with labels: {known}")
    if restore is not None:
        if scan is None:
            raise UsageError("--restore", "no scan is named", "Name one after the folder")
        record = restore_label(studies, scan, restore)
        if as_json:
            say_json({"scan": scan, **record})
        else:
            say(f"{scan}: version {restore} is the final label again, as version {record['version']}")
        return
    rows = [
        (name, record)
        for name in history.images()
        for record in history.current(name).values() or [history.newest(name)]
    ]
    if scan is not None:
        rows = [(scan, record) for record in history.versions(scan)]
    if as_json:
        say_json([{"scan": name, **record} for name, record in rows])
    elif rows:
        console.print(table(rows))
    else:
        say("No label has been submitted yet.")


def table(rows: list[tuple[str, dict[str, Any]]]) -> Table:
    """What a person may want to know of versions, given with their scans."""
    shown = Table("scan", "task", "version", "when", "who", "began with", "voxels changed", "")
    for scan, record in rows:
        proposal = record.get("started_from") or {}
        changed = record.get("changed_voxels")
        shown.add_row(
            scan,
            str(record.get("task") or ""),
            str(record["version"]),
            str(record.get("time", "")),
            who(record),
            f"{proposal['model']} {proposal['version']}" if proposal else "",
            "" if changed is None else str(changed),
            remark(record),
        )
    return shown


def who(record: dict[str, Any]) -> str:
    """Who submitted a version: the user who had logged in, or the name that the viewer was given, and from where.

    >>> who({"client_id": "ann", "address": "10.0.0.7"})
    'ann, 10.0.0.7'
    """
    name = record.get("user") or record.get("client_id")
    return ", ".join(str(part) for part in (name, record.get("address")) if part)


def remark(record: dict[str, Any]) -> str:
    """What is special about a version."""
    if record["removed"]:
        return "removed"
    drawn = str(record.get("drawn", ""))
    if "restored_from" in record:
        return ", ".join(filter(None, [f"restored from {record['restored_from']}", drawn]))
    return " ".join(filter(None, [str(record.get("remark", "")), drawn]))
