"""The experiments of the left-atrium table are all possible before the first of them takes an hour."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from diffcl.recipe import load_recipe

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def left_atrium(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import left_atrium

    yield left_atrium
    del sys.modules["left_atrium"]


def test_every_experiment_has_a_recipe_of_the_asked_length(left_atrium: ModuleType) -> None:
    base = load_recipe("left_atrium")
    for experiment in left_atrium.EXPERIMENTS.values():
        recipe = experiment.recipe(base, 240)
        assert recipe.training.steps == 240 * experiment.share
        assert recipe.training.seed == experiment.seed
        start = recipe.training.steps * base.training.supervised_start / base.training.steps
        assert recipe.training.supervised_start == (0 if experiment.changes == left_atrium.PLAIN else start)


def test_the_table_names_the_weight_of_ds(left_atrium: ModuleType) -> None:
    case = {"name": "a", "dice": 0.9, "jaccard": 0.8, "hd95_mm": 3.0, "asd_mm": 1.0}
    worse = {**case, "name": "b", "dice": 0.7}
    result = {"name": "full 8", "labelled": 8, "steps": 10, "ds_weight": 0.3, "date": "2026-01-01", "machine": "AMD",
              "cases": {"ensemble": [case, worse], "ds": [case]}}  # fmt: skip
    *_, ensemble, ds = left_atrium.table([result]).splitlines()
    assert ensemble.startswith("| full 8 | 8 | 10 | ensemble, DS 0.3 | 0.8000 | 0.7000 |")
    assert "| DS | 0.9000 | 0.9000 |" in ds
