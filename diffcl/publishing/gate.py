"""The gate before publishing: a candidate is compared with the model in use, on the same scans.

The rule, in this order:
1. There is no model of that name, or it has other classes: the candidate is published.
2. There are validation scans: both predict them alike, each with weights that have not learned from them, and the
   candidate is published unless its mean Dice is more than the margin below the other's.
3. There are none, because too few scans are labelled to keep some: the candidate is published if it learned from at
   least as many labelled scans as the model in use. An upload is not: nobody can say what it learned from.

Where few scans judge, the reason also says what the proposals of the version in use were worth by the labels that
people submitted for them. That is a test of that version alone: the labels teach the candidate.

A candidate that is not published stays in the store as a version that is not in use.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from scipy import stats

from diffcl.errors import DiffclError
from diffcl.models.metadata import ModelInfo, read_info
from diffcl.models.registry import ModelRegistry
from diffcl.models.weights import load_judged
from diffcl.publishing.candidate import Candidate, add_version, make_candidate
from diffcl.publishing.ensemble_weight import ensemble_scores
from diffcl.publishing.proposals import proposals_in_words
from diffcl.training.run import read_run

FEW_JUDGES = 5
"""Scans that judge, below which proposals are told of as well."""

Tested = Mapping[int, Mapping[str, float]]
"""Dice of proposals by the labels that were submitted for them, by version and scan."""


@dataclass(frozen=True)
class Decision:
    """What the gate decided, and why. It stands in the provenance of the version.

    Attributes:
        published: Whether the candidate is in use now.
        reason: For people, with how sure the comparison is and what they should know of the labels that taught.
        candidate: Its mean Dice on the validation scans, 0..1; None without such scans.
        current: That of the version that was in use; None without one, or without such scans.
        compared_with: Number of the version that was in use; None without one.
    """

    published: bool
    reason: str
    candidate: float | None = None
    current: float | None = None
    compared_with: int | None = None


@dataclass(frozen=True)
class Version:
    """What became of a candidate.

    Attributes:
        number: Of the new version, published or not.
        decision: Of the gate.
    """

    number: int
    decision: Decision


def publish_if_not_worse(
    run: Path,
    name: str,
    store: ModelRegistry,
    *,
    margin: float = 0.0,
    beside: Sequence[Path] = (),
    tested: Tested | None = None,
) -> Version:
    """Make a run a new version, and the one in use if the gate lets it pass.

    A run that went through the gate already, but was stopped before anybody was told, keeps its version.

    Args:
        run: Folder of a run of `train`.
        name: Name of the model.
        store: Where it goes.
        margin: How much lower the candidate's mean Dice may be, 0..1.
        beside: Runs with the same validation scans, for the card.
        tested: What is known of the proposals of former versions.

    Raises:
        UsageError: If the folder holds no run, or one that trained CS alone.
        DataError: If the run has no weights yet.
    """
    before = _before(read_run(run).id, name, store)
    return before or pass_gate(make_candidate(run, beside=beside), name, store, margin=margin, tested=tested)


def pass_gate(
    candidate: Candidate,
    name: str,
    store: ModelRegistry,
    *,
    margin: float = 0.0,
    tested: Tested | None = None,
) -> Version:
    """Keep a candidate as a new version, and put it into use if the rule says so."""
    decision = _decide(candidate, name, store, margin)
    remarks = list(candidate.model.info.provenance.get("remarks", []))
    if decision.compared_with is not None and len(candidate.validation_scans) < FEW_JUDGES:
        used = store.info(name).provenance
        taught = {*used.get("labelled", []), *used.get("taught_last", [])}
        told = proposals_in_words(tested or {}, decision.compared_with, taught)
        remarks = [told, *remarks] if told else remarks
    decision = replace(decision, reason=" ".join([decision.reason, *remarks]))
    folder = add_version(candidate, name, store, asdict(decision))
    return Version(int(folder.name), decision)


def _before(run: str, name: str, store: ModelRegistry) -> Version | None:
    """The version that a run became before it was stopped, put into use if that was decided."""
    if not run or name not in store.names():
        return None
    number = store.versions(name)[-1]
    try:
        origin = read_info(store.version_folder(name, number)).provenance
    except DiffclError:  # damaged, so not one that was just written
        return None
    if origin.get("run") != run:
        return None
    decision = Decision(**origin["decision"])
    if decision.published:
        store.switch(name, number)
    return Version(number, decision)


def _decide(candidate: Candidate, name: str, store: ModelRegistry, margin: float) -> Decision:
    own = candidate.model.info
    if name not in store.names():
        dice = None if candidate.ensemble is None else round(candidate.ensemble.dice, 4)
        return Decision(True, "Published: there was no model yet.", dice)
    used = store.info(name)
    number = used.version
    if _classes(used) != _classes(own):
        return Decision(True, f"Published: version {number} has other classes.", compared_with=number)
    if used.recipe.sequences_in_words != own.recipe.sequences_in_words:
        return Decision(True, f"Published: version {number} takes other sequences.", compared_with=number)
    new = candidate.ensemble
    if new is None:
        own_count, count = (len(info.provenance.get("labelled", [])) for info in (own, used))
        uploaded = "uploaded" in own.provenance
        passed = own_count >= count and not uploaded
        seen = "unknown scans" if uploaded else f"{own_count} labelled, version {number} from {count}"
        reason = f"too few labelled scans to compare; it learned from {seen}."
        return Decision(passed, f"{_outcome(passed)}: {reason}", compared_with=number)
    old = ensemble_scores(load_judged(store.folder(name)), candidate.validation_scans)
    dice, current = round(new.dice, 4), round(old.dice, 4)
    passed = dice >= current - margin
    pairs = zip(new.cases, old.cases, strict=True)
    sure = certainty([one.dice - other.dice for one, other in pairs])
    taught = {one.name for one in candidate.validation_scans} & {*used.provenance.get("labelled", [])}
    if taught:
        sure += f" {len(taught)} of them taught version {number}, which speaks for it."
    return Decision(passed, f"{verdict(dice, current, number, passed)} {sure}", dice, current, number)


def certainty(differences: Sequence[float]) -> str:
    """How sure a comparison on the same scans is, in words: the interval that holds the true mean difference.

    >>> certainty([0.02])
    'Only one scan was compared, so the difference may be chance.'
    >>> certainty([0.05, 0.06, 0.04, 0.05])
    'The difference on 4 scans is +0.050, with 95 % certainty between +0.037 and +0.063.'
    >>> certainty([0.05, -0.06, 0.04])
    'The difference on 3 scans is +0.010, with 95 % certainty between -0.141 and +0.161: it may be chance.'

    Args:
        differences: Dice of the new version less that of the one in use, of each scan.

    Source:
        Student's t for paired samples.
    """
    count = len(differences)
    if count == 1:
        return "Only one scan was compared, so the difference may be chance."
    mean = float(np.mean(differences))
    error = float(np.std(differences, ddof=1)) / math.sqrt(count)
    reach = float(stats.t.ppf(0.975, count - 1)) * error
    chance = ": it may be chance." if abs(mean) <= reach else "."
    return (
        f"The difference on {count} scans is {mean:+.3f}, with 95 % certainty between {mean - reach:+.3f} and "
        f"{mean + reach:+.3f}{chance}"
    )


def verdict(dice: float, current: float, number: int, passed: bool) -> str:
    """A comparison in words.

    >>> verdict(0.81, 0.84, 3, False)
    'Not published: Dice 0.810 on the validation scans, version 3 has 0.840.'
    """
    return f"{_outcome(passed)}: Dice {dice:.3f} on the validation scans, version {number} has {current:.3f}."


def _outcome(passed: bool) -> str:
    return "Published" if passed else "Not published"


def _classes(info: ModelInfo) -> list[str]:
    return [entry.name for entry in info.recipe.labels]
