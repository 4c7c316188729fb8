"""Which scan comes next: the strategies that the viewers offer."""

from __future__ import annotations

import random
import time
from threading import Lock
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.strategy import Strategy

HELD_SECONDS = 1800.0
"""How long a scan handed to one client is kept from others, as far as there are others."""


class HandedOut:
    """Who was given which scan and when, so that two people get different scans."""

    def __init__(self) -> None:
        self._given: dict[str, tuple[object, float]] = {}
        self._lock = Lock()

    def hand_out(self, ranked: list[str], client: object, *, again: bool) -> str:
        """The first scan of a ranking that nobody else holds; if all are held, the one held longest.

        Args:
            ranked: Ids, best first; not empty.
            client: Who asks.
            again: Whether the client may be given what it holds itself.
        """
        with self._lock:
            now = time.monotonic()
            held = {
                image: since
                for image, (owner, since) in self._given.items()
                if now - since < HELD_SECONDS and not (again and owner == client)
            }
            free = [image for image in ranked if image not in held]
            chosen = free[0] if free else min(ranked, key=lambda image: held[image])
            self._given[chosen] = (client, now)
            return chosen


class RankingStrategy(Strategy):
    """A strategy that ranks the scans without a final label and hands out the first that is free."""

    reason = ""
    again = True
    """Whether a client that asks again without labelling gets the same scan."""

    def __init__(self, handed_out: HandedOut) -> None:
        super().__init__(self.reason)
        self._handed_out = handed_out

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        """The next scan with the reason and how many remain; None when every scan has a label."""
        waiting = sorted(datastore.get_unlabeled_images())
        if not waiting:
            return None
        chosen = self._handed_out.hand_out(self.ranking(waiting), request.get("client_id"), again=self.again)
        return {"id": chosen, "reason": self.reason, "remaining": len(waiting)}

    def ranking(self, images: list[str]) -> list[str]:
        """The ids, best first."""
        raise NotImplementedError


class First(RankingStrategy):
    """In alphabetical order."""

    reason = "First scan without a label, in alphabetical order"

    def ranking(self, images: list[str]) -> list[str]:
        """Alphabetical."""
        return images


class Random(RankingStrategy):
    """By chance; OHIF asks for no other."""

    reason = "Chosen at random among the scans without a label"
    again = False

    def ranking(self, images: list[str]) -> list[str]:
        """Shuffled."""
        return random.sample(images, len(images))
