from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from synthetic import ORGAN

from diffcl.active_learning import ScanScore, scores
from diffcl.active_learning.scores import ENOUGH, Edition, ScoreBook
from diffcl.errors import OutputError
from diffcl.models import ModelInfo
from diffcl.models.profile import Profile

STATE = ((100, 5),)


def edition(version: int) -> Edition:
    info = ModelInfo(
        name="organ", version=version, created="2026", recipe=ORGAN, profile=Profile(modality="MR")
    )
    return Edition.of_model(info)


def score(doubt: float) -> ScanScore:
    return ScanScore(doubt=doubt, features=(doubt, 1.0))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "scores"


def filled(folder: Path, version: int, *images: str) -> ScoreBook:
    """A book in which a version has scored these scans."""
    book = ScoreBook(folder)
    book.open(edition(version))
    for image in images:
        book.keep(edition(version), image, STATE, score(0.25))
    return book


def test_scores_survive_a_restart(folder: Path) -> None:
    filled(folder, 1, "a", "case 2.v1")
    again = ScoreBook(folder)
    again.open(edition(1))
    assert again.has(edition(1), "case 2.v1", STATE)
    known = again.known(["a", "case 2.v1", "c"])
    assert known is not None
    assert set(known.entries) == {"a", "case 2.v1"}
    assert known.entries["a"].doubt == 0.25
    np.testing.assert_array_equal(known.entries["a"].features, np.float32([0.25, 1.0]))


def test_nothing_is_known_before_a_scan_is_scored(folder: Path) -> None:
    book = ScoreBook(folder)
    assert book.known(["a"]) is None
    book.open(edition(1))
    assert book.known(["a"]) is None


def test_a_scan_that_changed_is_no_longer_known_as_it_is(folder: Path) -> None:
    book = filled(folder, 1, "a")
    assert not book.has(edition(1), "a", ((100, 6),))
    assert not book.has(edition(1), "a", ((101, 5),))


def test_a_new_version_knows_nothing(folder: Path) -> None:
    book = filled(folder, 1, "a")
    assert not book.has(edition(2), "a", STATE)
    assert edition(1).folder != edition(2).folder


def test_the_old_version_speaks_until_the_new_one_knows_enough(folder: Path) -> None:
    images = [f"scan{number:03}" for number in range(ENOUGH + 9)]
    book = filled(folder, 1, *images)
    book.open(edition(2))
    for count, image in enumerate(images, start=1):
        book.keep(edition(2), image, STATE, score(0.5))
        known = book.known(images)
        assert known is not None
        assert known.edition.version == (2 if count >= ENOUGH else 1)


def test_the_new_version_speaks_when_it_knows_all(folder: Path) -> None:
    book = filled(folder, 1, "a", "b")
    book.open(edition(2))
    for image in "ab":
        book.keep(edition(2), image, STATE, score(0.5))
    known = book.known(["a", "b"])
    assert known is not None
    assert known.edition.version == 2


def test_what_is_superseded_is_removed_when_all_scans_are_known(folder: Path) -> None:
    book = filled(folder, 1, "a", "b")
    book.open(edition(2))
    book.keep(edition(2), "a", STATE, score(0.5))
    book.tidy(edition(2), ["a", "b"])
    assert (folder / edition(1).folder).is_dir()
    book.keep(edition(2), "b", STATE, score(0.5))
    book.tidy(edition(2), ["a", "b"])
    assert [path.name for path in (folder / "organ").iterdir()] == [edition(2).folder.name]


def test_a_scan_that_is_gone_is_forgotten(folder: Path) -> None:
    book = filled(folder, 1, "a", "b")
    book.tidy(edition(1), ["b"])
    assert [path.name for path in (folder / edition(1).folder).iterdir()] == ["b.json"]
    assert not book.has(edition(1), "a", STATE)


def test_a_full_disk_costs_no_second_look(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OutputError("scores", "cannot be written (No space left on device)")

    book = filled(folder, 1)
    monkeypatch.setattr(scores, "write_text", full)
    with pytest.raises(OutputError):
        book.keep(edition(1), "a", STATE, score(0.5))
    assert book.has(edition(1), "a", STATE)


@pytest.mark.parametrize("content", [b"", b'{"state": [[1', b'{"state": "x"}'], ids=["empty", "cut", "wrong"])
def test_a_damaged_file_is_scored_again(content: bytes, folder: Path) -> None:
    filled(folder, 1, "a", "b")
    (folder / edition(1).folder / "a.json").write_bytes(content)
    again = ScoreBook(folder)
    again.open(edition(1))
    assert not again.has(edition(1), "a", STATE)
    assert again.has(edition(1), "b", STATE)


def test_a_task_without_a_model_depends_on_how_scans_are_prepared() -> None:
    finer = ORGAN.changed(grid={"spacing": (1.0, 1.0, 1.0)})
    assert Edition.of_recipe(ORGAN) != Edition.of_recipe(finer)
    assert Edition.of_recipe(ORGAN) == Edition.of_recipe(ORGAN.changed(training={"seed": 7}))
    assert Edition.of_recipe(ORGAN).version == 0
