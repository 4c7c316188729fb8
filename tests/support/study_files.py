"""What servers and trainings leave in a folder of studies and in a store of models, written in a moment."""

from __future__ import annotations

import json
import socket
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from synthetic import ORGAN

from diffcl.models import ModelInfo
from diffcl.models.profile import Profile


def empty_scans(folder: Path, names: Sequence[str]) -> None:
    """Files that are called like scans and hold nothing: the pages list them without reading them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}.nii.gz").touch()


def make_socket(path: Path) -> None:
    """A socket in the file system; it gets its name afterwards, since an address holds about a hundred bytes."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, socket.socket(socket.AF_UNIX) as one:
        one.bind(f"{folder}/socket")
        Path(folder, "socket").replace(path)


def keep_versions(studies: Path, image: str, records: Sequence[Mapping[str, Any]]) -> None:
    """Versions of a label as a server keeps them, without the labels themselves."""
    folder = studies / "history" / image
    folder.mkdir(parents=True, exist_ok=True)
    for number, record in enumerate(records, start=1):
        told = {"task": "organ", **record, "version": number, "removed": record.get("removed", False)}
        (folder / f"{number}.json").write_text(json.dumps(told))
        if not told["removed"]:
            (folder / f"{number}.nii.gz").touch()


def record(day: str, by: str, dice: float | None = None, version: int = 1) -> dict[str, Any]:
    """The record of a label that somebody made of a proposal, or of nothing."""
    changes = {
        "organ_head": {"added": 5, "removed": 2, "dice": dice},
        "organ_tail": {"added": 0, "removed": 0, "dice": dice},
    }
    began = {"model": "organ", "version": version, "task": "organ", "changes": changes}
    return {
        "time": f"{day}T09:30:00+00:00",
        "client_id": by,
        "changed_voxels": 7,
        **({"started_from": began} if dice is not None else {}),
    }


def describe_version(
    store: Path, number: int, labelled: int, dice: float | None, *, scans: int = 16, **decision: Any
) -> Path:
    """A version of the model `organ` without weights, which pages do not look at; its folder."""
    scores = (
        {"dice": dice, "dice_sd": 0.03, "dice_worst": dice - 0.1, "hd95_mm": 2.5, "scans": scans}
        if dice
        else None
    )
    said = {"published": True, "reason": "Published: there was no model yet.", **decision}
    info = ModelInfo(
        name="organ",
        version=number,
        created=f"2026-01-{number % 28 + 1:02}T10:00:00+00:00",
        recipe=ORGAN,
        profile=Profile(modality="MR"),
        scores={"ensemble": scores} if scores else {},
        provenance={
            "labelled": [f"scan{place}" for place in range(labelled)],
            "unlabelled": ["other"],
            "validation": ["v1", "v2"],
            "classes": {"organ_head": {**scores, "missed": 1}} if scores else {},
            "decision": said,
        },
    )
    folder = store / "organ" / str(number)
    folder.mkdir(parents=True)
    (folder / "model.json").write_text(info.model_dump_json())
    (folder / "card.md").write_text(f"# organ, version {number}\n")
    if said["published"]:
        (store / "organ" / "current").write_text(f"{number}\n")
    return folder


def keep_training(studies: Path, status: str, *, journal: int = 40, **told: Any) -> Path:
    """What a training of the task `organ` left on the disk; its folder."""
    folder = studies / "training" / "organ"
    run = folder / "current"
    run.mkdir(parents=True, exist_ok=True)
    progress = {
        "status": status, "message": "The networks learn.", "epoch": journal, "total_epochs": 100, "seconds": 90,
        "best_metric": 0.8, "start_ts": 1, "labelled": 3, "unlabelled": 1, "validation": 1, **told,
    }  # fmt: skip
    (folder / "progress.json").write_text(json.dumps(progress))
    (run / "recipe.json").write_text(ORGAN.model_dump_json())
    cases = {
        "labelled": [
            {"name": f"scan{number}", "image": "i.nii.gz", "label": "l.nii.gz"} for number in range(3)
        ],
        "unlabelled": [{"name": "other", "image": "o.nii.gz"}],
        "validation": [{"name": "judge", "image": "j.nii.gz", "label": "l.nii.gz"}],
    }
    (run / "cases.json").write_text(json.dumps(cases))
    lines: list[dict[str, Any]] = []
    for step in range(1, journal + 1):
        lines.append({"step": step, "L_c": 1 / step, "L_d": 2 / step})
        if step % 10 == 0:
            lines.append({"step": step, "validation": {"dice": 0.5 + step / 200, "dice_worst": 0.3}})
    (run / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder
