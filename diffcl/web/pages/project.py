"""What the pages show: an annotation project that a server serves, and what is known of it at one moment."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

from diffcl.active_learning.ranking import Upcoming
from diffcl.errors import DiffclError, NotFoundError
from diffcl.models.registry import ModelRegistry
from diffcl.publishing.version_list import VersionEntry, VersionReader
from diffcl.recipe import Recipe
from diffcl.studies.overview import Overview, OverviewReader
from diffcl.studies.protocol import Studies
from diffcl.studies.training import StudyTraining
from diffcl.studies.training_overview import TrainingOverview

logger = logging.getLogger(__name__)

NEXT: Final = 8
"""How many of the next scans are shown."""

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


@dataclass(frozen=True)
class Moment:
    """What is known of a project at one moment.

    Attributes:
        overview: Its scans and labels; None where they cannot be read.
        upcoming: The scans that come next.
        trainings: Of each task.
        versions: Of each model, oldest first.
        series: StudyInstanceUID by id of the scans that OHIF can show.
        troubles: What could not be read, one sentence each.
    """

    overview: Overview | None = None
    upcoming: Sequence[Upcoming] = ()
    trainings: Mapping[str, TrainingOverview] = field(default_factory=dict)
    versions: Mapping[str, Sequence[VersionEntry]] = field(default_factory=dict)
    series: Mapping[str, str] = field(default_factory=dict)
    troubles: Sequence[str] = ()


class ProjectReader:
    """Reads what is known of a project. Not safe in threads.

    Args:
        project: Gives the project.
    """

    def __init__(self, project: Callable[[], Project]) -> None:
        self._project = project
        self._overview: OverviewReader | None = None
        self._versions: VersionReader | None = None

    def read(self) -> Moment:
        """What is known now. What cannot be read is among the troubles, and the rest is there."""
        project = self._project()
        self._overview = self._overview or OverviewReader(project.studies)
        self._versions = self._versions or VersionReader(project.store)
        reader, versions, troubles = self._overview, self._versions, list[str]()

        def tried(read: Callable[[], Found], otherwise: Found) -> Found:
            try:
                return read()
            except NotFoundError:
                return otherwise
            except DiffclError as error:
                troubles.append(str(error))
            except OSError as error:
                logger.warning("a page misses something: %s", error)
                troubles.append(f"studies: something cannot be read ({error.strerror})")
            return otherwise

        overview = tried(lambda: reader.read(project.failures()), None)
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
        models = sorted({*project.models(), *project.trainings})
        return Moment(
            overview,
            upcoming,
            {name: tried(one.overview, TrainingOverview(name)) for name, one in project.trainings.items()},
            {name: tried(partial(versions.read, name), []) for name in models},
            tried(project.studies.visible_series, nothing) if project.has_viewer else nothing,
            troubles,
        )
