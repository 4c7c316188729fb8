"""What the first page says at a glance: whether the model gets better, which scans are odd, what a training did."""

from __future__ import annotations

from pathlib import Path

import pytest
from pages import application, ask, project_of
from study_files import describe_version, empty_scans, keep_training, keep_versions, record

from diffcl.models import ModelRegistry
from diffcl.publishing.version_list import VersionReader
from diffcl.studies.overview import LabelEvent, Overview, ProposalNote, ScanState
from diffcl.studies.training_overview import TrainingOverview
from diffcl.web.pages.findings import meaning_of_dice, odd_scans, trend


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        ([], ""),
        ([None], ""),
        ([0.7], "So far version 1 reaches a validation Dice of 0.700."),
        (
            [0.7, 0.8],
            "Better: version 2 reaches a validation Dice of 0.800, 0.100 more than version 1, the best",
        ),
        (
            [0.8, 0.7, 0.75],
            "Not better: version 3 reaches a validation Dice of 0.750, 0.050 less than version 1",
        ),
        (
            [0.8, None, 0.802],
            "About the same: version 3 reaches a validation Dice of 0.802, as good as version 1",
        ),
    ],
    ids=["no version", "not validated", "the first", "better", "worse", "the same"],
)
def test_whether_a_model_gets_better_is_said_by_the_best_version_before(
    measured: list[float | None], said: str, tmp_path: Path
) -> None:
    for number, dice in enumerate(measured, start=1):
        describe_version(tmp_path, number, 2 * number, dice)
    found = trend(VersionReader(ModelRegistry(tmp_path)).read("organ"))
    assert found.startswith(said)
    assert bool(found) == bool(said)


def test_scores_of_a_single_scan_are_said_to_say_little(tmp_path: Path) -> None:
    for number, dice in enumerate((0.4, 0.6), start=1):
        describe_version(tmp_path / "store", number, 2 * number, dice, scans=1)
    empty_scans(tmp_path / "studies", ["a"])
    app = application(project_of(tmp_path / "studies", tmp_path / "store"))
    text = ask(app, "/").text
    assert "Too early to tell: version 2 reaches" in text
    assert "A single scan validated it, so this may be chance." in text
    assert "Only 1 scan without a label can be used." in text  # of those that the forecast asks for
    quality = ask(app, "/study/quality").text
    assert "Mean Dice on the validation scans." in quality  # and nothing of bars, of which there are none
    assert "A single scan validated some versions: the range does not tell how far" in quality


def test_what_a_dice_is_is_said_with_how_well_people_agree_here() -> None:
    told = "Dice is 1 where two outlines are the same, and 0 where they share nothing."
    assert meaning_of_dice(None) == told
    events = [
        LabelEvent(image, 1, "", "ann", agreement=agreement, removed=removed)
        for image, agreement, removed in (
            ("a", 0.7, False),
            ("b", 0.9, False),
            ("c", 0.1, True),
            ("d", None, False),
        )
    ]
    found = meaning_of_dice(Overview("", {}, events))
    assert (
        found == f"{told} Two people who outlined the same scan here agree with 0.800, the median of 2 scans."
    )


@pytest.mark.parametrize(("status", "said"), [("stopped", True), ("failed", True), ("done", False)])
def test_a_training_that_did_not_end_says_that_no_version_came_of_it(
    status: str, said: bool, tmp_path: Path
) -> None:
    empty_scans(tmp_path / "studies", ["a"])
    keep_training(tmp_path / "studies", status, message="It is over.")
    app = application(project_of(tmp_path / "studies", tmp_path / "store"))
    for place in ("/", "/study/training"):
        assert ("No version came of it." in ask(app, place).text) is said
    assert "What it learned from" in ask(app, "/study/training").text


def test_a_next_scan_that_the_last_training_left_out_says_so(tmp_path: Path) -> None:
    studies = tmp_path / "studies"
    empty_scans(studies, ["a", "b"])
    keep_training(studies, "done", refused={"b": "b.nii.gz: ends early"})
    text = ask(application(project_of(studies, tmp_path / "store")), "/").text
    assert text.count("; the last training left it out, see above") == 1


def test_the_version_in_use_is_named_where_it_is_not_the_newest(tmp_path: Path) -> None:
    describe_version(tmp_path, 1, 2, 0.8)
    describe_version(tmp_path, 2, 4, 0.7, published=False)
    assert trend(VersionReader(ModelRegistry(tmp_path)).read("organ")).endswith("Version 1 is in use.")


def test_a_scan_is_odd_for_each_of_its_reasons_and_others_are_not() -> None:
    scans = {
        "broken": ScanState("broken", "unusable", why="is empty"),
        "fine": ScanState("fine", "approved"),
        "flagged": ScanState("flagged", "flagged"),
        "commented": ScanState("commented", "flagged"),
        "new": ScanState("new", "waiting"),
        "warned": ScanState("warned", "proposed", proposal=ProposalNote(warnings=("tail is small",))),
    }
    events = (
        LabelEvent("flagged", 1, "2026-01-01", "ann", agreement=0.3),
        LabelEvent("flagged", 2, "2026-01-02", "bob", agreement=0.6, dice=0.4),
        LabelEvent(
            "commented",
            2,
            "2026-01-02",
            "bob",
            agreement=0.6,
            compared_by="ann",
            reviewer="carol",
            comment="the tail is missing",
        ),
        LabelEvent("fine", 1, "2026-01-01", "ann", agreement=0.2, dice=0.1),
        LabelEvent("fine", 2, "2026-01-02", "ann", agreement=0.9, dice=0.9),
    )
    training = TrainingOverview(
        "organ", {"refused": {"flagged": "its label has a hole", "gone": "gone", "broken": "is empty"}}
    )
    assert odd_scans(Overview("", scans, events), {"organ": training}) == {
        "broken": "cannot be used: is empty",
        "flagged": "left out of the last training of organ: its label has a hole; flagged by a reviewer; "
        "two people agree with a Dice of 0.600 only; its proposal was changed much: Dice 0.400",
        "commented": "flagged by carol: the tail is missing; bob and ann agree with a Dice of 0.600 only",
        "warned": "tail is small",
    }


def test_the_first_page_answers_what_people_ask_every_morning(tmp_path: Path) -> None:
    studies, store = tmp_path / "studies", tmp_path / "store"
    empty_scans(studies, ["a", "b", "c"])
    keep_versions(studies, "a", [record("2026-01-31", "ann", 0.3)])
    for number, (labelled, dice) in enumerate(((2, 0.747), (4, 0.823)), start=1):
        describe_version(store, number, labelled, dice)
    keep_training(studies, "done", message="Published: Dice 0.823.", start_ts=1_769_851_812)
    app = application(project_of(studies, store))
    assert "<strong>organ</strong>. Better: version 2 reaches" in ask(app, "/study/quality").text
    text = ask(app, "/").text
    for sentence in (
        "1 scan of 3 has a label. None was reviewed yet.",
        "Better: version 2 reaches a validation Dice of 0.823, 0.076 more than version 1",
        "more label",
        "begun 2026-01-31 09:30 UTC: <strong>Done</strong>. Published: Dice 0.823.",
        "a</a>: its proposal was changed much: Dice 0.300",
    ):
        assert sentence in text


def test_at_the_first_start_the_model_is_what_comes_later(tmp_path: Path) -> None:
    empty_scans(tmp_path / "studies", ["a"])
    text = ask(application(project_of(tmp_path / "studies", tmp_path / "store")), "/").text
    assert "No version was validated yet. Label some scans, submit them, and train." in text
    assert "No scan stands out" in text
