"""Keeps the scores of the scans up to date: in the background, in a process of the lowest priority."""

from __future__ import annotations

import atexit
import hashlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from threading import Condition, Event, Lock, Thread, Timer
from typing import Any, NamedTuple

from diffcl.active_learning.scores import Edition, ScanScore, Scorable, ScoreBook
from diffcl.errors import (
    ArchiveDownError,
    ArchiveError,
    DiffclError,
    GoneError,
    OutputError,
    failure_sentence,
)
from diffcl.inference.served_models import ServedModels
from diffcl.io.fingerprint import State
from diffcl.models.metadata import read_info

logger = logging.getLogger(__name__)

FIRST_SECONDS = 10.0
"""Time after the start that belongs to the first requests."""

LOOK_SECONDS = 2.0
"""How often it is looked whether scans or the model have changed."""

REST_SECONDS = 60.0
"""Time after a failure, of an archive for example, until it is looked again."""

LONGEST_SECONDS = 3600.0
"""Time that one scan may take; one that takes longer, in a library that loops for example, has no score."""

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
            limit = Timer(LONGEST_SECONDS, process.kill)
            limit.start()
            try:
                process.stdin.write(json.dumps(question) + "\n")
                process.stdin.flush()
                answer: dict[str, Any] = json.loads(process.stdout.readline())
                return answer
            finally:
                limit.cancel()
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
    return subprocess.Popen(
        [sys.executable, "-m", "diffcl.active_learning.worker", str(os.getpid())],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True, start_new_session=True,
    )  # fmt: skip


class ScansToScore(NamedTuple):
    """The scans that scores are wanted of.

    Attributes:
        scans: By their ids.
        labelled: Ids of scans that have a label; the others are compared with them.
    """

    scans: Mapping[str, Scorable]
    labelled: Collection[str]


class Scorer:
    """Scores every scan once a version of the model, and again when it changes.

    Labelled scans come first, for the others are compared with them; then the others in an order that has
    nothing to do with their names, so that those scored so far are a fair sample.

    Args:
        models: Gives the versions.
        name: Of the model that scores; None scores nothing.
        scans: Gives the scans; None while nobody wants their scores.
        book: Keeps the scores.
        device: Where the model computes.
        look: Looks at a scan.

    Attributes:
        book: Keeps the scores.
        failures: Why scans could not be looked at when that was last tried, by their ids.
    """

    def __init__(
        self,
        models: ServedModels,
        name: str | None,
        scans: Callable[[], ScansToScore | None],
        book: ScoreBook,
        device: str = "cpu",
        look: Look | None = None,
    ) -> None:
        self.book = book
        self._models = models
        self._name = name
        self._scans = scans
        self._device = device
        self._look = look or LookingProcess()
        self.failures: dict[str, str] = {}
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

        Ends early when another version becomes the current one. A scan that fails has no score until it changes.

        Raises:
            ArchiveError: If the archive refused some scans, after all others were looked at, or does not answer.
            OutputError: If a score or a scan cannot be written.
        """
        found, wanted = self._edition(), self._scans()
        if found is None or wanted is None:
            return 0
        edition, question = found
        self.book.open(edition)
        failed: set[str] = set()
        refusals: list[ArchiveError] = []
        looked = 0
        for image, state in self._unknown(edition, wanted, failed):
            with self._idle:
                self._idle.wait_for(lambda: self._busy == 0 or self._stopped.is_set())
            now = self._edition()
            if self._stopped.is_set() or now is None or now[0] != edition:
                return looked
            try:
                answer = self._look_at(image, wanted.scans[image], question)
            except ArchiveDownError:
                raise
            except ArchiveError as error:
                refusals.append(error)
                failed.add(image)
                continue
            looked += 1
            if "error" in answer:
                logger.warning(f"{image} has no score: {answer['error']}")
                self.failures[image] = str(answer["error"])
                self._failed.add((edition, image, state))
                failed.add(image)
            elif _state(wanted.scans[image]) == state:
                self.failures.pop(image, None)
                self.book.keep(edition, image, state, ScanScore.model_validate(answer))
        self.book.tidy(edition, wanted.scans.keys() - failed)
        if refusals:
            raise refusals[0]
        return looked

    def _unknown(
        self, edition: Edition, wanted: ScansToScore, failed: set[str]
    ) -> Iterator[tuple[str, State]]:
        """The scans that have no score as they are now; those that failed before, or are gone, go into `failed`."""
        for image in _in_order(wanted):
            state = _state(wanted.scans[image])
            if state is None or (edition, image, state) in self._failed:
                failed.add(image)
            elif not self.book.has(edition, image, state):
                yield image, state

    def _look_at(self, image: str, scan: Scorable, question: dict[str, Any]) -> dict[str, Any]:
        """The answer about a scan; an error where it alone is at fault.

        Raises:
            ArchiveError: If the archive refuses it, which it may not do another time.
            OutputError: If this machine has no room for it.
        """
        try:
            with scan.lent() as path:
                return self._look({**question, "scan": str(path)})
        except GoneError as error:
            return {"error": str(error)}
        except (ArchiveError, OutputError, OSError):
            raise
        except Exception as error:  # noqa: BLE001  one scan never stops the others
            return {"error": failure_sentence(image, error)}

    def _run(self) -> None:
        self._stopped.wait(FIRST_SECONDS)
        while not self._stopped.is_set():
            try:
                looked = self.update()
                if looked:
                    logger.info(f"Scores of {looked} scans are new")
            except Exception as error:  # noqa: BLE001  the thread lives as long as the server
                logger.error(f"Scans are not scored. {failure_sentence('Scores', error)}")
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


def _in_order(wanted: ScansToScore) -> list[str]:
    first = set(wanted.labelled)
    return sorted(
        wanted.scans, key=lambda image: (image not in first, hashlib.sha256(image.encode()).digest())
    )


def _state(scan: Scorable) -> State | None:
    try:
        return scan.state()
    except DiffclError:
        return None  # removed meanwhile
