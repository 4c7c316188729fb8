"""A label that is begun is finished on the scan's own grid, and what was given comes out bit for bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from scan_forms import ras_affine
from untrained import GRIDS, make_scan

import diffcl
from diffcl.errors import DataError, ScanError, UsageError
from diffcl.geometry import Geometry, difference, voxels
from diffcl.inference import Predictor
from diffcl.inference.interactive.completion import complete
from diffcl.inference.interactive.known import Meaning, read_known
from diffcl.inference.interactive.shapes import Distances, between_slices
from diffcl.io import Scan
from diffcl.models import Model
from diffcl.recipe import Recipe, parse_recipe


def partly(scan: Scan) -> sitk.Image:
    """Two slices of two classes, drawn across the last axis of the array."""
    label = np.zeros(scan.image.GetSize(), np.uint8)
    for index in (2, 5):
        label[6:14, 6:14, index] = 1
        label[10:14, 6:14, index] = 2
    return Geometry.of(scan.image).place(label)


def test_a_label_may_come_in_every_form_in_which_a_scan_may(tmp_path: Path) -> None:
    scan = make_scan(GRIDS["straight"])
    wanted = diffcl.complete(scan, partly(scan))
    values, affine = wanted.label_array(), ras_affine(Geometry.of(scan.image))
    np.testing.assert_allclose(wanted.affine, affine, atol=1e-6)
    drawn = voxels(partly(scan))
    sitk.WriteImage(partly(scan), tmp_path / "drawn.nrrd")
    forms = {
        "file": tmp_path / "drawn.nrrd",
        "nibabel": nib.Nifti1Image(drawn, affine),  # type: ignore[attr-defined]
        "nibabel, floats": nib.Nifti1Image(drawn.astype(np.float32), affine),  # type: ignore[attr-defined]
        "array": (drawn, affine),
        "integers": (drawn.astype(np.int16), affine),
    }
    for form, given in forms.items():
        np.testing.assert_array_equal(diffcl.complete(scan, given).label_array(), values, err_msg=form)
        started = diffcl.complete(scan, start=given, clicks={"class_1": [[13, 8, 8]]})
        assert started.label_array()[13, 8, 8] == 1
        assert started.uncertainty_array().shape == values.shape


@pytest.mark.parametrize("strange", [0.5, -1, 256, np.nan])
def test_numbers_that_are_no_classes_are_refused(strange: float) -> None:
    scan = make_scan(GRIDS["straight"])
    drawn = voxels(partly(scan)).astype(np.float32)
    drawn[1, 1, 1] = strange
    with pytest.raises(ScanError, match="is not a label"):
        diffcl.complete(scan, (drawn, ras_affine(Geometry.of(scan.image))))
    with pytest.raises(ScanError, match="is not a label"):
        diffcl.complete(scan, Geometry.of(scan.image).place(drawn))


@pytest.mark.parametrize("with_model", [True, False], ids=["with a model", "without"])
def test_known_slices_come_out_as_they_are_drawn(scan: Scan, model: Model, with_model: bool) -> None:
    drawn = partly(scan)
    found = diffcl.complete(scan, drawn, model if with_model else None)
    assert not difference(Geometry.of(found.label), Geometry.of(scan.image))
    assert not difference(Geometry.of(found.uncertainty), Geometry.of(scan.image))
    label, given = voxels(found.label), voxels(drawn)
    assert (label[:, :, [2, 5]] == given[:, :, [2, 5]]).all()
    assert (voxels(found.uncertainty)[:, :, [2, 5]] == 0).all()
    if with_model:
        assert found.model == "organ version 3"
        assert any("has not learned to complete" in warning for warning in found.warnings)
    else:
        assert (label[10:13, 8:12, 3] == 2).all()
        assert found.model == ""


def test_a_model_that_has_learned_to_complete_reads_what_is_drawn_where_no_noise_is(model: Model) -> None:
    learned = replace(model, info=model.info.model_copy(
        update={"recipe": model.info.recipe.changed(diffusion={"completion": 0.5})}
    ))  # fmt: skip
    scan, seen = make_scan(GRIDS["straight"]), []
    learned.ds.register_forward_pre_hook(lambda _, given: seen.append(given[1]))
    found = diffcl.complete(scan, partly(scan), learned)
    assert not any("has not learned to complete" in warning for warning in found.warnings)
    assert (voxels(found.label)[:, :, [2, 5]] == voxels(partly(scan))[:, :, [2, 5]]).all()
    without_noise = (seen[-1].abs() == 1).all(dim=1)[0]
    assert 0 < without_noise.float().mean() < 0.5


def test_a_slice_of_a_finer_scan_is_known_where_the_networks_see_it(model: Model) -> None:
    recipe = model.info.recipe.changed(grid={"spacing": [2.0, 2.0, 2.0]}, diffusion={"completion": 0.5})
    coarse = replace(model, info=model.info.model_copy(update={"recipe": recipe}))
    scan, seen = (
        make_scan(Geometry((20, 20, 24), (1.0, 1.0, 1.0), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1))),
        [],
    )
    coarse.ds.register_forward_pre_hook(lambda _, given: seen.append(given[1]))
    label = np.zeros((20, 20, 24), np.uint8)
    label[6:14, 6:14, 7] = label[6:14, 6:14, 16] = 1
    diffcl.complete(scan, Geometry.of(scan.image).place(label), coarse)
    without_noise = (seen[-1].abs() == 1).all(dim=1)[0]
    whole = without_noise[2:8, 2:8].all(dim=(0, 1))
    assert 2 <= int(whole.sum()) <= 4, "each slice in one or two of the coarse ones"


def test_the_same_question_has_the_same_answer(model: Model) -> None:
    scan = make_scan(GRIDS["straight"])
    one, other = (diffcl.complete(scan, partly(scan), model) for _ in range(2))
    assert (voxels(one.label) == voxels(other.label)).all()
    assert (voxels(one.uncertainty) == voxels(other.uncertainty)).all()


def test_clicks_are_obeyed_on_every_grid(scan: Scan, model: Model) -> None:
    clicks = {"head": [[3, 4, 2], [10, 11, 3]], "tail": [[5, 12, 5]], "background": [[15, 15, 4]]}
    label = voxels(diffcl.complete(scan, model=model, clicks=clicks).label)
    assert [int(label[i, j, k]) for i, j, k in ((3, 4, 2), (10, 11, 3), (5, 12, 5), (15, 15, 4))] == [
        1,
        1,
        2,
        0,
    ]


def test_clicks_correct_a_given_label_without_asking_a_model() -> None:
    scan = make_scan(GRIDS["straight"])
    begun = np.zeros(scan.image.GetSize(), np.uint8)
    begun[5:12, 5:12, 5:12] = 1
    start = Geometry.of(scan.image).place(begun)
    label = voxels(diffcl.complete(scan, start=start, clicks={"class_1": [[13, 8, 8]]}).label)
    assert label[13, 8, 8] == 1
    assert (label[:6] == begun[:6]).all()


def test_slices_that_are_known_to_be_empty_leave_an_empty_label() -> None:
    scan = make_scan(GRIDS["straight"])
    label = np.full(scan.image.GetSize(), 255, np.uint8)
    label[:, :, 4] = 0
    found = diffcl.complete(scan, Geometry.of(scan.image).place(label))
    assert not voxels(found.label).any()


def test_a_whole_label_is_answered_as_it_is(model: Model) -> None:
    scan = make_scan(GRIDS["straight"])
    found = diffcl.complete(scan, partly(scan), model, known="marked")
    assert (voxels(found.label) == voxels(partly(scan))).all()
    assert found.warnings == ["Nothing is unknown: the label is as it was drawn."]


def test_single_places_need_something_to_start_from() -> None:
    scan = make_scan(GRIDS["straight"])
    with pytest.raises(UsageError, match="no model, and no slice is drawn"):
        diffcl.complete(scan, partly(scan), known="voxels")
    with pytest.raises(UsageError, match="nothing is drawn and nothing is clicked"):
        diffcl.complete(scan)


def test_a_label_of_another_grid_is_refused(model: Model) -> None:
    scan, other = make_scan(GRIDS["straight"]), make_scan(GRIDS["flipped"])
    with pytest.raises(DataError, match="another grid"):
        diffcl.complete(scan, partly(other), model)
    with pytest.raises(DataError, match="another grid"):
        diffcl.complete(scan, partly(scan), start=partly(other))


def test_files_go_in_and_come_out(tmp_path: Path) -> None:
    scan = make_scan(GRIDS["oblique, anisotropic, odd"])
    sitk.WriteImage(scan.image, str(tmp_path / "scan.nii.gz"))
    sitk.WriteImage(partly(scan), str(tmp_path / "drawn.nii.gz"))
    found = diffcl.complete(tmp_path / "scan.nii.gz", tmp_path / "drawn.nii.gz")
    files = found.save(tmp_path / "out" / "label.nii.gz", tmp_path / "out" / "doubt.nrrd")
    assert [file.exists() for file in files] == [True, True]
    assert (
        sitk.GetArrayFromImage(sitk.ReadImage(str(files[0]))) == sitk.GetArrayFromImage(found.label)
    ).all()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"clicks": {"head": [[10**400, 1, 1]]}}, "noise, click of head: .* is no voxel"),
        ({"clicks": {"head": None}}, "noise, clicks of head: None is no list"),
        ({"clicks": [[1, 2, 3]]}, "noise, clicks: .* names no class"),
        ({"clicks": np.ones((2, 3))}, "noise, clicks: .* names no class"),
        ({"seed": 2**70}, f"seed: {2**70} is none. Give a whole number from 0"),
        ({"seed": -1}, "seed: -1 is none"),
        ({"seed": 1.5}, "seed: 1.5 is none"),
        ({"engine": "foo"}, "engine foo: there is none of that name. Known engines: auto, torch"),
        ({"engine": None}, "engine None: there is none of that name"),
    ],
    ids=["huge", "none", "list", "array", "huge seed", "negative seed", "half seed", "engine", "no engine"],
)
def test_what_is_no_argument_is_refused_before_anything_is_computed(
    given: dict[str, Any], said: str, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = make_scan(GRIDS["straight"])
    monkeypatch.setattr(Predictor, "__call__", lambda *_, **__: pytest.fail("the networks were asked"))
    with pytest.raises(UsageError, match=said) as refused:
        diffcl.complete(scan, partly(scan), model, **given)
    assert "\n" not in str(refused.value)


def test_the_file_of_a_loaded_image_is_not_replaced(tmp_path: Path) -> None:
    scan = make_scan(GRIDS["straight"])
    sitk.WriteImage(scan.image, tmp_path / "scan.nii.gz")
    sitk.WriteImage(partly(scan), tmp_path / "drawn.nii.gz")
    loaded = nib.load(tmp_path / "drawn.nii.gz")  # type: ignore[attr-defined]
    found = diffcl.complete(nib.load(tmp_path / "scan.nii.gz"), loaded)  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="is a label that is read"):
        found.save(tmp_path / "drawn.nii.gz")
    with pytest.raises(UsageError, match="is a scan itself"):
        found.save(tmp_path / "scan.nii.gz")
    in_memory = diffcl.complete(scan, partly(scan))
    assert in_memory.save(tmp_path / "drawn.nii.gz") == [tmp_path / "drawn.nii.gz"]


def test_unknown_voxels_of_a_label_to_start_from_are_filled_by_the_model(model: Model) -> None:
    scan = make_scan(GRIDS["straight"])
    proposed = Predictor(model)(scan)
    begun = np.ones(scan.image.GetSize(), np.uint8)
    begun[:, 8:] = 255
    at = (12, 14, 9)
    value = 1 if voxels(proposed.label)[at] == 2 else 2
    clicks = {["head", "tail"][value - 1]: [list(at)]}
    found = diffcl.complete(scan, start=Geometry.of(scan.image).place(begun), model=model, clicks=clicks)
    whole = np.where(begun == 255, voxels(proposed.label), begun)
    label, doubt = found.label_array(), found.uncertainty_array()
    assert 255 not in label
    around = begun == 255
    around[at] = False
    assert label[at] == value
    assert (label[around] == value).sum() > (whole[around] == value).sum(), "the click moves an outline"
    assert (label == whole).mean() > 0.8
    assert (doubt[:, :8] == 0).all()
    assert (doubt[:, 8:] > 0).any()
    count = 24 * 12 * 18 - 1
    said = f"The label to start from is unknown in {count} voxels; there it is as the model proposes."
    assert said in found.warnings


def test_unknown_voxels_of_a_label_to_start_from_need_a_model(recipe: Recipe) -> None:
    scan = make_scan(GRIDS["straight"])
    begun = np.ones(scan.image.GetSize(), np.uint8)
    begun[:2, 0, 0] = 255
    start, clicks = Geometry.of(scan.image).place(begun), {"background": [[0, 0, 0]]}
    for named in (None, recipe):
        with pytest.raises(
            UsageError,
            match=r"noise: the label to start from is unknown in 1 voxel \(value 255\)\. Name a model",
        ):
            diffcl.complete(scan, start=start, recipe=named, clicks=clicks)
    both = {"background": [[0, 0, 0], [1, 0, 0]]}
    assert 255 not in diffcl.complete(scan, start=start, clicks=both).label_array()


def test_255_is_a_class_where_the_recipe_says_so(recipe: Recipe) -> None:
    scan = make_scan(GRIDS["straight"])
    head, tail = recipe.labels
    mapped = recipe.model_copy(update={"labels": (
        head.model_copy(update={"sources": (255,)}), tail.model_copy(update={"sources": (2, 400)}),
    )})  # fmt: skip
    for value in (2, 400):
        drawn = voxels(partly(scan)).astype(np.int16)
        drawn = np.select([drawn == 1, drawn == 2], [255, value])
        given = Geometry.of(scan.image).place(drawn.astype(np.int16))
        found = diffcl.complete(scan, given, recipe=mapped)
        assert found.known == "Known are 2 axial slices (2, 5), background included"
        np.testing.assert_array_equal(found.label_array()[..., [2, 5]], voxels(partly(scan))[..., [2, 5]])
        told = "1 for 255" if value == 2 else "1 for 255, 2 for 400"
        said = f"The answer has the values of the classes of organ, not those of the label: {told}."
        assert found.warnings == [said]
        again = diffcl.complete(scan, start=given, recipe=mapped, clicks={"tail": [[1, 1, 1]]})
        assert again.label_array()[8, 8, 2] == 1
        assert again.warnings == [said]
    assert not diffcl.complete(scan, partly(scan), recipe=recipe).warnings


def test_large_values_cost_no_more_than_small_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    scan, asked = make_scan(GRIDS["oblique, anisotropic, odd"]), []

    def watched(*given: Any) -> Distances:
        asked.append(given[3])
        return between_slices(*given)

    monkeypatch.setattr("diffcl.inference.interactive.completion.between_slices", watched)
    small = diffcl.complete(scan, partly(scan))
    values = np.array([0, 7, 254], np.uint8)
    large = diffcl.complete(scan, Geometry.of(scan.image).place(values[voxels(partly(scan))]))
    assert asked == [3, 3]
    np.testing.assert_array_equal(large.label_array(), values[small.label_array()])
    assert list(large.volumes_ml) == ["class_7", "class_254"]
    assert [*large.volumes_ml.values()] == [*small.volumes_ml.values()]


def test_classes_that_nobody_drew_do_not_change_the_answer() -> None:
    scan = make_scan(GRIDS["straight"])
    alone = Geometry.of(scan.image).place((voxels(partly(scan)) > 0).astype(np.uint8) * 2)
    labels = [{"value": value, "name": f"c{value}"} for value in range(1, 5)]
    named = parse_recipe({"name": "many", "labels": labels}, "test")
    found, bare = diffcl.complete(scan, alone, recipe=named), diffcl.complete(scan, alone)
    np.testing.assert_array_equal(found.label_array(), bare.label_array())
    doubt = bare.uncertainty_array() * np.log(3) / np.log(5)
    np.testing.assert_allclose(found.uncertainty_array(), doubt, atol=0.006)


def test_a_class_that_is_proposed_in_drawn_slices_and_drawn_nowhere_is_named(model: Model) -> None:
    scan, predictor = make_scan(GRIDS["straight"]), Predictor(model)
    both = np.zeros(scan.image.GetSize(), np.uint8)
    both[4:10, 4:16, 4:14], both[10:16, 4:16, 4:14] = 1, 2
    grid, names = Geometry.of(scan.image), {"head": 1, "tail": 2}
    proposal = replace(predictor(scan), label=grid.place(both))
    head = np.zeros_like(both)
    head[4:10, 4:16, [6, 11]] = 1

    def warned(drawn: np.ndarray, meaning: Meaning | None = None, **given: Any) -> list[str]:
        known = read_known(grid.place(drawn), grid, "drawn", meaning=meaning)
        found = complete(scan, known, names, predictor=predictor, proposal=proposal, **given)
        return [warning for warning in found.warnings if "drawn nowhere" in warning]

    absent = "in the drawn slices and drawn nowhere, so it is taken for absent there"
    assert warned(head)[0].startswith(f"tail is proposed {absent}; draw it too, or mark")
    assert warned(head, start=both)[0].startswith(f"tail is in the label to start from {absent}")
    marked = np.full_like(both, 255)
    marked[..., 6] = 0
    assert warned(marked)[0].startswith(
        "head, tail are proposed in the drawn slices and drawn nowhere, so they are"
    )
    whole = np.where(head.any(axis=(0, 1)), both, 0).astype(np.uint8)
    beside = np.zeros_like(both)
    beside[4:10, 4:16, [15, 16]] = 1
    for drawn, meaning in ((whole, None), (head, "voxels"), (beside, None)):
        assert not warned(drawn, meaning)
