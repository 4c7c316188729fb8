"""Two organs on the same scans, outlined by two people through the server, and proposed together."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import SimpleITK as sitk
from synthetic import ORGAN, SCANS, make_label, publish_untrained

from diffcl.geometry import Geometry, voxels
from diffcl.models import ModelRegistry
from diffcl.recipe import Recipe
from diffcl.resources import app_folder

HEART = Recipe.model_validate(
    {**ORGAN.model_dump(exclude_unset=True), "name": "heart", "labels": [{"value": 1, "name": "atrium"}]}
)

NAMES = {"organ": ["organ_head", "organ_tail"], "heart": ["atrium"]}

Put = Callable[..., dict[str, Any]]


@pytest.fixture
def app(app: Any, store: ModelRegistry, studies: Path) -> Any:
    """The app, with a model of each organ."""
    publish_untrained(store, recipe=HEART)
    conf = {"store": str(store.folders[0]), "models": "organ,heart"}
    return type(app)(app_dir=str(app_folder()), studies=str(studies), conf=conf)


@pytest.fixture
def put(ask: Callable[..., httpx.Response], tmp_path: Path) -> Put:
    """Submits a label of some segments for a scan in the name of somebody."""

    def send(scan: str, label: sitk.Image, names: list[str], who: str) -> dict[str, Any]:
        sitk.WriteImage(label, tmp_path / "sent.nii.gz")
        listed = [{"name": name, "idx": value} for value, name in enumerate(names, start=1)]
        form = {"params": json.dumps({"client_id": who, "label_info": listed})}
        files = {"label": ("sent.nii.gz", (tmp_path / "sent.nii.gz").read_bytes())}
        answer = ask(
            "PUT", "/datastore/label", params={"image": scan, "tag": "final"}, files=files, data=form
        )
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    return send


def atrium(scan: str) -> sitk.Image:
    """A label of the heart, beside the organ."""
    grid = Geometry.of(make_label(scan))
    values = grid.zeros(np.uint8)
    values[4:9, 12:15, 4:8] = 1
    return grid.place(values)


def test_two_people_outline_an_organ_each_and_models_learn_from_their_own(
    app: Any, ask: Callable[..., httpx.Response], put: Put, tmp_path: Path
) -> None:
    *for_ann, last = SCANS
    for scan in for_ann:
        put(scan, make_label(scan), NAMES["organ"], "ann")
    for scan in SCANS[1:]:
        put(scan, atrium(scan), NAMES["heart"], "bob")

    def label(tag: str) -> tuple[np.ndarray, list[str], str]:
        where = {"label": "oblique", "tag": tag}
        (tmp_path / "got.nii.gz").write_bytes(ask("GET", "/datastore/label", params=where).content)
        about = ask("GET", "/datastore/label/info", params=where).json()
        names = [entry["name"] for entry in about["label_info"]]
        return voxels(sitk.ReadImage(tmp_path / "got.nii.gz")), names, about["client_id"]

    organ, heart = voxels(make_label("oblique")), voxels(atrium("oblique"))
    for tag, values, names, who in (
        ("final.organ", organ, NAMES["organ"], "ann"),
        ("final.heart", heart, NAMES["heart"], "bob"),
        (
            "final",
            np.where(heart, 1, np.array([0, 2, 3])[organ]),
            ["atrium", "organ_head", "organ_tail"],
            "bob",
        ),
    ):
        found = label(tag)
        np.testing.assert_array_equal(found[0], values)
        assert found[1:] == (names, who)
    next_ones = [ask("POST", "/activelearning/first", json={"task": task}).json()["id"] for task in NAMES]
    assert next_ones == [last, SCANS[0]]
    trained = app.train({"model": "heart", "steps": 1})
    assert (trained["version"], trained["labelled"], trained["unlabelled"]) == (2, 3, 1)

    asked = {"image": last, "output": "image"}
    (tmp_path / "both.nii.gz").write_bytes(ask("POST", "/infer/organ+heart", params=asked).content)
    answer = ask("POST", "/infer/organ+heart", params={**asked, "output": "json"}).json()
    assert answer["versions"] == {"organ": 1, "heart": 2}
    both = sitk.ReadImage(tmp_path / "both.nii.gz")
    told = put(last, both, list(answer["label_names"]), "carol")
    assert told["stored"] == {"heart": 2, "organ": 3}
    assert ask("GET", "/info/").json()["datastore"]["tasks"] == {"organ": 4, "heart": 3}
    assert (
        ask("DELETE", "/datastore/label", params={"id": "oblique", "tag": "final.heart"}).status_code == 200
    )
    np.testing.assert_array_equal(label("final")[0], organ)
    assert label("final")[1:] == (NAMES["organ"], "ann")
