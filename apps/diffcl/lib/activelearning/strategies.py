"""MONAI Label's strategies for the next scan over the library's."""

from __future__ import annotations

from typing import Any

from monailabel.interfaces.tasks.strategy import Strategy

from diffcl.active_learning import ranking
from diffcl.active_learning.scores import ScoreBook
from diffcl.web.http_errors import refusals
from lib.datastores.datastore import StudiesDatastore


class RankedStrategy(Strategy):
    """Hands out the next scan as one of the library's strategies says."""

    def __init__(self, strategy: ranking.RankingStrategy) -> None:
        super().__init__(strategy.reason)
        self._strategy = strategy

    def __call__(self, request: dict[str, Any], datastore: StudiesDatastore) -> dict[str, Any] | None:
        """The next scan, with the reason, its rank and score, and how many remain; None when all have a label.

        Of a `task` that the request names, or else of any.
        """
        if request.get("task"):
            with refusals():
                studies, task = datastore.studies, str(request["task"])
                waiting, labelled = studies.waiting(task), studies.labelled(task)
        else:
            waiting, labelled = datastore.get_unlabeled_images(), datastore.get_labeled_images()
        found = self._strategy.next_scan(waiting, labelled, request.get("client_id"))
        if found is None:
            return None
        told = {"id": found.image, "reason": found.reason, "remaining": found.remaining, **found.notes}
        return told if found.score is None else {**told, "score": found.score, "rank": found.rank}


class ScoredStrategy(RankedStrategy):
    """A strategy by what is known of the scans, which can say what comes after the next one."""

    def __init__(self, strategy: ranking.ScoredStrategy) -> None:
        super().__init__(strategy)
        self.upcoming = strategy.upcoming


class ReviewStrategy(Strategy):
    """Hands out the scans whose label waits for a review, those first on which two people agree least."""

    def __init__(self) -> None:
        super().__init__("Its label waits for a review; those on which two people agree least come first")
        self._handed_out = ranking.HandedOut()

    def __call__(self, request: dict[str, Any], datastore: StudiesDatastore) -> dict[str, Any] | None:
        """The next scan to review, and how many remain; None when every label has been reviewed."""
        with refusals():
            waiting = datastore.studies.to_review()
        if not waiting:
            return None
        chosen = self._handed_out.hand_out(waiting, request.get("client_id"), again=True)
        return {"id": chosen, "reason": self.description, "remaining": len(waiting)}


def strategies(book: ScoreBook) -> dict[str, Strategy]:
    """All strategies by name, the default first."""
    ranked = {
        name: ScoredStrategy(one) if isinstance(one, ranking.ScoredStrategy) else RankedStrategy(one)
        for name, one in ranking.strategies(book).items()
    }
    return {**ranked, "review": ReviewStrategy()}
