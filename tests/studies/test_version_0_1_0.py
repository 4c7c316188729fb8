"""Studies, trainings, models and recipes of version 0.1.0 open as if today's had written them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from safetensors.torch import load_file
from synthetic import ORGAN, ORGAN_TOML, SCANS, make_label, make_scan
from version_0_1_0 import RECIPE, TENSORS, make_former_studies, make_former_trainings, publish_former_model

from diffcl.inference.predictor import Predictor
from diffcl.io import Scan, read_label
from diffcl.models import ModelRegistry
from diffcl.recipe import Recipe, load_recipe
from diffcl.studies.folder import FolderStudies
from diffcl.studies.training import StudyTraining
from diffcl.studies.training_options import TrainingOptions


@pytest.fixture
def former(tmp_path: Path) -> FolderStudies:
    """The studies of 0.1.0, opened."""
    return FolderStudies(make_former_studies(tmp_path / "studies"), lambda: [ORGAN])


def test_the_scans_and_their_labels_are_those_of_the_folder(former: FolderStudies) -> None:
    assert former.scans() == SCANS
    assert former.labelled("organ") == ["anisotropic", "flipped"]
    assert former.waiting("organ") == ["oblique", "straight"], "a label that was removed is awaited again"
    assert {name: former.tags(name) for name in SCANS} == {
        "anisotropic": ["final"], "flipped": ["final", "original"], "oblique": [], "straight": [],
    }  # fmt: skip
    assert former.status() == {
        "total": 4, "completed": 2, "label_tags": {"final": 2, "original": 1}, "tasks": {"organ": 2},
        "partly_drawn": {},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "tag"), [("anisotropic", "final"), ("flipped", "final"), ("flipped", "original")]
)
def test_a_label_is_shown_as_it_was(name: str, tag: str, former: FolderStudies) -> None:
    path = former.label_path(name, tag)
    assert path is not None
    shown, drawn = read_label(path), make_label(name)
    assert np.array_equal(sitk.GetArrayFromImage(shown), sitk.GetArrayFromImage(drawn))
    notes = former.label_notes(name, tag)
    assert (notes["client_id"], notes["task"]) == ("ann", "organ")
    assert [entry["name"] for entry in notes["label_info"]] == ["organ_head", "organ_tail"]


def test_all_versions_are_known_and_the_newest_teaches(former: FolderStudies) -> None:
    told = [
        (one["version"], one["client_id"], one["removed"]) for one in former.label_versions("anisotropic")
    ]
    assert told == [(1, "ann", False), (2, "bob", False), (3, "ann", False)]
    assert former.training_label("anisotropic", "organ") == former.history.label("anisotropic", 3)
    assert former.training_label("oblique", "organ") is None
    former.restore_label("anisotropic", 2)
    shown = former.label_path("anisotropic", "final")
    assert shown is not None
    assert set(np.unique(sitk.GetArrayFromImage(read_label(shown)))) == {0, 1}, "bob left the tail out"


def test_a_label_goes_on_from_the_proposal_that_was_kept(former: FolderStudies, tmp_path: Path) -> None:
    assert former.proposed("oblique").label is not None
    label = tmp_path / "label.nii.gz"
    sitk.WriteImage(make_label("oblique"), label)
    record = former.save_label("oblique", label, "final", {"client_id": "ann"})
    assert record["version"] == 3, "after the version that removed it"
    assert record["started_from"]["changes"]["organ_head"]["dice"] == 1


def test_opening_leaves_the_index_as_it_is(tmp_path: Path) -> None:
    folder = make_former_studies(tmp_path / "studies")
    before = json.loads((folder / "datastore_v2.json").read_bytes())
    assert FolderStudies(folder, lambda: [ORGAN]).content()["objects"].keys() == before["objects"].keys()
    assert json.loads((folder / "datastore_v2.json").read_bytes()) == before


def test_its_trainings_are_shown_and_the_next_one_goes_on_with_its_model(
    former: FolderStudies, tmp_path: Path
) -> None:
    store = ModelRegistry(tmp_path / "store")
    publish_former_model(tmp_path / "store")
    folder = make_former_trainings(tmp_path / "training", tmp_path / "studies")
    training = StudyTraining("organ", lambda: ORGAN, store, folder)
    [run] = training.overview().former
    assert (run.number, run.version, run.published) == (1, 1, True)
    result = training.run(TrainingOptions(steps=1, networks="cs", validation_share=0.3), former)
    assert (result["version"], result["compared_with"]) == (2, 1)
    assert (result["labelled"], result["unlabelled"], result["refused"]) == (2, 2, {})
    assert store.info("organ").provenance["parent"] == {"name": "organ", "version": 1}
    assert [one.number for one in training.overview().former] == [2, 1]


def test_a_published_model_is_loaded_and_predicts(tmp_path: Path) -> None:
    folder = publish_former_model(tmp_path)
    weights = load_file(folder / "weights.safetensors")
    names = sorted(f"{name} {tuple(value.shape)}" for name, value in weights.items())
    assert hashlib.sha256("\n".join(names).encode()).hexdigest() == TENSORS
    model = ModelRegistry(tmp_path).load("organ")
    assert (model.info.version, model.info.recipe, model.info.learned_from["labelled"]) == (1, ORGAN, 2)
    found = Predictor(model)(Scan(make_scan("oblique"), "oblique", Path("oblique.nii.gz")))
    assert found.label.GetSize() == make_scan("oblique").GetSize()
    assert found.report.volumes_ml["organ_head"] > 0


def test_a_recipe_means_what_it_meant(tmp_path: Path) -> None:
    assert Recipe.model_validate(RECIPE) == ORGAN, "with the defaults of 0.1.0"
    file = tmp_path / "organ.toml"
    file.write_text(ORGAN_TOML)
    assert load_recipe(file) == ORGAN
