"""The calls of 3D Slicer's module MONAILabelReviewer, as it makes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import requests
import SimpleITK as sitk
from synthetic import make_label

FORM = {"Content-Type": "application/x-www-form-urlencoded", "accept": "application/json"}


def test_a_reviewer_reads_labels_approves_one_and_saves_a_version(server: Any, tmp_path: Path) -> None:
    label = tmp_path / "flipped.nii.gz"
    sitk.WriteImage(make_label("flipped"), label)
    with label.open("rb") as file:
        sent = requests.put(
            f"{server.url}/datastore/label?image=flipped",
            data={"params": json.dumps({"client_id": "ann"})},
            files={"label": ("flipped.nii.gz", file)},
            timeout=60,
        )
    assert sent.status_code == 200, sent.text

    store = requests.get(f"{server.url}/datastore/?output=all", timeout=30).json()
    assert "final" in store["objects"]["flipped"]["labels"]
    assert requests.get(f"{server.url}/datastore/image?image=flipped", timeout=30).status_code == 200
    assert (
        requests.get(f"{server.url}/datastore/label?label=flipped&tag=final", timeout=30).status_code == 200
    )

    meta = {
        "status": "approved",
        "approvedBy": "carol",
        "level": "medium",
        "comment": "good",
        "editTime": 1764300000,
    }
    told = requests.put(
        f"{server.url}/datastore/updatelabelinfo?label=flipped&tag=final",
        headers=FORM,
        data={"params": json.dumps({"segmentationMeta": meta})},
        timeout=30,
    )
    assert told.status_code == 200, told.text
    store = requests.get(f"{server.url}/datastore/?output=all", timeout=30).json()
    assert store["objects"]["flipped"]["labels"]["final"]["info"]["segmentationMeta"] == meta

    version = tmp_path / "version.nrrd"
    sitk.WriteImage(make_label("flipped"), version)
    content = {"label_info": [{"name": "organ_head", "idx": 1}, {"name": "organ_tail", "idx": 2}],
               "segmentationMeta": {**meta, "status": "flagged"}}  # fmt: skip
    with version.open("rb") as file:
        kept = requests.put(
            f"{server.url}/datastore/label?image=flipped&tag=version_1",
            data={"params": json.dumps(content)},
            files={"label": ("flipped.nrrd", file)},
            timeout=60,
        )
    assert kept.status_code == 200, kept.text
    store = requests.get(f"{server.url}/datastore/?output=all", timeout=30).json()
    labels = store["objects"]["flipped"]["labels"]
    assert labels["version_1"]["info"]["segmentationMeta"]["status"] == "flagged"
    assert labels["final"]["info"]["segmentationMeta"]["status"] == "approved"
    assert (
        requests.get(f"{server.url}/datastore/label?label=flipped&tag=version_1", timeout=30).status_code
        == 200
    )

    gone = requests.delete(f"{server.url}/datastore/label?id=flipped&tag=version_1", timeout=30)
    assert gone.status_code == 200
    refused = requests.put(
        f"{server.url}/datastore/updatelabelinfo?label=flipped&tag=final",
        headers=FORM,
        data={"params": json.dumps({"segmentationMeta": {"status": "perfect"}})},
        timeout=30,
    )
    assert refused.status_code == 400
    assert "segmentationMeta.status" in refused.json()["detail"]


def test_labels_are_handed_out_for_review(server: Any, tmp_path: Path) -> None:
    label = tmp_path / "straight.nii.gz"
    sitk.WriteImage(make_label("straight"), label)
    with label.open("rb") as file:
        requests.put(
            f"{server.url}/datastore/label?image=straight",
            files={"label": ("straight.nii.gz", file)},
            timeout=60,
        ).raise_for_status()
    found = requests.post(
        f"{server.url}/activelearning/review", json={"client_id": "carol"}, timeout=30
    ).json()
    assert (server.studies / "labels" / "final" / f"{found['id']}.nii.gz").is_file()
    assert found["remaining"] >= 1
