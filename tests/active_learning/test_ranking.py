from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from diffcl.active_learning import ScanScore, distance_cache, distances
from diffcl.active_learning.distance_cache import DistanceCache
from diffcl.active_learning.ranking import (
    DEFAULT,
    Diverse,
    First,
    HandedOut,
    NextScan,
    Random,
    RankingStrategy,
    ScoredStrategy,
    Uncertain,
    UncertainDiverse,
    strategies,
)
from diffcl.active_learning.scores import Edition, ScoreBook

SCORED = (Uncertain, Diverse, UncertainDiverse)
MODEL, NO_MODEL = Edition("organ", 3, "abc"), Edition("organ", 0, "abc")


class Waiting:
    """Studies in which these scans have no label."""

    def __init__(self, *images: str, labelled: tuple[str, ...] = ()) -> None:
        self.images = list(images)
        self.labelled = list(labelled)

    def ask(self, strategy: RankingStrategy, client: object = None) -> NextScan:
        """The next scan for a client."""
        found = strategy.next_scan(self.images, self.labelled, client)
        assert found is not None
        return found


def book_of(
    folder: Path, scans: dict[str, tuple[float | None, tuple[float, ...]]], edition: Edition = MODEL
) -> ScoreBook:
    """A book with doubt and features of these scans."""
    book = ScoreBook(folder)
    book.open(edition)
    for image, (doubt, features) in scans.items():
        book.keep(edition, image, ((1, 1),), ScanScore(doubt=doubt, features=features))
    return book


LINE: dict[str, tuple[float | None, tuple[float, ...]]] = {
    "a": (0.1, (0.0,)), "b": (0.2, (1.0,)), "c": (0.1, (2.0,)), "d": (0.9, (10.0,)), "e": (0.8, (10.5,)),
}  # fmt: skip
"""Five scans along one feature, in two groups, with the doubt of each."""


@pytest.mark.parametrize("kind", [First, Random])
def test_two_people_get_different_scans(kind: type[RankingStrategy]) -> None:
    strategy = kind(HandedOut())
    store = Waiting("a", "b", "c")
    given = [store.ask(strategy, person).image for person in ("ann", "bob", "eve")]
    assert sorted(given) == ["a", "b", "c"]


@pytest.mark.parametrize("kind", [First, Random])
def test_two_strategies_do_not_give_out_the_same_scan(kind: type[RankingStrategy]) -> None:
    handed_out, store = HandedOut(), Waiting("a", "b")
    first = store.ask(First(handed_out), "ann").image
    assert store.ask(kind(handed_out), "bob").image != first


@pytest.mark.parametrize("kind", [First, Random])
def test_the_only_scan_is_given_to_everybody(kind: type[RankingStrategy]) -> None:
    strategy = kind(HandedOut())
    assert [Waiting("a").ask(strategy, str(n)).image for n in range(5)] == ["a"] * 5


@pytest.mark.parametrize("kind", [First, Random])
def test_nothing_is_given_when_all_have_labels(kind: type[RankingStrategy]) -> None:
    assert kind(HandedOut()).next_scan([], ["a"], None) is None


def test_chance_gives_another_scan_when_asked_again() -> None:
    strategy, store = Random(HandedOut()), Waiting(*"abcdef")
    assert len({store.ask(strategy).image for _ in range(6)}) == 6


def test_first_stays_with_its_scan() -> None:
    strategy, store = First(HandedOut()), Waiting("b", "a")
    assert [store.ask(strategy, "ann").image for _ in range(3)] == ["a"] * 3


def test_the_answer_says_why_and_how_many_remain() -> None:
    found = Waiting("a", "b").ask(First(HandedOut()))
    assert found == NextScan("a", "First scan without a label, in alphabetical order", 2)


class TestScored:
    @pytest.fixture
    def book(self, tmp_path: Path) -> ScoreBook:
        return book_of(tmp_path, LINE)

    def ask(self, kind: type[ScoredStrategy], book: ScoreBook, store: Waiting) -> NextScan:
        found = store.ask(kind(HandedOut(), book), "ann")
        json.dumps(asdict(found), allow_nan=False)
        return found

    def test_uncertain_gives_the_most_doubtful(self, book: ScoreBook) -> None:
        found = self.ask(Uncertain, book, Waiting(*LINE))
        assert (found.image, found.score, found.rank) == ("d", 0.9, 1)

    def test_diverse_begins_with_the_most_typical(self, book: ScoreBook) -> None:
        assert self.ask(Diverse, book, Waiting(*LINE)).image == "c"

    def test_diverse_goes_where_nothing_is_labelled(self, book: ScoreBook) -> None:
        found = self.ask(Diverse, book, Waiting("a", "c", "d", "e", labelled=("b",)))
        # the ways to b are 1, 1, 9 and 9.5; with d labelled that of e becomes 0.5, and its own counts as one of five
        assert found.image in "de"
        assert found.score == pytest.approx((9 + 9 / 5) / 20.5, abs=1e-3)

    def test_uncertain_diverse_weighs_the_way_by_doubt(self, tmp_path: Path) -> None:
        scans = {**LINE, "a": (1.0, (0.0,)), "c": (1.0, (2.0,)), "d": (0.01, (10.0,)), "e": (0.01, (10.5,))}
        found = self.ask(
            UncertainDiverse, book_of(tmp_path, scans), Waiting("a", "c", "d", "e", labelled=("b",))
        )
        # doubt times way: 1, 1, 0.09 and 0.095; a saves a fifth of its own 1, c that and a little of d and e
        assert found.image == "c"
        assert found.score == pytest.approx((1 / 5 + 0.01 + 0.01) / (1 + 1 + 0.09 + 0.095), abs=1e-3)

    def test_what_others_hold_counts_as_labelled(self, book: ScoreBook) -> None:
        strategy, store = Diverse(HandedOut(), book), Waiting("a", "c", "d", "e", labelled=("b",))
        given = [store.ask(strategy, person).image for person in ("ann", "bob")]  # type: ignore[index]
        assert given[0] in "de"
        assert given[1] in "ac"  # one of d and e is as good as both

    def test_who_asks_again_gets_the_same_and_the_same_rank(self, book: ScoreBook) -> None:
        strategy, store = UncertainDiverse(HandedOut(), book), Waiting(*LINE)
        answers = [store.ask(strategy, "ann") for _ in range(3)]
        assert answers[0] == answers[1] == answers[2]

    @pytest.mark.parametrize("kind", SCORED)
    def test_the_answer_says_why(self, kind: type[ScoredStrategy], book: ScoreBook) -> None:
        found = self.ask(kind, book, Waiting("a", "d", "unseen", labelled=("b",)))
        assert found.reason == f"{kind.reason}, by organ version 3"
        assert (found.remaining, found.notes["scored"], found.rank) == (3, 2, 1)
        assert (found.notes["model"], found.notes["version"]) == ("organ", 3)

    @pytest.mark.parametrize("kind", SCORED)
    def test_before_any_score_there_is_an_answer(self, kind: type[ScoredStrategy], tmp_path: Path) -> None:
        found = self.ask(kind, ScoreBook(tmp_path), Waiting("a", "b"))
        assert found.image in "ab"
        assert "chance" in found.reason
        assert (found.notes["scored"], found.remaining) == (0, 2)

    @pytest.mark.parametrize("kind", SCORED)
    def test_scans_that_nothing_is_known_of_come_last(
        self, kind: type[ScoredStrategy], book: ScoreBook
    ) -> None:
        strategy, store = kind(HandedOut(), book), Waiting("a", "b", "x", "y")
        given = [store.ask(strategy, person).image for person in "1234"]  # type: ignore[index]
        assert set(given[:2]) == {"a", "b"}
        assert set(given[2:]) == {"x", "y"}

    @pytest.mark.parametrize("kind", SCORED)
    def test_without_a_model_the_first_choice_is_typical(
        self, kind: type[ScoredStrategy], tmp_path: Path
    ) -> None:
        described = {image: (None, features) for image, (_, features) in LINE.items()}
        found = self.ask(kind, book_of(tmp_path, described, NO_MODEL), Waiting(*LINE))
        assert found.image == "c"
        assert found.reason == f"{Diverse.reason}, without a model yet"

    @pytest.mark.parametrize("kind", SCORED)
    def test_scans_that_are_all_alike_are_no_trouble(
        self, kind: type[ScoredStrategy], tmp_path: Path
    ) -> None:
        alike = book_of(tmp_path, dict.fromkeys("abc", (0.0, (1.0, 2.0))))
        assert self.ask(kind, alike, Waiting(*"abc")).score == 0

    @pytest.mark.parametrize("kind", SCORED)
    def test_a_thousand_scans_take_no_time(self, kind: type[ScoredStrategy], tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        names = [f"scan{number:04}" for number in range(1000)]
        book = ScoreBook(tmp_path)
        book.open(MODEL)
        for name in names:
            score = ScanScore(doubt=float(rng.random()), features=tuple(rng.normal(size=128).tolist()))
            book.keep(MODEL, name, ((1, 1),), score)
        strategy, store = kind(HandedOut(), book), Waiting(*names[20:], labelled=tuple(names[:20]))
        seconds = []
        for person in range(5):
            begin = time.thread_time()  # whatever else the machine does meanwhile
            store.ask(strategy, str(person))
            seconds.append(time.thread_time() - begin)
        assert sorted(seconds)[2] < 0.2


class TestDistances:
    @pytest.fixture
    def computed(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """How many scans each computation of distances was about."""
        sizes: list[int] = []

        def count(features: np.ndarray) -> np.ndarray:
            sizes.append(len(features))
            return distances(features)

        monkeypatch.setattr(distance_cache, "distances", count)
        return sizes

    def test_further_clicks_compute_none_also_when_a_scan_is_labelled(
        self, tmp_path: Path, computed: list[int]
    ) -> None:
        offered = strategies(book_of(tmp_path, LINE))
        for person in "123":
            Waiting(*LINE).ask(offered[DEFAULT], person)
        Waiting("a", "c", "d", "e", labelled=("b",)).ask(offered["diverse"], "4")
        assert computed == [5]

    def test_a_scan_scored_anew_is_another_distance(self, tmp_path: Path, computed: list[int]) -> None:
        book = book_of(tmp_path, LINE)
        strategy, store = Diverse(HandedOut(), book), Waiting(*LINE)
        assert store.ask(strategy, "ann").image == "c"
        book.keep(MODEL, "c", ((2, 2),), ScanScore(doubt=0.1, features=(99.0,)))
        assert store.ask(strategy, "ann").image == "d"  # c is the oddest now, and d in the middle
        assert computed == [5, 5]

    def test_scans_that_come_and_go_are_other_distances(self, tmp_path: Path, computed: list[int]) -> None:
        strategy = Diverse(HandedOut(), book_of(tmp_path, LINE))
        for names in ("abcd", "abcde", "abc"):
            Waiting(*names).ask(strategy, "ann")
        assert computed == [4, 5, 3]

    def test_those_between_too_many_scans_are_not_kept(self, tmp_path: Path, computed: list[int]) -> None:
        strategy = Diverse(HandedOut(), book_of(tmp_path, LINE), DistanceCache(largest=4))
        for names in ("abcde", "abcde", "abcd", "abcde", "abcd"):
            Waiting(*names).ask(strategy, "ann")
        assert computed == [5, 5, 4, 5]

    def test_many_at_once_compute_them_once(self, tmp_path: Path, computed: list[int]) -> None:
        strategy, store = Diverse(HandedOut(), book_of(tmp_path, LINE)), Waiting(*LINE)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda person: store.ask(strategy, person), range(32)))
        assert computed == [5]

    def test_choices_are_those_of_distances_computed_anew(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(3)
        scans = {
            f"scan{number:02}": (float(rng.random()), tuple(rng.normal(size=6).tolist()))
            for number in range(30)
        }
        book = book_of(tmp_path, scans)  # type: ignore[arg-type]
        kept, anew = (
            UncertainDiverse(HandedOut(), book, cache)
            for cache in (DistanceCache(), DistanceCache(largest=0))
        )
        waiting, labelled = list(scans), []
        for _ in range(12):
            store = Waiting(*waiting, labelled=tuple(labelled))
            found = store.ask(kept, "ann")
            assert found == store.ask(anew, "ann")
            waiting.remove(found.image)
            labelled.append(found.image)


def test_everybody_at_once_gets_another_scan(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    scans = {f"scan{number:02}": (float(rng.random()), tuple(rng.normal(size=4))) for number in range(40)}
    strategy = UncertainDiverse(HandedOut(), book_of(tmp_path, scans))  # type: ignore[arg-type]
    store = Waiting(*scans)
    with ThreadPoolExecutor(20) as pool:
        given = list(pool.map(lambda person: store.ask(strategy, person).image, range(20)))  # type: ignore[index]
    assert len(set(given)) == 20


def test_those_without_a_name_are_different_people(tmp_path: Path) -> None:
    strategy, store = UncertainDiverse(HandedOut(), book_of(tmp_path, LINE)), Waiting(*LINE)
    assert len({store.ask(strategy).image for _ in range(5)}) == 5  # type: ignore[index]


def test_the_default_is_the_first_that_viewers_show(tmp_path: Path) -> None:
    names = list(strategies(ScoreBook(tmp_path)))
    assert names == [DEFAULT, "uncertain", "diverse", "random", "first"]


@pytest.mark.parametrize("kind", SCORED)
def test_upcoming_scans_are_those_that_would_be_handed_out_one_after_the_other(
    kind: type[ScoredStrategy], tmp_path: Path
) -> None:
    strategy = kind(HandedOut(), book_of(tmp_path, LINE))
    told = strategy.upcoming(list(LINE), [], 3)
    labelled: list[str] = []
    for one in told:
        waiting = Waiting(*(set(LINE) - set(labelled)), labelled=tuple(labelled))
        given = waiting.ask(kind(HandedOut(), book_of(tmp_path, LINE)))
        assert (one.image, one.score, one.doubt) == (given.image, given.score, LINE[one.image][0])
        labelled.append(one.image)


def test_upcoming_scans_that_nothing_is_known_of_come_last_and_nothing_is_handed_out(tmp_path: Path) -> None:
    handed_out = HandedOut()
    strategy = UncertainDiverse(handed_out, book_of(tmp_path, LINE))
    handed_out.hand_out(["d"], "ann", again=True)
    told = strategy.upcoming([*LINE, "new"], [], 9)
    assert [one.image for one in told][-1] == "new"
    assert told[-1].reason == "Not looked at yet: chosen by chance"
    assert [one.image for one in told if one.held] == ["d"]
    assert handed_out.held_by_others(None) == {"d"}
    assert strategy.upcoming([], list(LINE), 3) == []
