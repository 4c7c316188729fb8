"""The versions of a model, as people compare them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffcl.errors import DiffclError
from diffcl.evaluation.forecast import Point
from diffcl.models.metadata import ModelInfo, read_info
from diffcl.models.registry import ModelRegistry

CONFIDENT = 1.96
"""Standard errors on each side of a mean, between which it lies in 95 of 100 cases."""


@dataclass(frozen=True)
class VersionEntry:
    """A version of a model.

    Attributes:
        number: Of the version.
        in_use: Whether it answers now.
        info: Its description; None where it is damaged.
        trouble: Why it cannot be used; empty where it can.
    """

    number: int
    in_use: bool
    info: ModelInfo | None
    trouble: str = ""

    @property
    def decision(self) -> dict[str, Any]:
        """What the gate decided, and why; see `diffcl.publishing.gate.Decision`."""
        found = self.info.provenance.get("decision") if self.info else None
        return found if isinstance(found, dict) else {}

    @property
    def scores(self) -> dict[str, Any]:
        """Of the ensemble on the validation scans; empty where there are none."""
        found = self.info.scores.get("ensemble") if self.info else None
        return found if isinstance(found, dict) else {}

    @property
    def classes(self) -> dict[str, dict[str, Any]]:
        """The same of each class, see `diffcl.evaluation.scores.Scores.by_class`; empty where that was not kept."""
        found = self.info.provenance.get("classes") if self.info else None
        listed = found.items() if isinstance(found, dict) else ()
        return {name: one for name, one in listed if isinstance(one, dict)}

    @property
    def dice(self) -> float | None:
        """Mean Dice on the validation scans, 0..1."""
        found = self.scores.get("dice")
        return float(found) if isinstance(found, int | float) else None

    @property
    def margin(self) -> float | None:
        """By how much the mean over all scans of the kind may differ from `dice`, in 95 of 100 cases."""
        sd, scans = self.scores.get("dice_sd"), self.scores.get("scans")
        if not isinstance(sd, int | float) or not isinstance(scans, int) or scans < 2:
            return None
        return CONFIDENT * sd / math.sqrt(scans - 1)

    @property
    def labelled(self) -> int:
        """How many labelled scans taught it."""
        return self.info.learned_from["labelled"] if self.info else 0


class VersionReader:
    """Reads the versions of models, each description once as long as its file stays the same.

    Args:
        store: Where they are.
    """

    def __init__(self, store: ModelRegistry) -> None:
        self._store = store
        self._known: dict[Path, tuple[int, ModelInfo]] = {}

    def read(self, name: str) -> list[VersionEntry]:
        """All versions of a model, oldest first; none where there is no model of that name."""
        if name not in self._store.names():
            return []
        used, found = self._store.in_use(name), []
        for number in self._store.versions(name):
            info, trouble = None, ""
            try:
                info = self._info(self._store.version_folder(name, number))
            except DiffclError as error:
                trouble = f"{error.what}. {error.next_step}"
            found.append(VersionEntry(number, str(number) == used, info, trouble))
        return found

    def _info(self, folder: Path) -> ModelInfo:
        file = folder / "model.json"
        changed = file.stat().st_mtime_ns if file.is_file() else 0
        known = self._known.get(folder)
        if known is None or known[0] != changed:
            known = changed, read_info(folder)
            self._known[folder] = known
        return known[1]


def curve(versions: list[VersionEntry]) -> list[Point]:
    """What each version was worth with how many labels; those that were not validated are left out."""
    return [
        Point(version.labelled, version.dice)
        for version in versions
        if version.dice is not None and version.labelled > 0
    ]


def same_validation(versions: list[VersionEntry]) -> bool:
    """Whether all versions that were validated were so on the same scans."""
    sets = {
        frozenset(map(str, version.info.provenance.get("validation", ())))
        for version in versions
        if version.info and version.dice is not None
    }
    return len(sets) <= 1
