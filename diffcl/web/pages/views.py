"""What each page shows. Nothing is computed here that takes long; see `diffcl.web.pages.kept`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from diffcl.errors import DiffclError
from diffcl.evaluation.charts import THEMES
from diffcl.io.fingerprint import state_of
from diffcl.studies.overview import STATES, LabelEvent, ScanState
from diffcl.studies.pictures import Picture, draw_scan
from diffcl.studies.protocol import Studies
from diffcl.web.pages.drawings import Drawings
from diffcl.web.pages.findings import meaning_of_dice, odd_scans, trend
from diffcl.web.pages.kept import Kept
from diffcl.web.pages.pictures import Pictures
from diffcl.web.pages.project import Moment, Project
from diffcl.web.pages.rendering import page, report_page, svg, told
from diffcl.web.pages.report import report_text
from diffcl.web.pages.sums import days_in_words, heading, last_days, sentence
from diffcl.web.pages.words import STATE_NAMES, STATUS_NAMES, whole_number

ON_A_PAGE: Final = 50
"""Scans of a page of the list."""

LIVE_SECONDS: Final = 2
"""Time after which a page that is open asks again."""

MAKING_SECONDS: Final = 1
"""Time after which a page asks again while a picture is made."""

SOON_SECONDS: Final = 0.5
"""Time after which a page asks again while what is known is read anew, so that the page may show what it was."""

MOST_ODD: Final = 12
"""Odd scans that are listed; the list of the scans has them all by their states."""

REPORT_SECONDS: Final = 10
"""How long a report is as good as a new one."""


class Views:
    """The pages of a project.

    Args:
        project: Gives it once the server runs.
        moment: What is known of it.
    """

    def __init__(self, project: Callable[[], Project], moment: Kept[Moment]) -> None:
        self._project, self._moment = project, moment
        self._drawings = Drawings()
        self._pictures = Pictures(self._draw)
        self._report = Kept(self._write_report, REPORT_SECONDS)

    def project(self, request: Request) -> Response:
        """Where the project stands, and what comes next."""
        moment = self._moment.now()
        if moment is None:
            return page(request, "reading.html", {})
        overview = moment.overview
        days = last_days(overview) if overview else {}
        left_out = {image for one in moment.trainings.values() for image in one.refused}
        states = overview.scans.values() if overview else ()
        waiting = {one.image for one in states if one.state in ("waiting", "proposed")}
        content: dict[str, Any] = {
            "here": "Project",
            "title": heading(overview, self._project().tasks()),
            "delay": self._delay(),
            "overview": overview,
            "sentence": sentence(overview, moment) if overview else "",
            "state_names": STATE_NAMES,
            "upcoming": moment.upcoming,
            "left_out": left_out,
            "left": len(waiting - left_out),
            "meaning": meaning_of_dice(overview),
            "models": {name: trend(every) for name, every in moment.versions.items()},
            "learning": moment.learning,
            "trainings": {task: one for task, one in moment.trainings.items() if one.told},
            "status_names": STATUS_NAMES,
            "odd": list(odd_scans(overview, moment.trainings).items()) if overview else [],
            "most_odd": MOST_ODD,
            "days": days,
            "days_alt": days_in_words(days),
            "version": Drawings.mark(days),
            "address": str(request.base_url).rstrip("/"),
            "viewer": bool(moment.series),
            "how_to_add": how_to_add(self._project()),
            "troubles": moment.troubles,
        }
        return page(
            request, "project.html", content, live=SOON_SECONDS if self._moment.late else LIVE_SECONDS
        )

    def _delay(self) -> int:
        """Seconds until an open page shows what others have changed; 0 where the studies themselves show it at once."""
        delay = self._project().studies.delay
        return ceil(delay + self._moment.rest + LIVE_SECONDS + SOON_SECONDS) if delay else 0

    def scans(self, request: Request) -> Response:
        """The list of the scans, by state and by a part of the name."""
        moment = self._moment.now()
        if moment is None:
            return page(request, "reading.html", {})
        state, wanted = request.query_params.get("state", ""), request.query_params.get("q", "")[:128]
        every = moment.overview.scans.values() if moment.overview else ()
        found = [
            scan
            for scan in every
            if (state not in STATES or scan.state == state) and wanted.casefold() in scan.image.casefold()
        ]
        pages = max(1, -(-len(found) // ON_A_PAGE))
        number = min(max(1, whole_number(request.query_params.get("page"), 1)), pages)
        content = {
            "here": "Scans",
            "state": state if state in STATES else "",
            "wanted": wanted,
            "state_names": STATE_NAMES,
            "found": len(found) if moment.overview else None,
            "scans": found[(number - 1) * ON_A_PAGE : number * ON_A_PAGE],
            "number": number,
            "pages": pages,
            "troubles": moment.troubles,
        }
        return page(request, "scans.html", content)

    def scan(self, request: Request) -> Response:
        """One scan: where it stands, what was proposed, and every version of its label."""
        moment = self._moment.now()
        if moment is None:
            return page(request, "reading.html", {})
        image = request.query_params.get("image", "")
        if moment.overview is None:
            said = moment.troubles[0] if moment.troubles else "The scans cannot be listed"
            return page(request, "told.html", {"here": "Scans", "title": "Not now", "said": said}, status=503)
        scan = moment.overview.scans.get(image)
        if scan is None:
            said = f"There is no scan {image[:128]}, or not any more."
            return page(
                request, "told.html", {"here": "Scans", "title": "Not found", "said": said}, status=404
            )
        events = moment.overview.of(image)
        mark, task = picture_of(self._project().studies, scan, events)
        found = self._pictures.get(image, mark, task)
        content = {
            "here": "Scans",
            "image": image,
            "scan": scan,
            "state_names": STATE_NAMES,
            "events": list(reversed(events)),
            "proposal": scan.proposal,
            "study": moment.series.get(image, ""),
            "picture": found if isinstance(found, Picture) else None,
            "no_picture": self._project().tell(found) if isinstance(found, str) else "",
            "mark": mark,
            "troubles": moment.troubles,
        }
        live = LIVE_SECONDS if found else MAKING_SECONDS
        return page(request, "scan.html", content, live=SOON_SECONDS if self._moment.late else live)

    def picture(self, request: Request) -> Response:
        """The picture of a scan."""
        image = request.query_params.get("image", "")
        found = self._pictures.kept(image)
        if not isinstance(found, Picture):
            return told(request, "Not found", "There is no such picture, or not yet.", 404)
        return Response(found.png, media_type="image/png")

    def _draw(self, image: str, task: str) -> Picture:
        project = self._project()
        return draw_scan(project.studies, image, project.tasks(), task)

    def report(self, request: Request) -> Response:
        """The report of the project, to be saved or printed."""
        text = self._report.now()
        return page(request, "reading.html", {}) if text is None or self._report.late else report_page(text)

    def _write_report(self) -> str | None:
        moment = self._moment.now()
        if moment is None:
            return None
        return report_text(moment, heading(moment.overview, self._project().tasks()), self._drawings)

    def chart(self, request: Request) -> Response:
        """One of the charts, in the colours of a theme."""
        moment = self._moment.now()
        theme = THEMES.get(request.query_params.get("theme", ""), THEMES["light"])
        name, about = request.path_params["name"], request.query_params.get("of", "")
        drawn = None if moment is None else self._drawings.draw(name, about, moment, theme)
        if drawn is None:
            return told(request, "Not found", "There is no such chart.", 404)
        return svg(drawn)


def picture_of(studies: Studies, scan: ScanState, events: Sequence[LabelEvent]) -> tuple[str, str]:
    """What changes when the picture of a scan does, and the task of what is in it."""
    state: object = ""
    if not studies.fetching_is_costly:
        try:
            state = state_of(studies.image_path(scan.image))
        except DiffclError:
            state = "gone"
    proposed_of = scan.proposal.task if scan.proposal else ""
    tasks = [event.task for event in reversed(events) if event.task] or [proposed_of]
    return Drawings.mark((state, [(one.version, one.time) for one in events], scan.proposal)), tasks[0]


def how_to_add(project: Project) -> str:
    """How scans come into a project that has none."""
    if project.studies.fetching_is_costly:
        return "The archive has no MR or CT series that fits: send one there, and it shows here by itself."
    return (
        "Put NIfTI, NRRD or MetaImage files into the folder of the studies, or upload them: they show here."
    )
