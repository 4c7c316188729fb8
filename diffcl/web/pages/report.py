"""The report of an annotation project: one HTML file with figures and tables, for a meeting or a paper's supplement."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any, Final

from diffcl.errors import UsageError
from diffcl.evaluation.charts import THEMES
from diffcl.files import write_text
from diffcl.models.metadata import ModelInfo
from diffcl.models.registry import ModelRegistry
from diffcl.recipe import Recipe
from diffcl.studies.folder import FolderStudies
from diffcl.studies.overview import Overview, OverviewReader
from diffcl.studies.training import StudyTraining
from diffcl.version import version
from diffcl.web.pages.drawings import Drawings
from diffcl.web.pages.project import Moment, Project, ProjectReader
from diffcl.web.pages.sums import by_class, by_month, by_version, last_days
from diffcl.web.pages.templates import FOLDER, environment
from diffcl.web.pages.words import STATE_NAMES, plural

FEW: Final = 20
"""Validation scans below which a mean says little."""


def write_report(studies: Path, out: Path, *folders: Path) -> None:
    """Write the report of a studies folder, also while it is served.

    Args:
        studies: The folder.
        out: The HTML file.
        folders: Of the models; those of the studies themselves are looked into first.

    Raises:
        UsageError: If there is no such folder, as for an archive, or the file is to be of another kind.
        OutputError: If it cannot be written.
    """
    if studies.parts[:1] in (("http:",), ("https:",)):
        raise UsageError(
            "the archive",
            "a server that serves it writes its report",
            "Open /study/report there, and save or print it",
        )
    if not studies.is_dir():
        raise UsageError(studies, "no such folder", "Name the folder of scans that was served")
    if out.suffix.lower() not in (".html", ".htm"):
        raise UsageError(
            out, "is not an HTML file", "Name one, as in report.html; a browser prints it as PDF"
        )
    project = _project(studies, *folders)
    moment = ProjectReader(lambda: project).read()
    write_text(out, report_text(moment, studies.name, Drawings()))


def report_text(moment: Moment, name: str, drawings: Drawings) -> str:
    """The report of a project, as HTML.

    Args:
        moment: What is known of it.
        name: Of the studies.
        drawings: Draw its charts.
    """
    overview = moment.overview or Overview()
    used = {
        model: next((one for one in every if one.in_use and one.info), None)
        for model, every in moment.versions.items()
    }
    infos = {model: one.info for model, one in used.items() if one is not None and one.info is not None}
    content: dict[str, Any] = {
        "name": name,
        "made": datetime.now(timezone.utc).isoformat(timespec="minutes"),
        "program": version(),
        "css": (FOLDER / "style.css").read_text(encoding="utf-8"),
        "moment": moment,
        "overview": overview,
        "state_names": STATE_NAMES,
        "agreement": agreement_of(overview),
        "people": sorted({event.by or "unknown" for event in overview.events}),
        "days": last_days(overview),
        "versions": by_version(overview),
        "months": by_month(overview),
        "classes": by_class(overview),
        "methods": [methods(info) for info in infos.values()],
        "unknown": not_known(overview, moment, infos),
        "chart": partial(_chart, drawings, moment),
        "troubles": moment.troubles,
    }
    return environment().get_template("report.html").render(**content)


def agreement_of(overview: Overview) -> str:
    """How far people agree where two have outlined a scan, as a sentence; empty where nobody has."""
    newest = {event.image: event.agreement for event in overview.events if event.agreement is not None}
    if not newest:
        return ""
    low, high = min(newest.values()), max(newest.values())
    spread = f" ({low:.3f} to {high:.3f})" if len(newest) > 1 else ""
    return (
        f"On {plural(len(newest), 'scan')} that two people have outlined, their labels agree with a mean Dice of "
        f"{mean(newest.values()):.3f}{spread}."
    )


def methods(info: ModelInfo) -> str:
    """How a version was made and measured, as a sentence for a paper."""
    counts, scores = info.learned_from, info.scores.get("ensemble")
    training = info.provenance.get("training") or {}
    steps, seed = (
        training.get("steps", info.recipe.training.steps),
        training.get("seed", info.recipe.training.seed),
    )
    spacing = " x ".join(f"{edge:g}" for edge in info.recipe.grid.spacing)
    told = (
        f"{info.recipe.title or info.name} ({', '.join(label.name for label in info.recipe.labels)}) was segmented by "
        f"{info.name} version {info.version}, an ensemble of a convolutional and a diffusion network by Diff-CL "
        f"(diffcl {info.provenance.get('diffcl', version())}) with {plural(counts['labelled'], 'labelled scan')} and "
        f"{plural(counts['unlabelled'], 'unlabelled scan')}, {steps} steps, seed {seed}, at {spacing} mm"
    )
    if not scores:
        return f"{told}; it was not validated."
    told += (
        f"; on {plural(scores['scans'], 'validation scan')}, on which settings and weights were chosen too, "
    )
    if scores["scans"] == 1:
        return f"{told}the Dice was {scores['dice']:.3f}."
    return (
        f"{told}the mean Dice was {scores['dice']:.3f} (standard deviation "
        f"{scores['dice_sd']:.3f}, worst {scores['dice_worst']:.3f})."
    )


def not_known(overview: Overview, moment: Moment, infos: Mapping[str, ModelInfo]) -> list[str]:
    """What the numbers of a project do not say, one sentence each."""
    found = [
        "How good the model is on scans of other hospitals, scanners and patients: all scans are of these studies."
    ]
    for name, info in infos.items():
        scores = info.scores.get("ensemble")
        if not scores:
            found.append(f"How good {name} version {info.version} is: it was not validated.")
            continue
        found.append(
            f"How good {name} is on scans that had no part in choosing it: settings and weights were chosen on its "
            f"{plural(scores['scans'], 'validation scan')}, so expect a little less."
        )
        if scores["scans"] < FEW:
            found.append(
                f"How good {name} is within a narrow margin: {plural(scores['scans'], 'scan')} "
                f"{'is' if scores['scans'] == 1 else 'are'} few."
            )
    for name, learning in moment.learning.items():
        if not learning.comparable:
            found.append(
                f"Which part of the change between versions of {name} is due to other validation scans."
            )
    if not any(event.agreement is not None for event in overview.events):
        found.append("How far two people agree: no scan was outlined by two.")
    if overview.labelled and not overview.counts["approved"]:
        found.append("Whether the labels are right: no reviewer has approved one.")
    if any(event.dice is not None for event in overview.events):
        found.append("What people would have outlined without a proposal: they leave alone what looks right.")
    if overview.counts["unusable"]:
        found.append(f"What is in {plural(overview.counts['unusable'], 'scan')} that cannot be used.")
    return found


def _project(studies: Path, *folders: Path) -> Project:
    """The project of a folder that nobody serves: nothing can be started, and nothing comes next.

    Models of the other folders are of it only if they proposed something.
    """
    store, opened = ModelRegistry(studies / "models", *folders), FolderStudies(studies, list)
    proposed_by = {event.model for event in OverviewReader(opened).read().events}
    begun = sorted(file.parent.name for file in (studies / "training").glob("*/progress.json"))
    names = {*ModelRegistry(studies / "models").names(), *(proposed_by & set(store.names()))}

    async def refuse(*_: object) -> None:
        raise UsageError("report", "starts and stops nothing")

    def recipe(name: str) -> Recipe:
        return store.info(name).recipe

    return Project(
        studies=opened,
        store=store,
        models=lambda: names,
        tasks=list,
        trainings={
            name: StudyTraining(name, partial(recipe, name), store, studies / "training" / name)
            for name in begun
        },
        upcoming=lambda *_: (),
        failures=dict,
        start=refuse,
        stop=refuse,
    )


def _chart(drawings: Drawings, moment: Moment, name: str, about: str = "") -> dict[str, str]:
    """A chart in the colours of each theme, as an address that holds it; empty where there is nothing to draw."""
    drawn = {title: drawings.draw(name, about, moment, theme) for title, theme in THEMES.items()}
    return {
        title: f"data:image/svg+xml;base64,{b64encode(text.encode()).decode()}"
        for title, text in drawn.items()
        if text
    }
