from __future__ import annotations

import pytest
from untrained import GRIDS, make_scan

from diffcl.inference.predictor import Predictor
from diffcl.inference.summary import learned_from, origin, summary
from diffcl.models import Model


def test_a_prediction_in_one_line_says_what_it_holds_and_who_made_it(model: Model) -> None:
    report = Predictor(model)(make_scan(GRIDS["straight"])).report
    told = summary(report)
    assert told.endswith("organ version 3, uploaded, with no record of scans")
    assert f"doubt {report.doubt:.2f}; " in told
    for name, volume in report.volumes_ml.items():
        assert f"{name} {volume:.2f} ml" in told


def test_what_speaks_against_the_label_ends_the_line(model: Model) -> None:
    report = Predictor(model)(make_scan(GRIDS["straight"])).report
    warned = report.model_copy(update={"warnings": ["The scan is large.", "Nothing was found."]})
    plain = report.model_copy(update={"warnings": []})
    assert summary(warned) == f"{summary(plain)}. The scan is large. Nothing was found."


@pytest.mark.parametrize(
    ("scores", "told"),
    [
        ({}, "version 3, learned from 2 labelled and 3 unlabelled scans, not validated"),
        (
            {"ensemble": {"dice": 0.81264, "scans": 4}},
            "version 3, learned from 2 labelled and 3 unlabelled scans, Dice 0.813 on 4 validation scans",
        ),
    ],
    ids=["not validated", "validated"],
)
def test_a_model_in_one_line_says_what_it_learned_from_and_how_good_it_is(
    scores: dict[str, dict[str, float]], told: str, model: Model
) -> None:
    provenance = {"labelled": ["a", "b"], "unlabelled": ["c", "d", "e"], "validation": []}
    info = model.info.model_copy(update={"scores": scores, "provenance": provenance})
    assert origin(info) == told


def test_a_model_without_a_record_was_uploaded() -> None:
    assert (
        learned_from({"labelled": 0, "unlabelled": 0, "validation": 0}) == "uploaded, with no record of scans"
    )
