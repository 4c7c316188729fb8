"""Which scan comes next: strategies that rank the scans without a label and hand out the first that is free."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np

from diffcl.active_learning.distance_cache import DistanceCache
from diffcl.active_learning.scores import Known, ScoreBook
from diffcl.active_learning.selection import gains

HELD_SECONDS = 1800.0
"""How long a scan handed to one client is kept from others, as far as there are others."""

DEFAULT = "uncertain_diverse"
"""The strategy of a client that names none."""


class HandedOut:
    """Who was given which scan and when, so that two people get different scans."""

    def __init__(self) -> None:
        self._given: dict[str, tuple[object, float]] = {}
        self._lock = Lock()

    def hand_out(self, ranked: Sequence[str], client: object, *, again: bool) -> str:
        """The first scan of a ranking that nobody else holds; if all are held, the one held longest.

        Args:
            ranked: Ids, best first; not empty.
            client: Who asks.
            again: Whether the client may be given what it holds itself.
        """
        with self._lock:
            held = self._held(client if again else None)
            free = [image for image in ranked if image not in held]
            chosen = free[0] if free else min(ranked, key=lambda image: held[image])
            self._given[chosen] = (client, time.monotonic())
            return chosen

    def held_by_others(self, client: object) -> set[str]:
        """The scans that others have been given and may be outlining now; a client without a name is another."""
        with self._lock:
            return set(self._held(client))

    def _held(self, but_by: object) -> dict[str, float]:
        now = time.monotonic()
        return {
            image: since
            for image, (owner, since) in self._given.items()
            if now - since < HELD_SECONDS and (but_by is None or owner != but_by)
        }


@dataclass(frozen=True)
class Ranking:
    """Scans in the order in which they should be outlined.

    Attributes:
        images: Ids, best first.
        reason: Why, for people.
        scores: Of those that have one; the larger the better.
        notes: What else the answer says.
    """

    images: Sequence[str]
    reason: str
    scores: Mapping[str, float] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class NextScan:
    """The scan that somebody is to outline next.

    Attributes:
        image: Its id.
        reason: Why, for people.
        remaining: Scans without a label, this one included.
        score: The larger the better; None where the strategy gives none.
        rank: 1 for the best score; None without a score.
        notes: What else is told of the choice.
    """

    image: str
    reason: str
    remaining: int
    score: float | None = None
    rank: int | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Upcoming:
    """One of the scans that would be handed out next, nobody asking for another strategy meanwhile.

    Attributes:
        image: Its id.
        reason: Why, for people.
        score: As the strategy gives it; None for a scan that nothing is known of.
        doubt: Share of its proposal that is expected to be wrong, 0..1; None where that is not known.
        held: Whether it has been handed to somebody already.
    """

    image: str
    reason: str
    score: float | None = None
    doubt: float | None = None
    held: bool = False


class RankingStrategy:
    """A strategy that ranks the scans without a final label and hands out the first that is free."""

    reason = ""
    again = True
    """Whether a client that asks again without labelling gets the same scan."""

    def __init__(self, handed_out: HandedOut) -> None:
        self._handed_out = handed_out

    def next_scan(
        self, unlabelled: Collection[str], labelled: Collection[str], client: object
    ) -> NextScan | None:
        """The next scan for somebody; None when every scan has a label.

        Args:
            unlabelled: Ids of the scans that wait for a label.
            labelled: Ids of those that have one.
            client: Who asks; None for somebody without a name.
        """
        waiting = sorted(unlabelled)
        if not waiting:
            return None
        ranking = self.ranking(waiting, labelled, client)
        chosen = self._handed_out.hand_out(ranking.images, client, again=self.again)
        score = ranking.scores.get(chosen)
        if score is None:
            return NextScan(chosen, ranking.reason, len(waiting), notes=ranking.notes)
        rank = 1 + sum(other > score for other in ranking.scores.values())
        return NextScan(chosen, ranking.reason, len(waiting), round(score, 4), rank, ranking.notes)

    def ranking(self, waiting: list[str], labelled: Collection[str], client: object) -> Ranking:
        """Rank the scans.

        Args:
            waiting: Ids in alphabetical order, at least one.
            labelled: Ids of the scans that have a label.
            client: Who asks.
        """
        raise NotImplementedError


class First(RankingStrategy):
    """In alphabetical order."""

    reason = "First scan without a label, in alphabetical order"

    def ranking(self, waiting: list[str], labelled: Collection[str], client: object) -> Ranking:  # noqa: ARG002
        """Alphabetical."""
        return Ranking(waiting, self.reason)


class Random(RankingStrategy):
    """By chance; OHIF asks for no other."""

    reason = "Chosen at random among the scans without a label"
    again = False

    def ranking(self, waiting: list[str], labelled: Collection[str], client: object) -> Ranking:  # noqa: ARG002
        """Shuffled."""
        return Ranking(random.sample(waiting, len(waiting)), self.reason)


class ScoredStrategy(RankingStrategy):
    """A strategy by what is known of the scans. No scan is looked at for it; it takes what there is.

    Scans that nothing is known of come last, in an order that has nothing to do with their names.
    """

    def __init__(self, handed_out: HandedOut, book: ScoreBook, cache: DistanceCache | None = None) -> None:
        super().__init__(handed_out)
        self._book = book
        self._distances = cache or DistanceCache()

    def ranking(self, waiting: list[str], labelled: Collection[str], client: object) -> Ranking:
        """Best score first."""
        mixed = sorted(waiting, key=lambda image: hashlib.sha256(image.encode()).digest())
        known = self._book.known(waiting)
        if known is None:
            return Ranking(mixed, "No scan has been looked at yet: chosen by chance", notes={"scored": 0})
        candidates = [image for image in mixed if image in known.entries]
        outlined = [image for image in labelled if image in known.entries]
        taken = self._handed_out.held_by_others(client) & set(candidates)
        scores, reason = self.scores(candidates, known, [*outlined, *taken])
        rest = [image for image in mixed if image not in known.entries]
        ranked = sorted(candidates, key=lambda image: -scores[image])
        edition = known.edition
        by = f"by {edition.model} version {edition.version}" if edition.version else "without a model yet"
        notes = {
            "scored": len(candidates),
            "model": edition.model,
            "version": edition.version,
        }
        return Ranking([*ranked, *rest], f"{reason}, {by}", scores, notes)

    def upcoming(self, waiting: Collection[str], labelled: Collection[str], count: int) -> list[Upcoming]:
        """The scans that come next, each chosen as if those before it had a label. Nothing is handed out.

        Args:
            waiting: Ids of the scans that wait for a label.
            labelled: Ids of those that have one.
            count: How many, at most.
        """
        known = self._book.known(waiting) if waiting else None
        mixed = sorted(waiting, key=lambda image: hashlib.sha256(image.encode()).digest())
        held = self._handed_out.held_by_others(None)
        found: list[Upcoming] = []
        if known is not None:
            left = [image for image in mixed if image in known.entries]
            done = [image for image in labelled if image in known.entries]
            while left and len(found) < count:
                scores, reason = self.scores(left, known, done)
                best = max(left, key=lambda image: scores[image])
                doubt = known.entries[best].doubt
                found.append(Upcoming(best, reason, round(scores[best], 4), doubt, best in held))
                left.remove(best)
                done.append(best)
        seen = {one.image for one in found}
        chance = "Not looked at yet: chosen by chance"
        rest = (image for image in mixed if image not in seen and not (known and image in known.entries))
        return [*found, *(Upcoming(image, chance, held=image in held) for image in rest)][:count]

    def scores(self, candidates: list[str], known: Known, done: list[str]) -> tuple[dict[str, float], str]:
        """The score of each candidate, and what it means.

        Args:
            candidates: Scans without a label of which something is known.
            known: What is known of them.
            done: Scans with a label, or in somebody's hands.
        """
        raise NotImplementedError


class Diverse(ScoredStrategy):
    """The scan that stands for most of those that are unlike the labelled ones."""

    reason = "Stands for the most scans that are unlike all labelled ones"

    def scores(self, candidates: list[str], known: Known, done: list[str]) -> tuple[dict[str, float], str]:
        """Share of the way from all scans to the nearest labelled one that this scan would save, 0..1."""
        return self._coverage(dict.fromkeys(candidates, 1.0), known, done), Diverse.reason

    def _coverage(self, weights: Mapping[str, float], known: Known, done: list[str]) -> dict[str, float]:
        """The score of each scan that has a weight."""
        images = sorted({*weights, *done})  # the same until a scan comes, goes or is scored anew
        between = self._distances.between(known, images)
        place = {image: index for index, image in enumerate(images)}
        outlined = [place[image] for image in done]
        count = np.array([weights.get(image, 0.0) for image in images])
        reach = between[:, outlined].min(axis=1) if outlined else np.full(len(images), between.max())
        saved = gains(between, outlined, count) / max(float(count @ reach), 1e-9)
        return {image: float(saved[place[image]]) for image in weights}


class Uncertain(Diverse):
    """The scan whose proposal is expected to be the worst."""

    reason = "The most doubtful proposal"

    def scores(self, candidates: list[str], known: Known, done: list[str]) -> tuple[dict[str, float], str]:
        """Doubt, 0..1; without a model, as `Diverse`."""
        if known.edition.version == 0:
            return super().scores(candidates, known, done)
        return {image: known.entries[image].doubt or 0.0 for image in candidates}, Uncertain.reason


class UncertainDiverse(Diverse):
    """The scan that stands for most of the doubt in scans that are unlike the labelled ones."""

    reason = "Stands for the most doubtful scans that are unlike all labelled ones"

    def scores(self, candidates: list[str], known: Known, done: list[str]) -> tuple[dict[str, float], str]:
        """As `Diverse`, with each scan counted by its doubt."""
        if known.edition.version == 0:
            return super().scores(candidates, known, done)
        doubts = {image: known.entries[image].doubt or 0.0 for image in candidates}
        return self._coverage(doubts, known, done), UncertainDiverse.reason


def strategies(book: ScoreBook) -> dict[str, RankingStrategy]:
    """All strategies by name, the default first; two people get different scans whichever they ask."""
    handed_out, cache = HandedOut(), DistanceCache()
    return {
        DEFAULT: UncertainDiverse(handed_out, book, cache),
        "uncertain": Uncertain(handed_out, book, cache),
        "diverse": Diverse(handed_out, book, cache),
        "random": Random(handed_out),
        "first": First(handed_out),
    }
