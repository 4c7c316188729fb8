from __future__ import annotations

import pytest

from lib.strategies import First, HandedOut, Random, RankingStrategy


class Waiting:
    """A datastore in which these scans have no label."""

    def __init__(self, *images: str) -> None:
        self.images = list(images)

    def get_unlabeled_images(self) -> list[str]:
        return self.images


@pytest.mark.parametrize("kind", [First, Random])
def test_two_people_get_different_scans(kind: type[RankingStrategy]) -> None:
    strategy = kind(HandedOut())
    store = Waiting("a", "b", "c")
    given = [strategy({"client_id": person}, store)["id"] for person in ("ann", "bob", "eve")]
    assert sorted(given) == ["a", "b", "c"]


@pytest.mark.parametrize("kind", [First, Random])
def test_two_strategies_do_not_give_out_the_same_scan(kind: type[RankingStrategy]) -> None:
    handed_out, store = HandedOut(), Waiting("a", "b")
    first = First(handed_out)({"client_id": "ann"}, store)["id"]
    assert kind(handed_out)({"client_id": "bob"}, store)["id"] != first


@pytest.mark.parametrize("kind", [First, Random])
def test_the_only_scan_is_given_to_everybody(kind: type[RankingStrategy]) -> None:
    strategy = kind(HandedOut())
    assert [strategy({"client_id": str(n)}, Waiting("a"))["id"] for n in range(5)] == ["a"] * 5


@pytest.mark.parametrize("kind", [First, Random])
def test_nothing_is_given_when_all_have_labels(kind: type[RankingStrategy]) -> None:
    assert kind(HandedOut())({}, Waiting()) is None


def test_chance_gives_another_scan_when_asked_again() -> None:
    strategy, store = Random(HandedOut()), Waiting(*"abcdef")
    assert len({strategy({}, store)["id"] for _ in range(6)}) == 6


def test_first_stays_with_its_scan() -> None:
    strategy, store = First(HandedOut()), Waiting("b", "a")
    assert [strategy({"client_id": "ann"}, store)["id"] for _ in range(3)] == ["a"] * 3


def test_the_answer_says_why_and_how_many_remain() -> None:
    answer = First(HandedOut())({}, Waiting("a", "b"))
    assert answer == {
        "id": "a",
        "reason": "First scan without a label, in alphabetical order",
        "remaining": 2,
    }
