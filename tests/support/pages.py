"""A project without a server, and its pages in a program that answers at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette
from synthetic import ORGAN

from diffcl.access.roles import User
from diffcl.active_learning.ranking import Upcoming
from diffcl.models import ModelInfo, ModelRegistry
from diffcl.models.profile import Profile
from diffcl.studies.folder import FolderStudies
from diffcl.studies.training import StudyTraining
from diffcl.web.pages.project import Project
from diffcl.web.pages.routes import routes

PEOPLE = ("ann", "bob", "Ольга Ивановна", "山田太郎")


class Started:
    """Remembers what was started and stopped."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Mapping[str, Any]]] = []

    async def start(self, task: str, options: Mapping[str, Any]) -> None:
        """A training."""
        self.asked.append((task, options))

    async def stop(self) -> None:
        """The training at work."""
        self.asked.append(("stop", {}))


def project_of(studies: Path, store: Path, started: Started | None = None, **other: Any) -> Project:
    """The project of a folder of scans and a store of models."""
    started = started or Started()
    registry = ModelRegistry(store)
    training = StudyTraining("organ", lambda: ORGAN, registry, studies / "training" / "organ")
    made = Project(
        studies=FolderStudies(studies, lambda: [ORGAN]),
        store=registry,
        models=registry.names,
        tasks=lambda: [ORGAN],
        trainings={"organ": training},
        upcoming=in_order,
        failures=dict,
        start=started.start,
        stop=started.stop,
    )
    return replace(made, **other)


def in_order(waiting: Sequence[str], labelled: Sequence[str], count: int) -> list[Upcoming]:  # noqa: ARG001
    """The first scans, as if they had been scored."""
    return [
        Upcoming(image, "Stands for the most doubtful scans, by organ version 3", 0.4 / (place + 1), 0.25)
        for place, image in enumerate(list(waiting)[:count])
    ]


class AsUser:
    """An application as somebody sees it who has logged in."""

    def __init__(self, app: Any, user: User | None) -> None:
        self._app, self._user = app, user

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._user is not None:
            scope.setdefault("state", {})["user"] = self._user
        await self._app(scope, receive, send)


def application(project: Project, user: User | None = None) -> Any:
    """The pages of a project, without the layers that a server has around them."""
    return AsUser(Starlette(routes=routes(lambda: project)), user)


def ask(app: Any, path: str, method: str = "GET", root: str = "", **given: Any) -> httpx.Response:
    """The answer of an application, once the studies have been read."""

    async def talk() -> httpx.Response:
        transport = httpx.ASGITransport(app, root_path=root)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            while True:
                answer = await client.request(method, path, **given)
                if "The studies are being read" not in answer.text:
                    return answer
                await asyncio.sleep(0.05)

    return asyncio.run(talk())


def empty_scans(folder: Path, names: Sequence[str]) -> None:
    """Files that are called like scans and hold nothing: the pages list them without reading them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}.nii.gz").touch()


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


def describe_version(store: Path, number: int, labelled: int, dice: float | None, **decision: Any) -> Path:
    """A version of the model `organ` without weights, which pages do not look at; its folder."""
    scores = (
        {"dice": dice, "dice_sd": 0.03, "dice_worst": dice - 0.1, "hd95_mm": 2.5, "scans": 16}
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


def large_project(folder: Path, scans: int = 1000, labels: int = 5000, versions: int = 30) -> Project:
    """A project of many scans, labels and versions."""
    names = [f"scan-{number:04}" for number in range(scans)]
    studies, store = folder / "studies", folder / "store"
    empty_scans(studies, names)
    for number, name in enumerate(names):
        if number % 2:
            keep_versions(
                studies, name, [_made_up(number, place, versions) for place in range(labels * 2 // scans)]
            )
    for number in range(1, versions + 1):
        describe_version(store, number, 2 + number, round(0.9 - 0.25 / number**0.5, 4))
    return project_of(studies, store)


def _made_up(number: int, place: int, versions: int) -> dict[str, Any]:
    """The record of a label of a scan, another one for every number and place."""
    day = f"2026-{1 + (number + place) % 9:02}-{1 + (number * 7 + place) % 28:02}"
    dice = 0.6 + 0.003 * ((number * 13 + place * 7) % 100)
    return record(day, PEOPLE[(number + place) % 4], dice, 1 + (number + place) % versions)


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
