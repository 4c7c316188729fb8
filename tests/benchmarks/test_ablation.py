"""The ablation trains each part left out with the same scans and time, and says honestly what pulls."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def ablation(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import ablation

    yield ablation
    del sys.modules["ablation"], sys.modules["any_organ"]


def result(part: str, dice: float, hd95: float | None) -> dict[str, Any]:
    return {"set": "tube", "part": part, "dice": dice, "worst": dice - 0.1, "hd95": hd95, "steps": 10}


def test_all_parts_are_trained_on_the_same_scans_with_each_seed(ablation: ModuleType, sets: Path) -> None:
    found = ablation.ablations(sets, [], 4, [0, 1], list(ablation.PARTS))
    assert len({one.name for _, one in found}) == 2 * len(ablation.PARTS)
    assert [one.recipe.training.seed for _, one in found] == [0] * len(ablation.PARTS) + [1] * len(
        ablation.PARTS
    )
    assert len({tuple(case.name for case in one.cases.labelled) for _, one in found}) == 1
    recipes = {part: one.recipe for part, one in found}
    assert all(one.open for one in recipes.values())
    assert recipes["without HF-Mamba"].cs.hf_mamba_levels == ()
    assert recipes["without the contrastive term"].losses.eta == 0
    assert not recipes["two CS, without diffusion"].ds.diffusion
    assert recipes["CS alone, supervised"].training.method == "supervised"


@pytest.mark.parametrize(
    ("dice", "hd95", "expected"),
    [
        ([0.90, 0.901, 0.902], [3.0, 3.0, 3.1], False),
        ([0.88, 0.881, 0.882], [3.0, 3.0, 3.1], True),
        ([0.80, 0.89, 0.95], [3.0, 3.0, 3.1], False),
        ([0.90, 0.901, 0.902], [3.6, 3.6, 3.7], True),
        ([0.90, 0.901, 0.902], [3.6, None, 3.7], False),
    ],
    ids=["as good", "less Dice", "within the noise of seeds", "larger distances", "a class was missed"],
)
def test_a_part_pulls_where_leaving_it_out_costs_more_than_the_noise(
    ablation: ModuleType, dice: list[float], hd95: list[float | None], expected: bool
) -> None:
    whole = [result(ablation.WHOLE, one, 3.0 + one - 0.9) for one in (0.9, 0.901, 0.902)]
    lacking = [result("without HF-Mamba", *pair) for pair in zip(dice, hd95, strict=True)]
    assert ablation.pulls(whole, lacking) == expected
    row = ablation.table([*whole, *lacking]).splitlines()[-1]
    assert row.endswith(f"| {'yes' if expected else 'no'} |")


def test_one_seed_says_nothing_of_what_pulls(ablation: ModuleType, tmp_path: Path) -> None:
    results = [result(ablation.WHOLE, 0.9, 3.0), result("without HF-Mamba", 0.8, 5.0)]
    assert (
        ablation.table(results).splitlines()[-1]
        == "| tube | without HF-Mamba | 1 | 10 | 0.8000 | 0.700 | 5.00 |  |"
    )
    ablation.draw(results, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
