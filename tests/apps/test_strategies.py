from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from diffcl.active_learning import ScanScore
from diffcl.active_learning.scores import Edition, ScoreBook
from lib.activelearning.strategies import strategies


@pytest.fixture
def book(tmp_path: Path) -> ScoreBook:
    """A book in which a version of `organ` has scored two scans."""
    book, edition = ScoreBook(tmp_path), Edition("organ", 3, "abc")
    book.open(edition)
    for image, doubt in (("a", 0.2), ("b", 0.7)):
        book.keep(edition, image, ((1, 1),), ScanScore(doubt=doubt, features=(doubt,)))
    return book


def waiting(*images: str) -> Any:
    """A datastore in which these scans have no label."""
    return SimpleNamespace(
        get_unlabeled_images=lambda: list(images),
        get_labeled_images=lambda: ["c"],
        studies=SimpleNamespace(to_review=list),
    )


def test_the_answer_is_what_viewers_read(book: ScoreBook) -> None:
    assert strategies(book)["uncertain"]({"client_id": "ann"}, waiting("a", "b")) == {
        "id": "b",
        "reason": "The most doubtful proposal, by organ version 3",
        "remaining": 2,
        "score": 0.7,
        "rank": 1,
        "scored": 2,
        "model": "organ",
        "version": 3,
    }


def test_a_task_has_its_own_scans(book: ScoreBook) -> None:
    studies = SimpleNamespace(waiting=lambda task: [f"{task} scan"], labelled=lambda _: [])
    answer = strategies(book)["first"]({"task": "heart"}, SimpleNamespace(studies=studies))
    assert answer is not None
    assert answer["id"] == "heart scan"


def test_a_strategy_without_scores_tells_none(book: ScoreBook) -> None:
    answer = strategies(book)["first"]({}, waiting("b", "a"))
    assert answer is not None
    assert set(answer) == {"id", "reason", "remaining"}


def test_two_clients_get_different_scans(book: ScoreBook) -> None:
    strategy = strategies(book)["first"]
    answers = [strategy({"client_id": client}, waiting("a", "b")) for client in ("ann", "bob")]
    assert [answer and answer["id"] for answer in answers] == ["a", "b"]


def test_nothing_is_given_when_all_have_labels(book: ScoreBook) -> None:
    assert [strategy({}, waiting()) for strategy in strategies(book).values()] == [None] * 6


def test_viewers_show_why_each_strategy_chooses(book: ScoreBook) -> None:
    assert all(strategy.info()["description"] for strategy in strategies(book).values())
