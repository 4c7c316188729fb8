"""Scores have one form, which keeps every digit, and what version 0.1.0 kept can be read."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from diffcl.evaluation.scores import CaseScore, ClassScore, Scores

HEAD, TAIL = ClassScore("head", 0.8, 2 / 3, 1.5, 0.5), ClassScore("tail", 0.1 + 0.2, 0.2, math.inf, math.inf)
ONE = CaseScore("a", (HEAD, TAIL), 0.25, 0.1)
OTHER = CaseScore("b", (HEAD, HEAD))


def test_plain_values_come_back_to_the_last_digit() -> None:
    scores = Scores((ONE, OTHER))
    assert Scores.from_plain(scores.plain()) == scores
    assert Scores.from_plain(json.loads(json.dumps(scores.plain()))) == scores
    assert Scores.from_plain(None) is None


def test_plain_values_name_the_means_over_the_classes_in_millimetres() -> None:
    plain = ONE.plain()
    assert plain["dice"] == float(np.mean([0.8, 0.1 + 0.2]))
    assert plain["hd95_mm"] == math.inf
    assert (plain["disagreement"], plain["doubt"]) == (0.25, 0.1)


def test_what_version_0_1_0_kept_has_the_same_means() -> None:
    kept = [{"case": "a", "dice": 0.7, "hd95": 3.25, "disagreement": None, "doubt": 0.2}]
    scores = Scores.from_plain(kept)
    assert scores is not None
    assert (scores.dice, scores.hd95, scores.cases[0].doubt) == (0.7, 3.25, 0.2)
    assert scores.numbers() == {"dice": 0.7, "dice_sd": 0.0, "dice_worst": 0.7, "hd95_mm": 3.25, "scans": 1}


def test_the_summary_of_a_training_is_of_the_means_over_the_classes() -> None:
    scores = Scores((ONE, OTHER))
    assert scores.dice == pytest.approx((0.55 + 0.8) / 2)
    assert scores.hd95 == math.inf
    assert scores.worst == ONE
    assert scores.summary("all").mean["dice"] == scores.dice
    assert scores.summary("all").mean["hd95"] == 1.5
    assert scores.summary("all").missed == 1


def test_doubt_of_some_cases_alone_ranks_nothing() -> None:
    doubted = [CaseScore(str(n), (HEAD,), None, n / 10) for n in range(8)]
    assert "doubt_rank" not in Scores((*doubted[:-1], OTHER)).numbers()


def test_each_class_has_a_summary_of_its_own_that_json_can_hold() -> None:
    found = Scores((ONE, CaseScore("b", (HEAD, ClassScore("tail", 0.5, 1 / 3, 2.0, 1.0))))).by_class()
    assert list(found) == ["head", "tail"]
    assert (found["tail"]["dice"], found["tail"]["hd95_mm"], found["tail"]["missed"]) == (0.4, 2.0, 1)
    assert found["head"] == {"dice": 0.8, "dice_sd": 0.0, "dice_worst": 0.8, "hd95_mm": 1.5, "missed": 0}
    alone = Scores((ONE,)).by_class()["tail"]
    assert (alone["hd95_mm"], alone["missed"], alone["dice_worst"]) == (None, 1, 0.3)
    assert json.loads(json.dumps(alone, allow_nan=False)) == alone
