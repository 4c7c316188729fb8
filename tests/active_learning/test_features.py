from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from synthetic import ORGAN, SCANS, make_scan

from diffcl.active_learning import describe, score
from diffcl.active_learning.features import THUMBNAIL
from diffcl.data.preprocess import prepare
from diffcl.inference import Predictor
from diffcl.io import Scan
from diffcl.models import Model


def scan(name: str) -> Scan:
    return Scan(make_scan(name), name, Path(name))


@pytest.mark.parametrize("name", SCANS)
def test_the_doubt_is_the_one_that_people_are_told(name: str, model: Model) -> None:
    assert score(scan(name), model).doubt == Predictor(model)(scan(name)).report.doubt


def test_the_features_are_those_of_the_coarsest_level(model: Model) -> None:
    found = score(scan("oblique"), model)
    assert len(found.features) == model.info.recipe.cs.filters[-1]
    assert np.isfinite(found.features).all()
    assert score(scan("oblique"), model) == found
    assert score(scan("flipped"), model).features != found.features


def test_looking_leaves_the_network_as_it_was(model: Model) -> None:
    score(scan("oblique"), model)
    assert not model.cs.vnet.encoder[-1]._forward_hooks  # noqa: SLF001


def test_without_a_model_a_scan_is_a_small_picture() -> None:
    found = describe(scan("oblique"), ORGAN)
    assert found.doubt is None
    assert len(found.features) == THUMBNAIL**3
    image = prepare(scan("oblique"), ORGAN).image
    assert image.min() - 1e-5 <= min(found.features) <= max(found.features) <= image.max() + 1e-5


def test_like_scans_look_alike_without_a_model() -> None:
    features = {name: np.array(describe(scan(name), ORGAN).features) for name in SCANS}
    brighter = Scan(make_scan("oblique") * 3 + 50, "brighter", Path("brighter"))
    again = np.array(describe(brighter, ORGAN).features)
    others = [np.abs(features["oblique"] - features[name]).mean() for name in SCANS if name != "oblique"]
    assert np.abs(features["oblique"] - again).mean() < 0.1 * min(others)
