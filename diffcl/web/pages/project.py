"""What the pages show: an annotation project that a server serves, and what is known of it at one moment."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, TypeVar

import numpy as np

from diffcl.active_learning.ranking import Upcoming
from diffcl.errors import DataError, DiffclError, NotFoundError
from diffcl.evaluation.forecast import Forecast, LabelsNeeded, Point, Range
from diffcl.models.registry import ModelRegistry
from diffcl.publishing.version_list import VersionEntry, VersionReader, curve, same_validation
from diffcl.recipe import Recipe
from diffcl.studies.overview import Overview, OverviewReader
from diffcl.studies.protocol import Studies
from diffcl.studies.training import StudyTraining
from diffcl.studies.training_overview import TrainingOverview

logger = logging.getLogger(__name__)

NEXT: Final = 8
"""How many of the next scans are shown."""

TARGETS: Final = (0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.92, 0.94, 0.96)
"""Dice that people name as an aim."""

WANTED: Final = 3
"""How many of the next ones are forecast."""

MOST_CURVES: Final = 100
"""Forecasts that are kept."""

FARTHER: Final = 2
"""A forecast is drawn to so many times the labels that there are."""

Found = TypeVar("Found")


@dataclass(frozen=True)
class Project:
    """A project that is served.

    Attributes:
        studies: Its scans and labels.
        store: Its models.
        models: Gives the names of the models that answer.
        tasks: Gives the recipes whose classes a label may hold.
        trainings: One for each task that can be trained.
        upcoming: Gives the next scans: of those that wait, of those that have a label, so many.
        failures: Gives why scans could not be looked at, by their ids.
        start: Starts a training of a task, with options.
        stop: Stops the training at work.
        has_viewer: Whether OHIF is served.
        tell: Takes from a sentence what no client should read, such as where a file lies.
        busy: Gives the tasks of which a training waits or runs.
        unwell: Gives why no label can be kept and nothing trained; empty where that can be.
    """

    studies: Studies
    store: ModelRegistry
    models: Callable[[], Collection[str]]
    tasks: Callable[[], Sequence[Recipe]]
    trainings: Mapping[str, StudyTraining]
    upcoming: Callable[[Collection[str], Collection[str], int], Sequence[Upcoming]]
    failures: Callable[[], Mapping[str, str]]
    start: Callable[[str, Mapping[str, Any]], Awaitable[None]]
    stop: Callable[[], Awaitable[None]]
    has_viewer: bool = False
    tell: Callable[[str], str] = str
    busy: Callable[[], Collection[str]] = tuple
    unwell: Callable[[], str] = str


@dataclass(frozen=True)
class Learning:
    """What more labels will bring a model.

    Attributes:
        points: What was measured.
        labels: Numbers of labels.
        ranges: The forecast of what will be measured with each.
        needed: How many more labels each of some Dice takes.
        comparable: Whether all that was measured was measured on the same scans.
    """

    points: Sequence[Point]
    labels: Sequence[int]
    ranges: Sequence[Range]
    needed: Sequence[LabelsNeeded]
    comparable: bool

    @classmethod
    def of(cls, versions: list[VersionEntry]) -> Learning | None:
        """What the versions of a model say; None where they say nothing."""
        try:
            forecast = Forecast(curve(versions))
        except DataError:
            return None
        ahead = np.geomspace(max(1, forecast.points[0].labels), FARTHER * forecast.labels, 16)
        labels = sorted({round(count) for count in ahead})
        best = max(point.dice for point in forecast.points)
        needed: list[LabelsNeeded] = []
        for target in [one for one in TARGETS if one > best][:WANTED]:
            needed.append(forecast.needed(target))
            if needed[-1].middle is None:  # nor are higher ones
                break
        ranges = [forecast.dice(count) for count in labels]
        return cls(forecast.points, labels, ranges, needed, same_validation(versions))


@dataclass(frozen=True)
class Moment:
    """What is known of a project at one moment.

    Attributes:
        overview: Its scans and labels; None where they cannot be read.
        upcoming: The scans that come next.
        trainings: Of each task.
        versions: Of each model, oldest first.
        learning: What more labels will bring each model of which that can be said.
        series: StudyInstanceUID by id of the scans that OHIF can show.
        troubles: What could not be read, one sentence each.
        busy: Tasks of which a training waits or runs, whether or not it has told anything yet.
    """

    overview: Overview | None = None
    upcoming: Sequence[Upcoming] = ()
    trainings: Mapping[str, TrainingOverview] = field(default_factory=dict)
    versions: Mapping[str, Sequence[VersionEntry]] = field(default_factory=dict)
    learning: Mapping[str, Learning] = field(default_factory=dict)
    series: Mapping[str, str] = field(default_factory=dict)
    troubles: Sequence[str] = ()
    busy: Collection[str] = ()


class ProjectReader:
    """Reads what is known of a project. Not safe in threads.

    Args:
        project: Gives the project.
    """

    def __init__(self, project: Callable[[], Project]) -> None:
        self._project = project
        self._overview: OverviewReader | None = None
        self._versions: VersionReader | None = None
        self._learned: dict[tuple[Point, ...], Learning | None] = {}

    def read(self) -> Moment:
        """What is known now. What cannot be read is among the troubles, and the rest is there."""
        project = self._project()
        self._overview = self._overview or OverviewReader(project.studies)
        self._versions = self._versions or VersionReader(project.store)
        reader, versions = self._overview, self._versions
        troubles = [told] if (told := project.unwell()) else []

        def tried(read: Callable[[], Found], otherwise: Found) -> Found:
            try:
                return read()
            except NotFoundError:
                return otherwise
            except DiffclError as error:
                troubles.append(project.tell(str(error)))
            except OSError as error:
                logger.warning("a page misses something: %s", error)
                troubles.append(f"studies: something cannot be read ({error.strerror})")
            return otherwise

        failures = {image: project.tell(why) for image, why in project.failures().items()}
        overview = tried(lambda: reader.read(failures), None)
        upcoming: Sequence[Upcoming] = ()
        if overview is not None:
            waiting = [one.image for one in overview.scans.values() if one.state in ("waiting", "proposed")]
            labelled = [
                one.image
                for one in overview.scans.values()
                if one.state in ("submitted", "approved", "flagged")
            ]
            upcoming = tried(lambda: project.upcoming(waiting, labelled, NEXT), ())
        nothing: Mapping[str, str] = {}
        nothing_yet: list[VersionEntry] = []
        models = {
            name: tried(partial(versions.read, name), nothing_yet)
            for name in sorted({*project.models(), *project.trainings})
        }
        return Moment(
            overview,
            upcoming,
            {
                name: tried(partial(_of_training, one, project.tell), TrainingOverview(name))
                for name, one in project.trainings.items()
            },
            models,
            {name: found for name, every in models.items() if (found := self._learn(every)) is not None},
            tried(project.studies.visible_series, nothing) if project.has_viewer else nothing,
            list(dict.fromkeys(troubles)),
            project.busy(),
        )

    def _learn(self, versions: list[VersionEntry]) -> Learning | None:
        """What more labels will bring; computed once for the same versions."""
        key = tuple(curve(versions))
        if key not in self._learned:
            if len(self._learned) > MOST_CURVES:
                self._learned.clear()
            self._learned[key] = Learning.of(versions)
        return self._learned[key]


def _of_training(training: StudyTraining, tell: Callable[[str], str]) -> TrainingOverview:
    """How a task is trained, in sentences that clients may read."""
    found = training.overview()
    if not found.told:
        return found
    refused = {image: tell(why) for image, why in found.refused.items()}
    message = tell(str(found.told.get("message", "")))
    return replace(found, told={**found.told, "message": message, "refused": refused})
