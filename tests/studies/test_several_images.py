"""Scans of several images in a folder of studies."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from synthetic import ORGAN, publish_untrained

from diffcl.errors import ScanError, UsageError
from diffcl.geometry import Geometry
from diffcl.inference.served_models import ServedModels
from diffcl.models import ModelRegistry
from diffcl.recipe import Recipe
from diffcl.studies.folder import FolderStudies
from diffcl.studies.pictures import draw_scan
from diffcl.studies.training_cases import training_cases

GRID = Geometry((18, 16, 12), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))


@pytest.fixture
def recipe() -> Recipe:
    content = ORGAN.model_dump(exclude_unset=True)
    return Recipe.model_validate({**content, "sequences": [{"name": "FLAIR"}, {"name": "T1"}]})


def noise(seed: int) -> sitk.Image:
    return GRID.place(np.random.default_rng(seed).gamma(2, 50, GRID.size).astype(np.float32))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "studies"
    (made / "labels" / "final").mkdir(parents=True)
    for case in ("a", "b"):
        for number in range(2):
            sitk.WriteImage(noise(number), made / f"{case}_000{number}.nii.gz")
    whole = np.random.default_rng(0).gamma(2, 50, (*GRID.size, 2)).astype(np.float32)
    nib.save(nib.Nifti1Image(whole, GRID.affine), made / "four.nii.gz")
    label = np.zeros(GRID.size, np.uint8)
    label[4:9, 4:9, 4:9] = 1
    sitk.WriteImage(GRID.place(label), made / "labels" / "final" / "a.nii.gz")
    return made


def test_the_images_of_a_scan_are_one_scan(folder: Path, recipe: Recipe) -> None:
    studies = FolderStudies(folder, lambda: [recipe])
    assert studies.scans() == ["a", "b", "four"]
    assert studies.image_path("a").name == "a_0000.nii.gz"
    assert studies.labelled() == ["a"]


def test_tasks_of_one_sequence_know_every_file_as_a_scan(folder: Path) -> None:
    assert FolderStudies(folder, lambda: [ORGAN]).scans() == ["a_0000", "a_0001", "b_0000", "b_0001", "four"]


def test_a_label_lies_on_the_first_image(folder: Path, recipe: Recipe, tmp_path: Path) -> None:
    studies = FolderStudies(folder, lambda: [recipe])
    label = np.zeros(GRID.size, np.uint8)
    label[2:7, 3:8, 4:9] = 1
    sitk.WriteImage(GRID.place(label), tmp_path / "label.nii.gz")
    for image in ("b", "four"):
        studies.save_label(image, tmp_path / "label.nii.gz", "final", {})
    assert studies.labelled() == ["a", "b", "four"]


def test_all_images_are_trained_on(folder: Path, recipe: Recipe, tmp_path: Path) -> None:
    found = training_cases(FolderStudies(folder, lambda: [recipe]), recipe, 0.2, tmp_path / "work")
    assert [case.name for case in found.cases.labelled] == ["a"]
    assert [case.name for case in found.cases.unlabelled] == ["b", "four"]
    assert found.refused == {}


def test_a_scan_without_a_required_image_is_named(folder: Path, recipe: Recipe, tmp_path: Path) -> None:
    (folder / "b_0001.nii.gz").unlink()
    found = training_cases(FolderStudies(folder, lambda: [recipe]), recipe, 0.2, tmp_path / "work")
    assert list(found.refused) == ["b"]
    assert "without T1, which the task needs" in found.refused["b"]


def test_a_change_of_any_image_is_a_change_of_the_scan(folder: Path, recipe: Recipe) -> None:
    studies = FolderStudies(folder, lambda: [recipe])
    before = studies.to_score().scans["b"].state()
    sitk.WriteImage(GRID.place(np.ones(GRID.size, np.float32)), folder / "b_0001.nii.gz")
    assert studies.to_score().scans["b"].state() != before


def test_a_removed_scan_takes_all_its_images_along(folder: Path, recipe: Recipe) -> None:
    studies = FolderStudies(folder, lambda: [recipe])
    studies.remove_image("b")
    assert studies.scans() == ["a", "four"]
    kept = sorted(path.name for path in (folder / "removed" / "b").iterdir())
    assert kept == ["1.0000.nii.gz", "2.0001.nii.gz"]


def test_single_images_of_a_scan_are_not_uploaded(folder: Path, recipe: Recipe, tmp_path: Path) -> None:
    studies = FolderStudies(folder, lambda: [recipe])
    file = folder / "a_0000.nii.gz"
    for name in ("a", "c_0001"):
        with pytest.raises(UsageError, match=r"is one of several images\. Put them into the folder"):
            studies.add_image(name, file, {})
    assert studies.add_image("five", folder / "four.nii.gz", {}) == "five"
    one_sequence = FolderStudies(tmp_path / "other", lambda: [ORGAN])
    with pytest.raises(ScanError, match="a 4D image"):
        one_sequence.add_image("four", folder / "four.nii.gz", {})


def test_every_form_is_drawn(folder: Path, recipe: Recipe) -> None:
    studies = FolderStudies(folder, lambda: [recipe])
    for image in ("a", "four"):
        draw_scan(studies, image, [recipe])


def test_the_server_predicts_all_images_and_sees_when_one_changes(
    folder: Path, recipe: Recipe, tmp_path: Path
) -> None:
    store = ModelRegistry(tmp_path / "store")
    publish_untrained(store, recipe=recipe)
    models = ServedModels(store)
    studies = FolderStudies(folder, lambda: list(models.recipes().values()))
    paths = {image: studies.scan_path(image) for image in ("a", "four")}
    first = models.predict(recipe.name, paths["a"])
    assert models.predict(recipe.name, paths["a"]) is first
    assert Geometry.of(models.predict(recipe.name, paths["four"]).label).size == GRID.size
    sitk.WriteImage(noise(9), folder / "a_0001.nii.gz")
    assert models.predict(recipe.name, paths["a"]) is not first
