"""Several models on one scan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from synthetic import ORGAN, make_scan, make_studies, publish_untrained

from diffcl.geometry import Geometry, voxels
from diffcl.inference.predictor import Prediction, Report
from diffcl.inference.served_models import ServedModels
from diffcl.inference.together import joint_classes, together
from diffcl.io import read_scan
from diffcl.models import ModelRegistry
from diffcl.recipe import Recipe

HEART = ORGAN.model_copy(update={"name": "heart", "labels": ORGAN.labels[:1]})

GRID = Geometry.of(make_scan("oblique"))


def says(recipe: Recipe, *likely: NDArray[np.float32]) -> Prediction:
    """The prediction of a model that gives its classes these probabilities, and the background 0.5."""
    whole = np.stack([np.full(GRID.size, 0.5, np.float32), *likely])
    images = tuple(GRID.place(one) for one in likely)
    label = GRID.place(whole.argmax(axis=0).astype(np.uint8))
    report = Report(
        case="a", model=recipe.name, version=1, networks="ensemble", engine="torch", volumes_ml={}, disagreement=None,
        doubt=0.1, learned_from={}, seconds={}, warnings=[],
    )  # fmt: skip
    return Prediction(label, GRID.place(np.zeros(GRID.size, np.float32)), images, report)


def test_where_two_found_something_the_more_probable_class_stands() -> None:
    organ = np.zeros((2, *GRID.size), np.float32)
    organ[0, 2:6], organ[1, 6:10] = 0.6, 0.8
    heart = np.zeros(GRID.size, np.float32)
    heart[4:12] = 0.7
    found = together([ORGAN, HEART], [says(ORGAN, *organ), says(HEART, heart)])
    along = voxels(found.label)[:, 0, 0]
    assert along.tolist()[:14] == [0, 0, 1, 1, 3, 3, 2, 2, 2, 2, 3, 3, 0, 0]
    assert Geometry.of(found.label) == GRID
    assert found.model == "organ+heart"


def test_classes_have_values_without_a_gap_and_names_that_differ() -> None:
    classes = joint_classes([ORGAN, HEART])
    assert [(one.value, one.name) for one in classes] == [
        (1, "organ_head (organ)"), (2, "organ_tail"), (3, "organ_head (heart)"),
    ]  # fmt: skip
    assert joint_classes([ORGAN]) == list(ORGAN.labels)


def test_served_models_answer_together_as_they_do_alone(tmp_path: Path) -> None:
    store = ModelRegistry(tmp_path / "models")
    publish_untrained(store)
    publish_untrained(store, recipe=HEART)
    models, scan = ServedModels(store), make_studies(tmp_path / "scans") / "oblique.nii.gz"
    found = models.predict_together(["organ", "heart"], scan)
    alone = [voxels(models.predict(name, scan).label) for name in ("organ", "heart")]
    values = voxels(found.label)
    assert Geometry.of(found.label) == Geometry.of(read_scan(scan).image)
    np.testing.assert_array_equal(values > 0, (alone[0] > 0) | (alone[1] > 0))
    np.testing.assert_array_equal(values[alone[1] == 0], alone[0][alone[1] == 0])
    assert [report.model for report in found.reports] == ["organ", "heart"]
    assert sitk.GetArrayViewFromImage(found.label).dtype == np.uint8
