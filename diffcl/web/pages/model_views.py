"""Pages about models: how good they are, how they are trained, and which version is in use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response

from diffcl.access.roles import Role
from diffcl.errors import DiffclError
from diffcl.models.metadata import DOUBT_PICTURE
from diffcl.publishing.version_list import VersionEntry
from diffcl.web.pages.drawings import Drawings
from diffcl.web.pages.findings import measured_on_one_scan, trend
from diffcl.web.pages.kept import Kept
from diffcl.web.pages.project import Moment, Project
from diffcl.web.pages.rendering import may, page, root_of, told
from diffcl.web.pages.sums import by_month, by_version
from diffcl.web.pages.words import STATUS_NAMES, whole_number

LIVE_SECONDS: Final = 3
"""Time after which a page asks again while something is trained."""

IDLE_SECONDS: Final = 10
"""Time after which a page asks again while nothing is trained."""

SAID: Final = {
    "start": "The training begins. It is a process of its own and shows here in some seconds.",
    "stop": "The training was stopped.",
    "use": "The version is in use from now on.",
}
"""What people are told after they have changed something."""


class ModelViews:
    """The pages about models.

    Args:
        project: Gives the project once the server runs.
        moment: What is known of it.
    """

    def __init__(self, project: Callable[[], Project], moment: Kept[Moment]) -> None:
        self._project, self._moment = project, moment

    def quality(self, request: Request) -> Response:
        """How good proposals and versions are, and what more labels will bring."""
        moment = self._moment.now()
        if moment is None:
            return page(request, "reading.html", {})
        versions = by_version(moment.overview) if moment.overview else []
        marks = {"proposals": Drawings.mark(versions)}
        for name, every in moment.versions.items():
            marks[f"versions {name}"] = Drawings.mark([(one.number, one.dice) for one in every])
        for name, learning in moment.learning.items():
            marks[f"learning {name}"] = Drawings.mark(learning.points)
        content = {
            "here": "Quality",
            "moment": moment,
            "versions": versions,
            "months": by_month(moment.overview) if moment.overview else [],
            "trends": {name: trend(every) for name, every in moment.versions.items()},
            "on_one_scan": {name: measured_on_one_scan(every) for name, every in moment.versions.items()},
            "marks": marks,
            "troubles": moment.troubles,
        }
        return page(request, "quality.html", content, live=IDLE_SECONDS)

    def training(self, request: Request) -> Response:
        """What is trained, how it goes, and how it went."""
        moment = self._moment.now()
        if moment is None:
            return page(request, "reading.html", {})
        content = {
            "here": "Training",
            "moment": moment,
            "status_names": STATUS_NAMES,
            "marks": {
                f"training {task}": Drawings.mark((one.losses, one.validation))
                for task, one in moment.trainings.items()
            },
            "said": SAID.get(request.query_params.get("said", ""), ""),
            "troubles": moment.troubles,
        }
        runs = (
            any(one.runs for one in moment.trainings.values()) or bool(moment.busy) or bool(content["said"])
        )
        return page(request, "training.html", content, live=LIVE_SECONDS if runs else IDLE_SECONDS)

    async def train(self, request: Request) -> Response:
        """Start or stop a training."""
        if not may(request, Role.ADMIN):
            return told(request, "Not allowed", "Starting and stopping a training takes the role admin.", 403)
        form = await _form(request)
        try:
            if form.get("act") == "stop":
                await self._project().stop()
            elif form.get("task") not in self._project().trainings:
                return told(request, "Not found", "There is no such task.", 404)
            elif unwell := self._project().unwell():
                return told(request, "That does not work now", f"{unwell}. Nothing can be trained", 507)
            else:
                options: dict[str, Any] = {
                    "minutes": whole_number(form.get("minutes"), 0),
                    "start_from": form.get("start_from", "published model"),
                    "only_approved": form.get("only_approved") == "yes",
                }
                await self._project().start(form["task"], options)
        except HTTPException as error:
            return told(request, "That does not work now", str(error.detail), error.status_code)
        except DiffclError as error:
            return told(request, "That does not work now", str(error), 409)
        self._moment.forget()
        act = "stop" if form.get("act") == "stop" else "start"
        return RedirectResponse(f"{root_of(request)}/study/training?said={act}", 303)

    def versions(self, request: Request) -> Response:
        """The versions of every model."""
        moment = self._moment.now()
        if moment is None:
            return page(request, "reading.html", {})
        said = SAID.get(request.query_params.get("said", ""), "")
        content = {"here": "Versions", "moment": moment, "said": said, "troubles": moment.troubles}
        return page(request, "versions.html", content)

    def version(self, request: Request) -> Response:
        """One version: its scores and its card."""
        name, one, _ = self._wanted(request.query_params)
        if one is None:
            return told(request, "Not found", "There is no such version, or it is damaged.", 404)
        folder = self._project().store.version_folder(name, one.number)
        card = folder / "card.md"
        text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else "It has no card."
        doubt = (folder / DOUBT_PICTURE).is_file()
        content = {"here": "Versions", "name": name, "one": one, "card": text, "doubt": doubt}
        return page(request, "version.html", content)

    def doubt(self, request: Request) -> Response:
        """The picture of how well the doubt of a version finds what is wrong."""
        name, one, _ = self._wanted(request.query_params)
        file = self._project().store.version_folder(name, one.number) / DOUBT_PICTURE if one else None
        if file is None or not file.is_file():
            return told(request, "Not found", "There is no such picture.", 404)
        return FileResponse(file, media_type="image/png")

    def ask_to_use(self, request: Request) -> Response:
        """Ask whether another version shall be in use."""
        if not may(request, Role.ADMIN):
            return told(request, "Not allowed", "Putting a version into use takes the role admin.", 403)
        name, one, used = self._wanted(request.query_params)
        if one is None:
            return told(request, "Not found", "There is no such version, or it is damaged.", 404)
        return page(request, "use.html", {"here": "Versions", "name": name, "one": one, "used": used})

    async def use(self, request: Request) -> Response:
        """Put another version into use."""
        if not may(request, Role.ADMIN):
            return told(request, "Not allowed", "Putting a version into use takes the role admin.", 403)
        name, one, _ = self._wanted(await _form(request))
        if one is None:
            return told(request, "Not found", "There is no such version, or it is damaged.", 404)
        try:
            await run_in_threadpool(self._project().store.switch, name, one.number)
        except DiffclError as error:
            return told(request, "That does not work now", str(error), 409)
        self._moment.forget()
        return RedirectResponse(f"{root_of(request)}/study/versions?said=use", 303)

    def _wanted(self, asked: Any) -> tuple[str, VersionEntry | None, VersionEntry | None]:
        """Name of a model, the version that is asked for, and the one in use; None for what is not there."""
        name, number = asked.get("model", ""), asked.get("version", "")
        moment = self._moment.now()
        every = moment.versions.get(name, ()) if moment else ()
        one = next((one for one in every if str(one.number) == number and one.info is not None), None)
        return name, one, next((one for one in every if one.in_use), None)


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form that a page sends."""
    return dict(parse_qsl((await request.body()).decode("utf-8", errors="replace"), keep_blank_values=True))
