"""What is known of the scans for choosing the next one: kept on disk beside them, a file a scan.

STUDIES/scores/NAME/3-1f0c22aa/ID.json    doubt and features of a scan, by version 3 of the model NAME
STUDIES/scores/NAME/0-9b41e703/ID.json    features alone, of the time before there is a model
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from diffcl.files import make_folder, read_bytes, write_text
from diffcl.io.fingerprint import State
from diffcl.models.metadata import ModelInfo
from diffcl.recipe import Recipe

logger = logging.getLogger(__name__)

ENOUGH = 32
"""Scans from which a choice is made by the current version alone, though it has not seen all of them yet."""


class ScanScore(BaseModel):
    """What is known of one scan.

    Attributes:
        doubt: Share of the prediction that is expected to be wrong, 0..1; None where there is no model.
        features: What the scan is like; comparable between scans of the same model and recipe.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    doubt: float | None
    features: tuple[float, ...]


class Scorable(NamedTuple):
    """A scan that can be scored.

    Attributes:
        state: Tells what changes when the scan does; a `DiffclError` if it is gone.
        lent: Gives a file or folder of the scan for the time of a block.
    """

    state: Callable[[], State]
    lent: Callable[[], AbstractContextManager[Path]]


class Edition(NamedTuple):
    """With what scans are scored: a version of a model, or a recipe that has none yet.

    Attributes:
        model: Name of the model.
        version: Its version; 0 while there is none.
        key: Tells editions of the same number apart.
    """

    model: str
    version: int
    key: str

    @classmethod
    def of_model(cls, info: ModelInfo) -> Edition:
        """The edition of a version."""
        return cls(info.name, info.version, _digest(info.name, info.version, info.created))

    @classmethod
    def of_recipe(cls, recipe: Recipe) -> Edition:
        """The edition of a task without a model: how scans are prepared decides."""
        several = [one.model_dump_json() for one in recipe.sequences]
        return cls(
            recipe.name,
            0,
            _digest(recipe.grid.model_dump_json(), recipe.intensity.model_dump_json(), *several),
        )

    @property
    def folder(self) -> Path:
        """Where its scores are, inside the folder of all scores."""
        return Path(self.model) / f"{self.version}-{self.key}"


class Entry(NamedTuple):
    """What an edition knows of a scan.

    Attributes:
        state: Of the scan when it was looked at, see `Scorable`.
        doubt: 0..1; None without a model.
        features: float32.
    """

    state: State
    doubt: float | None
    features: NDArray[np.float32]


class Known(NamedTuple):
    """What a choice is made from.

    Attributes:
        edition: Whose scores they are.
        entries: Of every scan that it has scored.
        revision: Another number whenever the entries of an edition are others.
    """

    edition: Edition
    entries: Mapping[str, Entry]
    revision: int = 0


class _Record(BaseModel):
    """The file of a scan."""

    state: State
    score: ScanScore


class ScoreBook:
    """The scores of the scans of a studies folder. Safe in threads; read whole when an edition is opened.

    Args:
        folder: Where they are kept; made when needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._entries: dict[Edition, dict[str, Entry]] = {}
        self._revisions: dict[Edition, int] = {}
        self._changes = 0
        self._current: Edition | None = None
        self._lock = Lock()

    def open(self, edition: Edition) -> None:
        """Make an edition the current one, with what is on disk of it."""
        if edition == self._current:
            return
        entries = self._read(edition)
        with self._lock:
            if edition not in self._entries:
                self._entries[edition] = entries
                self._changed(edition)
            self._current = edition

    def has(self, edition: Edition, image: str, state: State) -> bool:
        """Whether a scan has been scored as it is now."""
        entry = self._entries.get(edition, {}).get(image)
        return entry is not None and entry.state == state

    def keep(self, edition: Edition, image: str, state: State, score: ScanScore) -> None:
        """Keep the score of a scan.

        Raises:
            OutputError: If it cannot be written; it is known until the program ends nevertheless.
        """
        with self._lock:
            self._entries.setdefault(edition, {})[image] = _entry(state, score)
            self._changed(edition)
        home = self._folder / edition.folder
        make_folder(home)
        write_text(home / f"{image}.json", _Record(state=state, score=score).model_dump_json() + "\n")

    def tidy(self, edition: Edition, images: Collection[str]) -> None:
        """Forget the scores of scans that are gone and, once all others are known, those of other editions."""
        with self._lock:
            entries = self._entries.get(edition, {})
            gone = [image for image in entries if image not in images]
            for image in gone:
                del entries[image]
            if gone:
                self._changed(edition)
            others = [other for other in self._entries if other != edition]
            complete = all(image in entries for image in images)
            if complete:
                for other in others:
                    del self._entries[other], self._revisions[other]
        for image in gone:
            (self._folder / edition.folder / f"{image}.json").unlink(missing_ok=True)
        home = self._folder / edition.model
        if complete and home.is_dir():
            for folder in home.iterdir():
                if folder.name != edition.folder.name:
                    shutil.rmtree(folder, ignore_errors=True)

    def known(self, images: Collection[str]) -> Known | None:
        """What to choose from among some scans; None before any of them is scored.

        The current edition's scores as soon as it knows them all or `ENOUGH` of them; until then those of the
        edition that knows most, so that a new version does not begin with nothing.
        """
        with self._lock:
            counts = {
                edition: sum(image in entries for image in images)
                for edition, entries in self._entries.items()
            }
            if not any(counts.values()):
                return None
            chosen = max(counts, key=lambda edition: (counts[edition], edition == self._current))
            if self._current is not None and counts[self._current] >= ENOUGH:
                chosen = self._current
            return Known(chosen, dict(self._entries[chosen]), self._revisions[chosen])

    def _changed(self, edition: Edition) -> None:
        """Note that the entries of an edition are others now; the lock is held."""
        self._changes += 1
        self._revisions[edition] = self._changes

    def _read(self, edition: Edition) -> dict[str, Entry]:
        found = {}
        folder = self._folder / edition.folder
        for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
            try:
                record = _Record.model_validate_json(read_bytes(path))
            except (OSError, ValidationError):
                logger.warning(f"{path}: cannot be read; the scan is scored again")
                continue
            found[path.stem] = _entry(record.state, record.score)
        return found


def _entry(state: State, score: ScanScore) -> Entry:
    return Entry(state, score.doubt, np.array(score.features, dtype=np.float32))


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:8]
