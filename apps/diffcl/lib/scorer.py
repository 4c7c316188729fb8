"""Keeps the scores of the scans up to date: in the background, in a process of the lowest priority."""

from __future__ import annotations

import atexit
import hashlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Condition, Event, Lock, Thread
from typing import Any

from fastapi import HTTPException
from monailabel.interfaces.datastore import Datastore

from diffcl.active_learning import ScanScore
from diffcl.errors import DiffclError, GoneError
from diffcl.inference.served_models import ServedModels
from diffcl.models.metadata import read_info
from lib.archive import ArchiveDatastore
from lib.datastore import StudyDatastore
from lib.scores import Edition, Scorable, ScoreBook, State

logger = logging.getLogger(__name__)

FIRST_SECONDS = 10.0
"""Time after the start that belongs to the first requests."""

LOOK_SECONDS = 2.0
"""How often it is looked whether scans or the model have changed."""

REST_SECONDS = 60.0
"""Time after a failure, of an archive for example, until it is looked again."""

LOWEST = 19
"""Nice value of the process: it gets what nobody else wants."""

Look = Callable[[dict[str, Any]], dict[str, Any]]
"""Answers the questions of `diffcl.active_learning.worker`."""


class LookingProcess:
    """`diffcl.active_learning.worker` as a process, started when something is asked, and again if it has died.

    A process rather than a thread, because a thread of low priority that holds Python's lock keeps the whole
    server waiting.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._lock = Lock()

    def __call__(self, question: dict[str, Any]) -> dict[str, Any]:
        """Ask; a scan on which the process dies has an error as well."""
        with self._lock:
            process = self._process
            if process is None:
                process = self._process = _start()
        with suppress(OSError, ValueError):  # it has ended
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(question) + "\n")
            process.stdin.flush()
            answer: dict[str, Any] = json.loads(process.stdout.readline())
            return answer
        self.close()
        return {"error": "the process that looked at it has ended"}

    def close(self) -> None:
        """End the process."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()


def _start() -> subprocess.Popen[str]:
    """One thread; a session of its own, so that Ctrl-C in the server's terminal does not reach it."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "diffcl.active_learning.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env=environment, text=True, start_new_session=True,
    )  # fmt: skip
    os.setpriority(os.PRIO_PROCESS, process.pid, LOWEST)
    with suppress(OSError):  # where Linux shares the processor among sessions first, whatever is nice in them
        Path(f"/proc/{process.pid}/autogroup").write_text(str(LOWEST), encoding="utf-8")
    return process


class Scorer:
    """Scores every scan of a datastore once a version of the model, and again when it changes.

    Labelled scans come first, for the others are compared with them; then the others in an order that has
    nothing to do with their names, so that those scored so far are a fair sample.

    Args:
        models: Gives the versions.
        name: Of the model that scores; None scores nothing.
        datastore: Gives the scans.
        book: Keeps the scores.
        device: Where the model computes.
        look: Looks at a scan.

    Attributes:
        asked: Whether anybody has asked for the next scan. No series of an archive is fetched before.
    """

    def __init__(
        self,
        models: ServedModels,
        name: str | None,
        datastore: Callable[[], Datastore],
        book: ScoreBook,
        device: str = "cpu",
        look: Look | None = None,
    ) -> None:
        self.book = book
        self.asked = False
        self._models = models
        self._name = name
        self._datastore = datastore
        self._device = device
        self._look = look or LookingProcess()
        self._failed: set[tuple[Edition, str, State]] = set()
        self._stopped = Event()
        self._busy = 0
        self._idle = Condition()

    def start(self) -> None:
        """Begin; ends with the program."""
        Thread(target=self._run, name="scorer", daemon=True).start()
        atexit.register(self.stop)

    def stop(self) -> None:
        """End."""
        self._stopped.set()
        with self._idle:
            self._idle.notify_all()
        if isinstance(self._look, LookingProcess):
            self._look.close()

    @contextmanager
    def steps_aside(self) -> Iterator[None]:
        """No scan is begun during the block: somebody waits for an answer."""
        with self._idle:
            self._busy += 1
        try:
            yield
        finally:
            with self._idle:
                self._busy -= 1
                self._idle.notify_all()

    def update(self) -> int:
        """Score every scan that has no score yet; the number of those that were looked at.

        Ends early when another version becomes the current one.
        """
        found = self._edition()
        datastore = self._datastore()
        if found is None or (isinstance(datastore, ArchiveDatastore) and not self.asked):
            return 0
        if not isinstance(datastore, StudyDatastore | ArchiveDatastore):
            return 0
        edition, question = found
        self.book.open(edition)
        images = datastore.to_score()
        looked, failed = 0, set()
        for image in _in_order(images, datastore.get_labeled_images()):
            state = _state(images[image])
            if state is None or (edition, image, state) in self._failed:
                failed.add(image)
                continue
            if self.book.has(edition, image, state):
                continue
            with self._idle:
                self._idle.wait_for(lambda: self._busy == 0 or self._stopped.is_set())
            now = self._edition()
            if self._stopped.is_set() or now is None or now[0] != edition:
                return looked
            answer = self._look_at(images[image], question)
            looked += 1
            if "error" in answer:
                logger.warning(f"{image} has no score: {answer['error']}")
                self._failed.add((edition, image, state))
                failed.add(image)
            elif _state(images[image]) == state:
                self.book.keep(edition, image, state, ScanScore.model_validate(answer))
        self.book.tidy(edition, images.keys() - failed)
        return looked

    def _look_at(self, scan: Scorable, question: dict[str, Any]) -> dict[str, Any]:
        """The answer about a scan; an error where it alone is at fault."""
        try:
            with scan.lent() as path:
                return self._look({**question, "scan": str(path)})
        except GoneError as error:
            return {"error": str(error)}

    def _run(self) -> None:
        self._stopped.wait(FIRST_SECONDS)
        while not self._stopped.is_set():
            try:
                looked = self.update()
                if looked:
                    logger.info(f"Scores of {looked} scans are new")
            except (DiffclError, OSError, HTTPException) as error:
                logger.error(f"Scans are not scored: {getattr(error, 'detail', error)}")
                self._stopped.wait(REST_SECONDS)
            self._stopped.wait(LOOK_SECONDS)

    def _edition(self) -> tuple[Edition, dict[str, Any]] | None:
        """With what to score now, and what the worker is told about it; None without a usable model."""
        untrained = self._models.untrained()
        if self._name in untrained:
            recipe = untrained[self._name]
            return Edition.of_recipe(recipe), {"recipe": recipe.model_dump(mode="json")}
        if self._name is None:
            return None
        try:
            folder = self._models.store.folder(self._name)
            edition = Edition.of_model(read_info(folder))
        except DiffclError:
            return None  # the server's log has it already
        return edition, {"model": str(folder), "device": self._device}


def _in_order(images: Collection[str], labelled: list[str]) -> list[str]:
    first = set(labelled)
    return sorted(images, key=lambda image: (image not in first, hashlib.sha256(image.encode()).digest()))


def _state(scan: Scorable) -> State | None:
    try:
        return scan.state()
    except DiffclError:
        return None  # removed meanwhile
