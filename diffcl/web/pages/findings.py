"""What the numbers of a project say at a glance: whether a model gets better, and which scans are odd."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Final

from diffcl.publishing.version_list import VersionEntry, same_validation
from diffcl.studies.overview import LabelEvent, Overview
from diffcl.studies.training_overview import TrainingOverview
from diffcl.web.pages.words import dice, without_name

SAME: Final = 0.005
"""Two mean Dice that differ by less are told as the same."""

AGREES_LITTLE: Final = 0.7
"""Dice of the labels of two people below which a scan is odd."""

CHANGED_MUCH: Final = 0.5
"""Dice of a proposal with what a person made of it below which a scan is odd."""


ON_ONE_SCAN: Final = " A single scan validated it, so this may be chance."
"""What is said of scores that one scan gave."""


def trend(versions: Sequence[VersionEntry]) -> str:
    """Whether a model gets better, in a sentence; empty where no version was validated.

    Args:
        versions: Of the model, oldest first.
    """
    measured = [(one.dice, one) for one in versions if one.dice is not None]
    if not measured:
        return ""
    reached, newest = measured[-1]
    told = f"version {newest.number} reaches a validation Dice of {dice(reached)}"
    chance = ON_ONE_SCAN if measured_on_one_scan(versions) else ""
    if len(measured) == 1:
        return f"So far {told}. The next version will show whether it gets better.{chance}"
    best, former = max(measured[:-1], key=lambda one: one[0])
    if abs(reached - best) < SAME:
        answer, compared = "About the same", f"as good as version {former.number}"
    elif reached > best:
        answer, compared = "Better", f"{reached - best:.3f} more than version {former.number}"
    else:
        answer, compared = "Not better", f"{best - reached:.3f} less than version {former.number}"
    if chance:
        answer = "Too early to tell"
    used = next((one.number for one in versions if one.in_use), newest.number)
    more = "" if used == newest.number else f" Version {used} is in use."
    if not same_validation(list(versions)):
        more += " Not all versions were validated on the same scans."
    return f"{answer}: {told}, {compared}, the best before it.{chance}{more}"


def meaning_of_dice(overview: Overview | None) -> str:
    """What a Dice is, and how well people agree in this project, where two have outlined the same scan."""
    told = "Dice is 1 where two outlines are the same, and 0 where they share nothing."
    newest = {event.image: event for event in overview.events if not event.removed} if overview else {}
    agreed = [event.agreement for event in newest.values() if event.agreement is not None]
    if not agreed:
        return told
    of = f", the median of {len(agreed)} scans" if len(agreed) > 1 else ""
    return f"{told} Two people who outlined the same scan here agree with {dice(median(agreed))}{of}."


def measured_on_one_scan(versions: Sequence[VersionEntry]) -> bool:
    """Whether a single scan validated some of the versions, so that their scores say little."""
    return any(one.dice is not None and one.scores.get("scans") == 1 for one in versions)


def odd_scans(overview: Overview, trainings: Mapping[str, TrainingOverview]) -> dict[str, str]:
    """Why somebody should look at a scan, by its id: those first that cannot be used.

    Args:
        overview: Of the project.
        trainings: Of each task.
    """
    newest = {event.image: event for event in overview.events if not event.removed}
    states = overview.scans.values()
    found = [
        (one.image, f"cannot be used: {without_name(one.why, one.image)}")
        for one in states
        if one.state == "unusable"
    ]
    for task, training in trainings.items():
        found += [
            (image, f"left out of the last training of {task}: {without_name(why, image)}")
            for image, why in training.refused.items()
            if image in overview.scans and why != overview.scans[image].why
        ]
    found += [(one.image, _flagged(newest.get(one.image))) for one in states if one.state == "flagged"]
    found += [(event.image, _little(event)) for event in newest.values() if _little(event)]
    found += [
        (one.image, warning)
        for one in states
        if one.state == "proposed" and one.proposal is not None
        for warning in one.proposal.warnings
    ]
    why: dict[str, str] = {}
    for image, reason in found:
        why[image] = f"{why[image]}; {reason}" if image in why else reason
    return why


def _flagged(event: LabelEvent | None) -> str:
    """Who flagged a label, and why, as far as that is known."""
    told = f"flagged by {(event and event.reviewer) or 'a reviewer'}"
    return f"{told}: {event.comment}" if event and event.comment else told


def _little(event: LabelEvent) -> str:
    """What of the label of a person is unlike that of another or unlike its proposal; empty for nothing."""
    told = []
    if event.agreement is not None and event.agreement < AGREES_LITTLE:
        people = f"{event.by} and {event.compared_by}" if event.by and event.compared_by else "two people"
        told.append(f"{people} agree with a Dice of {dice(event.agreement)} only")
    if event.dice is not None and event.dice < CHANGED_MUCH:
        told.append(f"its proposal was changed much: Dice {dice(event.dice)}")
    return "; ".join(told)
