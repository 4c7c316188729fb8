"""The trainings of the benchmark are all possible, honest about what is labelled, and taken up where they stopped."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from diffcl.training import Plan

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def any_organ(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import any_organ

    yield any_organ
    del sys.modules["any_organ"]


def test_every_known_set_has_a_recipe_that_names_its_classes_and_is_open(any_organ: ModuleType) -> None:
    for one in any_organ.SETS:
        assert one.recipe.open
        assert [entry.name for entry in one.recipe.labels] == list(one.classes)


def test_a_set_is_trained_with_and_without_the_scans_that_have_no_label(
    any_organ: ModuleType, sets: Path
) -> None:
    both = any_organ.experiments(sets, [], [4])
    assert [one.name for one in both] == ["tube-4", "tube-4-labelled-alone"]
    assert [len(one.cases.unlabelled) for one in both] == [1, 0]
    assert all([case.name for case in one.cases.validation] == ["p4"] for one in both)
    assert any_organ.experiments(sets, ["other"], [4]) == []


def test_what_is_done_is_kept_told_and_drawn(any_organ: ModuleType, sets: Path, tmp_path: Path) -> None:
    plan = Plan(steps=2)
    (one, alone) = any_organ.experiments(sets, [], [4])
    found = any_organ.run_experiment(one, plan, tmp_path)
    assert {"front", "back"} == set(found["classes"])
    assert 0 <= found["worst"] <= found["dice"] <= 1
    (tmp_path / "tube-4-labelled-alone.json").write_text(
        json.dumps({**found, "unlabelled": 0, "dice": found["dice"] - 0.02})
    )
    results: list[dict[str, Any]] = [any_organ.run_experiment(each, plan, tmp_path) for each in (one, alone)]
    assert results[0] == json.loads(json.dumps(found))
    assert "tube, 4 labelled: the other scans bring +0.0200" in any_organ.table(results)
    peer = {**found, "by": "nnU-Net 2", "unlabelled": 0, "curve": [], "dice": found["dice"] - 0.03}
    told = any_organ.table([*results, peer])
    assert "tube, 4 labelled: +0.0300 over nnU-Net 2" in told
    assert told.count("the other scans bring") == 1
    any_organ.draw([*results, peer], tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_peer_that_is_not_there_is_asked_for_before_anything_is_trained(
    any_organ: ModuleType,
    sets: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(any_organ, "find_spec", lambda _: None)
    work = tmp_path / "work"
    monkeypatch.setattr(
        sys, "argv", ["any_organ.py", "--data", str(sets), "--work", str(work), "--beside", "2d"]
    )
    with pytest.raises(SystemExit):
        any_organ.main()
    assert "nnU-Net is not on the path" in capsys.readouterr().err
    assert not work.exists()
