"""What the proposals of each version of a model were worth, by the labels that people submitted for them."""

from __future__ import annotations

from diffcl.studies.overview import OverviewReader
from diffcl.studies.protocol import Studies


def proposal_scores(studies: Studies, task: str) -> dict[int, dict[str, float]]:
    """Mean Dice between a proposal and the newest label that was submitted for it, by version and scan.

    A label that is partly drawn, removed or flagged tests nothing.

    Args:
        studies: Their label histories know what each label began with.
        task: Its proposals alone.

    Raises:
        ArchiveError: If an archive is behind them that fails.
    """
    found: dict[int, dict[str, float]] = {}
    for event in OverviewReader(studies).read().events:
        whole = not (event.removed or event.drawn or event.status == "flagged")
        if whole and event.dice is not None and event.model == task and event.task in ("", task):
            found.setdefault(event.model_version, {})[event.image] = event.dice
    return found
