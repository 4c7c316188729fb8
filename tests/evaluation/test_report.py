from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from diffcl.errors import DataError, ScanError
from diffcl.evaluation.report import evaluate_folder
from diffcl.evaluation.scores import CaseScore, ClassScore, Scores
from diffcl.geometry import Geometry
from diffcl.io import write_image
from diffcl.recipe import parse_recipe

GRID = Geometry((12, 10, 8), (0.9, 1.2, 2.0), (3.0, -4.0, 5.0), (0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0))
RECIPE = parse_recipe(
    {"name": "two", "labels": [{"value": 1, "name": "liver"}, {"value": 2, "name": "spleen"}]}, "two"
)


def bars(**lengths: int) -> sitk.Image:
    """A label map with one bar of each value, given as `v1=length`."""
    array = np.zeros(GRID.size, np.uint8)
    for name, length in lengths.items():
        value = int(name[1:])
        array[:length, value % 5 * 2, 3] = value
    return GRID.place(array)


def write(folder: Path, **labels: sitk.Image) -> Path:
    folder.mkdir()
    for name, image in labels.items():
        write_image(image, folder / f"{name}.nii.gz")
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Predictions of two cases and labels of three."""
    predictions = write(tmp_path / "predictions", a=bars(v1=10, v2=4), b=bars(v1=5))
    labels = write(tmp_path / "labels", a=bars(v1=10, v2=4), b=bars(v1=10, v2=4), c=bars(v1=3))
    return predictions, labels


def test_every_prediction_is_compared_with_the_label_of_its_name(folders: tuple[Path, Path]) -> None:
    table = evaluate_folder(*folders, RECIPE)
    assert [entry.case for entry in table.cases] == ["a", "b"]
    assert [[score.dice for score in entry.classes] for entry in table.cases] == [
        [1, 1],
        [pytest.approx(2 / 3), 0],
    ]
    assert table.names == ["liver", "spleen", "all"]


def test_mean_spread_and_worst_case_are_those_of_the_cases(folders: tuple[Path, Path]) -> None:
    found = evaluate_folder(*folders, RECIPE).summary("liver")
    assert found.mean["dice"] == pytest.approx(5 / 6)
    assert found.sd["dice"] == pytest.approx(1 / 6)
    assert (found.worst.case, found.missed) == ("b", 0)


def test_a_missed_class_is_counted_and_left_out_of_the_mean_distance(folders: tuple[Path, Path]) -> None:
    table = evaluate_folder(*folders, RECIPE)
    for name in ("spleen", "all"):
        found = table.summary(name)
        assert (found.missed, found.mean["hd95"], found.mean["asd"]) == (1, 0, 0)
    assert table.summary("spleen").mean["dice"] == 0.5


def test_a_class_missed_everywhere_has_an_infinite_mean_distance() -> None:
    table = Scores((CaseScore("a", (ClassScore("liver", 0.0, 0.0, math.inf, math.inf),)),))
    assert table.summary("liver").mean["hd95"] == math.inf


def test_without_a_recipe_every_value_that_occurs_is_a_class(folders: tuple[Path, Path]) -> None:
    assert evaluate_folder(*folders).names == ["label 1", "label 2", "all"]


def test_a_recipe_says_which_values_of_the_labels_mean_a_class(tmp_path: Path) -> None:
    recipe = parse_recipe(
        {"name": "one", "labels": [{"value": 1, "name": "liver", "sources": [6, 7]}]}, "one"
    )
    predictions = write(tmp_path / "predictions", a=bars(v1=10))
    labels = write(tmp_path / "labels", a=bars(v6=10))
    assert evaluate_folder(predictions, labels, recipe).cases[0].classes[0].dice == 1


def test_two_files_are_compared_whatever_they_are_called(folders: tuple[Path, Path]) -> None:
    table = evaluate_folder(folders[0] / "a.nii.gz", folders[1] / "b.nii.gz", RECIPE)
    assert [score.dice for score in table.cases[0].classes] == [1, 1]


def test_progress_is_told(folders: tuple[Path, Path]) -> None:
    told: list[tuple[int, int]] = []
    evaluate_folder(*folders, RECIPE, on_case=lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]


def test_csv_has_a_line_for_each_case_and_class_and_three_for_each_class(folders: tuple[Path, Path]) -> None:
    rows = list(csv.DictReader(evaluate_folder(*folders, RECIPE).to_csv().splitlines()))
    assert [row["row"] for row in rows] == ["case"] * 6 + ["mean", "sd", "worst"] * 3
    spleen_of_b = next(row for row in rows if (row["case"], row["class"]) == ("b", "spleen"))
    assert (spleen_of_b["dice"], spleen_of_b["hd95_mm"], spleen_of_b["missed"]) == ("0.0", "inf", "1")


def test_json_says_null_for_what_json_cannot_say(folders: tuple[Path, Path]) -> None:
    content = json.loads(evaluate_folder(*folders, RECIPE).to_json())
    spleen_of_b = next(row for row in content["cases"] if (row["case"], row["class"]) == ("b", "spleen"))
    assert spleen_of_b == {
        "case": "b", "class": "spleen", "dice": 0, "jaccard": 0, "hd95_mm": None, "asd_mm": None
    }  # fmt: skip
    assert content["summary"][1]["missed"] == 1


def test_predictions_without_a_label_are_all_named(folders: tuple[Path, Path]) -> None:
    for name in ("d", "e"):
        write_image(bars(v1=2), folders[0] / f"{name}.nii.gz")
    with pytest.raises(DataError, match=r"labels: no label for d, e\. Add it"):
        evaluate_folder(*folders, RECIPE)


def test_a_value_that_the_recipe_does_not_know_is_refused(folders: tuple[Path, Path]) -> None:
    write_image(bars(v3=2), folders[0] / "a.nii.gz")
    with pytest.raises(DataError, match=r"a\.nii\.gz: value 3 is not a class of the recipe"):
        evaluate_folder(*folders, RECIPE)


def test_a_prediction_on_another_grid_is_refused(folders: tuple[Path, Path]) -> None:
    write_image(bars(v1=2)[1:], folders[0] / "a.nii.gz")
    with pytest.raises(DataError, match=r"a\.nii\.gz: lies on another grid than its label"):
        evaluate_folder(*folders, RECIPE)


@pytest.mark.parametrize("name", ["empty", "missing"])
def test_a_folder_without_label_maps_is_refused(
    tmp_path: Path, folders: tuple[Path, Path], name: str
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=f"{name}: holds no label map"):
        evaluate_folder(tmp_path / name, folders[1])


def test_empty_label_maps_alone_name_no_class(tmp_path: Path) -> None:
    folder = write(tmp_path / "labels", a=bars())
    with pytest.raises(DataError, match="every label map is empty"):
        evaluate_folder(folder, folder)


def test_a_damaged_label_is_refused(folders: tuple[Path, Path]) -> None:
    path = folders[1] / "a.nii.gz"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ScanError, match=r"a\.nii\.gz: "):
        evaluate_folder(*folders, RECIPE)
