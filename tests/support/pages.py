"""A project without a server, and its pages in a program that answers at once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette
from study_files import describe_version, empty_scans, keep_versions, record
from synthetic import ORGAN

from diffcl.access.roles import User
from diffcl.active_learning.ranking import Upcoming
from diffcl.models import ModelRegistry
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
