"""SmartEdit and Scribbles of 3D Slicer and Point Prompts of OHIF: their requests, byte for byte, and their answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import SimpleITK as sitk
from synthetic import ORGAN_TOML, make_scan, same_place

from diffcl.geometry import Geometry, voxels
from diffcl.inference import Prediction
from diffcl.inference.served_models import ServedModels
from diffcl.resources import app_folder

Ask = Callable[..., httpx.Response]

LIMIT = "----------lImIt_of_THE_fIle_eW_$"
"""Between the parts of a request of Slicer's plug-in."""

BOUNDARY = "----WebKitFormBoundaryAbCdEfGhIjKlMnOp"
"""Between the parts of a request of a browser."""


def from_slicer(params: dict[str, Any], label: Path | None = None) -> dict[str, Any]:
    """Body and headers as `MONAILabelUtils.encode_multipart_formdata` of the plug-in makes them."""
    lines: list[bytes] = [b"--" + LIMIT.encode(), b'Content-Disposition: form-data; name="params"', b""]
    lines.append(json.dumps(params).encode())
    if label is not None:
        lines += [
            b"--" + LIMIT.encode(),
            f'Content-Disposition: form-data; name="label"; filename="{label}"'.encode(),
            b"Content-Type: application/octet-stream",
            b"",
            label.read_bytes(),
        ]
    lines += [b"--" + LIMIT.encode() + b"--", b""]
    body = b"".join(line + b"\r\n" for line in lines)
    return {"content": body, "headers": {"content-type": f"multipart/form-data; boundary={LIMIT}"}}


def from_ohif(params: dict[str, Any]) -> dict[str, Any]:
    """Body and headers as a browser sends the FormData of `MonaiLabelClient.infer`."""
    said = json.dumps(params, separators=(",", ":"))
    body = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="params"\r\n\r\n{said}\r\n--{BOUNDARY}--\r\n'
    )
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    return {
        "content": body.encode(),
        "headers": {"content-type": kind, "accept": "application/json, multipart/form-data"},
    }


def answered(ask: Ask, model: str, given: dict[str, Any], folder: Path) -> tuple[sitk.Image, dict[str, Any]]:
    """Label and params of the answer to a request, which is sent once for each."""
    image, params = (
        ask("POST", f"/infer/{model}?image=straight&output={output}", **given) for output in ("image", "json")
    )
    assert (image.status_code, params.status_code) == (200, 200), image.text
    (folder / "answer.nrrd").write_bytes(image.content)
    found = sitk.ReadImage(folder / "answer.nrrd")
    (folder / "answer.nrrd").unlink()
    return found, params.json()


def drawn(name: str, folder: Path, *values: int) -> Path:
    """A file of segments of these values, in every second of the slices 2, 4, 6."""
    image = make_scan(name)
    label = np.zeros(image.GetSize(), np.uint8)
    for place, value in enumerate(values):
        label[3 + 4 * place : 7 + 4 * place, 5:11, [2, 6]] = value
    sitk.WriteImage(Geometry.of(image).place(label), folder / "segments.nii.gz")
    return folder / "segments.nii.gz"


CLICKS = {"organ_head": [[5, 6, 7], [9, 9, 9]], "organ_tail": [[12, 4, 3]], "background": [[1, 1, 1]]}
SLICER_CLICKS = {
    **CLICKS,
    "liver": [],
    "label": "organ_head",
    "networks": "ensemble",
    "reset_state": True,
    "result_extension": ".nrrd",
    "result_dtype": "uint8",
    "client_id": "user-xyz",
}
OHIF_CLICKS = {**CLICKS, "result_extension": ".nrrd", "result_dtype": "uint8", "result_compress": False,
               "restore_label_idx": False}  # fmt: skip
SEGMENTS = [
    {"name": "organ_head", "id": 1},
    {"name": "organ_tail", "id": 2},
    {"name": "background_scribbles", "id": 3},
    {"name": "foreground_scribbles", "id": 4},
]
SCRIBBLES = {
    "networks": "ensemble",
    "known": "slices",
    "roi": [],
    "label_info": SEGMENTS,
    "selected_label_name": "organ_tail",
    "result_extension": ".nrrd",
    "result_dtype": "uint8",
    "client_id": "user-xyz",
}


def test_each_list_of_the_viewers_has_one_entry_a_model(app: Any) -> None:
    models = json.loads(json.dumps(app.info()["models"], allow_nan=False))
    kinds = {"organ": "segmentation", "organ_uncertainty": "others", "organ_clicks": "deepedit",
             "organ_complete": "scribbles"}  # fmt: skip
    assert {name: model["type"] for name, model in models.items()} == kinds
    assert models["organ_clicks"]["labels"] == {"organ_head": 1, "organ_tail": 2}
    assert models["organ_clicks"]["description"].startswith(
        "Corrects the outline around your clicks: organ, version 1"
    )
    assert models["organ_complete"]["description"].startswith("Finishes what you drew in some slices: organ")
    assert models["organ_complete"]["config"]["known"] == ["slices", "voxels", "touched"]


@pytest.mark.parametrize(
    "request_of", [from_slicer(SLICER_CLICKS), from_ohif(OHIF_CLICKS)], ids=["SmartEdit", "Point Prompts"]
)
def test_clicks_of_both_viewers_are_obeyed(request_of: dict[str, Any], ask: Ask, tmp_path: Path) -> None:
    image, params = answered(ask, "organ_clicks", request_of, tmp_path)
    assert same_place(image, make_scan("straight"))
    label = voxels(image)
    assert [int(label[i, j, k]) for i, j, k in ((5, 6, 7), (9, 9, 9), (12, 4, 3), (1, 1, 1))] == [1, 1, 2, 0]
    assert params["label_names"] == {"organ_head": 1, "organ_tail": 2}
    assert params["known"] == "Known are 4 clicked voxels"
    assert (params["model"], params["version"]) == ("organ", 1)


def test_point_prompts_get_the_bare_image(ask: Ask) -> None:
    response = ask("POST", "/infer/organ_clicks?image=straight&output=image", **from_ohif(OHIF_CLICKS))
    assert response.content.startswith(b"NRRD")


def test_scribbles_get_the_chosen_class_and_keep_what_is_drawn(ask: Ask, tmp_path: Path) -> None:
    file = drawn("straight", tmp_path, 1, 2, 3)
    image, params = answered(ask, "organ_complete", from_slicer(SCRIBBLES, file), tmp_path)
    label, given = voxels(image), voxels(sitk.ReadImage(file))
    assert params["label_names"] == {"organ_tail": 1}
    assert (label[..., [2, 6]] == (given[..., [2, 6]] == 2)).all()
    assert params["known"].startswith("Known are 2 axial slices (2, 6), background included")
    assert any("has not learned to complete" in warning for warning in params["warnings"])
    whole = {**SCRIBBLES, "selected_label_name": ""}
    image, params = answered(ask, "organ_complete", from_slicer(whole, file), tmp_path)
    assert params["label_names"] == {"organ_head": 1, "organ_tail": 2}
    assert (voxels(image)[..., [2, 6]] == np.where(given[..., [2, 6]] > 2, 0, given[..., [2, 6]])).all()


def test_strokes_are_known_and_belong_to_the_chosen_class(ask: Ask, tmp_path: Path) -> None:
    file = drawn("straight", tmp_path, 4, 3)
    image, params = answered(ask, "organ_complete", from_slicer(SCRIBBLES, file), tmp_path)
    given = voxels(sitk.ReadImage(file))
    assert (voxels(image)[given == 4] == 1).all()
    assert (voxels(image)[given == 3] == 0).all()
    assert params["known"] == "Known are 96 scribbled voxels"


def test_a_segment_named_unknown_says_what_is_not_known(ask: Ask, tmp_path: Path) -> None:
    image = make_scan("straight")
    label = np.full(image.GetSize(), 2, np.uint8)
    label[..., :10] = 0
    label[4:9, 5:11, 3:8] = 1
    sitk.WriteImage(Geometry.of(image).place(label), tmp_path / "segments.nii.gz")
    wanted = {**SCRIBBLES, "label_info": [{"name": "organ_head", "id": 1}, {"name": "unknown", "id": 2}],
              "selected_label_name": "organ_head"}  # fmt: skip
    found, params = answered(
        ask, "organ_complete", from_slicer(wanted, tmp_path / "segments.nii.gz"), tmp_path
    )
    assert (voxels(found)[..., :10] == (label[..., :10] == 1)).all()
    assert "marked as unknown" in params["known"]


def test_what_was_touched_in_a_proposal_never_changes(ask: Ask, app: Any, tmp_path: Path) -> None:
    answer = app.infer({"model": "organ", "image": "straight"})
    proposal = sitk.ReadImage(answer["file"])
    Path(answer["file"]).unlink()
    touched = voxels(proposal).copy()
    touched[6:9, 6:9, 6:9] = np.where(touched[6:9, 6:9, 6:9] == 2, 1, 2)
    sitk.WriteImage(Geometry.of(proposal).place(touched), tmp_path / "segments.nii.gz")
    wanted = {**SCRIBBLES, "known": "touched"}
    found, params = answered(
        ask, "organ_complete", from_slicer(wanted, tmp_path / "segments.nii.gz"), tmp_path
    )
    assert params["known"] == "Known are the 27 voxels that differ from the proposal"
    assert (voxels(found)[6:9, 6:9, 6:9] == (touched[6:9, 6:9, 6:9] == 2)).all()


def test_nothing_changes_outside_a_box(ask: Ask, app: Any, tmp_path: Path) -> None:
    answer = app.infer({"model": "organ", "image": "straight"})
    proposal = voxels(sitk.ReadImage(answer["file"]))
    Path(answer["file"]).unlink()
    wanted = {**SLICER_CLICKS, "organ_tail": [], "background": [], "organ_head": [[5, 6, 7]],
              "roi": [8, 2, 3, 9, 4, 10]}  # fmt: skip
    found, _ = answered(ask, "organ_clicks", from_slicer(wanted), tmp_path)
    outside = np.ones(proposal.shape, bool)
    outside[2:9, 3:10, 4:11] = False
    assert (voxels(found)[outside] == proposal[outside]).all()
    assert voxels(found)[5, 6, 7] == 1


def test_clicks_correct_a_label_that_comes_with_them(ask: Ask, tmp_path: Path) -> None:
    file = drawn("straight", tmp_path, 1, 2)
    wanted = {**SLICER_CLICKS, "organ_head": [[15, 15, 12]], "organ_tail": [], "background": []}
    found, _ = answered(ask, "organ_clicks", from_slicer(wanted, file), tmp_path)
    given = voxels(sitk.ReadImage(file))
    assert voxels(found)[15, 15, 12] == 1
    assert (voxels(found)[:, :, :6] == given[:, :, :6]).all()


def test_what_is_unknown_of_a_label_that_comes_with_clicks_is_as_the_model_proposes(
    ask: Ask, app: Any, tmp_path: Path
) -> None:
    answer = app.infer({"model": "organ", "image": "straight"})
    proposal = voxels(sitk.ReadImage(answer["file"]))
    Path(answer["file"]).unlink()
    label = np.full(proposal.shape, 3, np.uint8)
    label[:, :, :8] = 1
    sitk.WriteImage(Geometry.of(make_scan("straight")).place(label), tmp_path / "segments.nii.gz")
    wanted = {
        **SLICER_CLICKS,
        "organ_head": [[1, 1, 1]],
        "organ_tail": [],
        "background": [],
        "label_info": [{"name": "organ_head", "id": 1}, {"name": "unknown", "id": 3}],
    }
    found, params = answered(ask, "organ_clicks", from_slicer(wanted, tmp_path / "segments.nii.gz"), tmp_path)
    assert (voxels(found)[:, :, :8] == 1).all()
    assert (voxels(found)[:, :, 8:] == proposal[:, :, 8:]).all()
    assert any("there it is as the model proposes" in warning for warning in params["warnings"])


@pytest.fixture
def no_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for the prediction fails."""

    def predict(*_: Any, **__: Any) -> None:
        raise AssertionError("the scan was computed before the request was looked at")

    monkeypatch.setattr(ServedModels, "predict", predict)


@pytest.mark.usefixtures("no_prediction")
@pytest.mark.parametrize(
    ("model", "params", "status", "said"),
    [
        ("organ_clicks", {"organ_head": [[5, 6, 70]]}, 400, "lies outside the scan"),
        ("organ_clicks", {"organ_head": [[5, 6, 7.5]]}, 400, "is no voxel"),
        ("organ_clicks", {"organ_head": "here"}, 400, "clicks of organ_head: here is no list"),
        ("organ_clicks", {"organ_head": [[1, 1, 1]], "background": [[1, 1, 1]]}, 400, "was clicked as"),
        ("organ_clicks", {"heart": [[1, 1, 1]]}, 404, "class heart: there is none of that name"),
        (
            "organ_clicks",
            {"organ_head": [[i // 288, i // 16 % 18, i % 16] for i in range(1001)]},
            400,
            "1000 clicks",
        ),
        ("organ_clicks", {"organ_head": [[1, 1, 1]], "roi": [1, 2]}, 400, "roi: [1, 2] is no box"),
        ("organ_clicks", {"organ_head": [[1, 1, 1]], "roi": 7}, 400, "roi: 7 is no box"),
        ("organ_clicks", {"organ_head": [[1, 1, 1]], "roi": {"a": 1}}, 400, "roi: {'a': 1} is no box"),
        (
            "organ_clicks",
            {"organ_head": [[1, 1, 1]], "roi": [90, 99, 0, 5, 0, 5]},
            400,
            "lies outside the scan",
        ),
        ("organ_complete", SCRIBBLES, 400, "no segments came with the request"),
    ],
    ids=[
        "outside",
        "half",
        "text",
        "contradiction",
        "name",
        "many",
        "no box",
        "a number",
        "an object",
        "box outside",
        "no file",
    ],
)
def test_what_cannot_be_used_is_refused(
    model: str, params: dict[str, Any], status: int, said: str, ask: Ask
) -> None:
    response = ask("POST", f"/infer/{model}?image=straight", **from_slicer(params))
    assert response.status_code == status, response.text
    assert said in response.json()["detail"]


@pytest.mark.usefixtures("no_prediction")
@pytest.mark.parametrize(
    ("scan", "values", "params", "status", "said"),
    [
        ("oblique", (1, 2), {}, 422, "its segments lie on another grid"),
        ("straight", (), {}, 422, "nothing is drawn"),
        ("straight", (7,), {}, 422, "value 7 of its label is no listed segment"),
        ("straight", (1,), {"label_info": [{"name": "heart", "id": 1}]}, 404, "segment heart: there is none"),
        ("straight", (1,), {"label_info": ["heart"]}, 400, "label_info: heart is no segment"),
        ("straight", (1,), {"label_info": "heart"}, 400, "label_info: is no list"),
        ("straight", (1,), {"known": "all"}, 400, "option known"),
        ("straight", (4,), {"selected_label_name": "heart"}, 404, "class heart: there is none of that name"),
        ("straight", (1,), {"selected_label_name": "heart"}, 404, "class heart: there is none of that name"),
        ("straight", (1,), {"plane": "sagittal"}, 422, "no sagittal slice is drawn"),
        ("straight", (1,), {"roi": [1, 2]}, 400, "roi: [1, 2] is no box"),
    ],
    ids=[
        "grid",
        "empty",
        "value",
        "name",
        "no segments",
        "no list",
        "option",
        "chosen scribbles",
        "chosen",
        "plane",
        "box",
    ],
)
def test_segments_that_cannot_be_used_are_refused(
    scan: str,
    values: tuple[int, ...],
    params: dict[str, Any],
    status: int,
    said: str,
    ask: Ask,
    tmp_path: Path,
) -> None:
    file = drawn(scan, tmp_path, *values)
    response = ask(
        "POST", "/infer/organ_complete?image=straight", **from_slicer({**SCRIBBLES, **params}, file)
    )
    assert response.status_code == status, response.text
    assert said in response.json()["detail"]


def test_a_proposal_as_it_came_is_refused_with_what_to_do(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = make_scan("straight")
    label = np.zeros(image.GetSize(), np.uint8)
    label[4:9, 5:11, 3:12] = 1
    predict = ServedModels.predict

    def proposed(*given: Any, **options: Any) -> Prediction:
        return replace(predict(*given, **options), label=Geometry.of(image).place(label))

    monkeypatch.setattr(ServedModels, "predict", proposed)
    sitk.WriteImage(Geometry.of(image).place(label), tmp_path / "segments.nii.gz")
    response = ask("POST", "/infer/organ_complete?image=straight",
                   **from_slicer(SCRIBBLES, tmp_path / "segments.nii.gz"))  # fmt: skip
    assert response.status_code == 422
    assert "Mark what is unknown by a segment named unknown" in response.json()["detail"]


def test_a_path_of_the_server_is_never_taken_for_a_drawn_label(ask: Ask, tmp_path: Path) -> None:
    file = drawn("straight", tmp_path, 1)
    response = ask(
        "POST", "/infer/organ_complete?image=straight", **from_slicer({**SCRIBBLES, "drawn": str(file)})
    )
    assert response.status_code == 400
    assert "no segments came with the request" in response.json()["detail"]


def test_a_task_without_a_model_completes_by_interpolation(app: Any, studies: Path, tmp_path: Path) -> None:
    (tmp_path / "organ.toml").write_text(ORGAN_TOML.replace('"organ"', '"new_organ"'))
    conf = {"store": str(tmp_path / "none"), "models": "new_organ", "recipe": str(tmp_path / "organ.toml")}
    new = type(app)(str(app_folder()), str(studies), conf)
    models = new.info()["models"]
    assert {name: model["type"] for name, model in models.items()} == {
        "new_organ": "segmentation",
        "new_organ_complete": "scribbles",
    }
    file = drawn("straight", tmp_path, 1, 2)
    answer = new.infer({"model": "new_organ_complete", "image": "straight", "drawn": str(file),
                        "label_info": SEGMENTS})  # fmt: skip
    label = voxels(sitk.ReadImage(answer["file"]))
    Path(answer["file"]).unlink()
    assert (label[4:6, 6:10, 3:6] == 1).all()
    assert (label[8:10, 6:10, 3:6] == 2).all()
    assert (label[..., 7:] == 0).all()


def test_what_is_finished_is_no_label_by_itself(ask: Ask) -> None:
    response = ask("POST", "/infer/organ_clicks?image=straight",
                   **from_slicer({**SLICER_CLICKS, "save_label": True}))  # fmt: skip
    assert response.status_code == 422
