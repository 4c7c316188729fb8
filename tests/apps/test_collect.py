from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import SimpleITK as sitk
from synthetic import GEOMETRIES, ORGAN, SCANS, make_label, make_scan

from diffcl.errors import DataError
from diffcl.io import read_label
from diffcl.recipe import Recipe
from lib.collect import Roles, collect
from lib.datastore import StudyDatastore

OTHER = Recipe.model_validate({"name": "heart", "labels": [{"value": 1, "name": "atrium"}]})


@pytest.fixture
def store(studies: Path) -> StudyDatastore:
    return StudyDatastore(studies, lambda: [ORGAN, OTHER])


@pytest.fixture
def submit(store: StudyDatastore, tmp_path: Path) -> Callable[..., None]:
    """Submits a label with both classes for a scan, or one of the other task."""

    def run(name: str, *segments: str) -> None:
        label = make_label(name)
        names = segments or ("organ_head", "organ_tail")
        sitk.WriteImage(label if len(names) > 1 else label == 1, tmp_path / "label.nii.gz")
        listed = [{"name": segment, "idx": index} for index, segment in enumerate(names, start=1)]
        store.save_label(name, str(tmp_path / "label.nii.gz"), "final", {"label_info": listed})

    return run


def test_labelled_scans_teach_and_the_others_help(
    store: StudyDatastore, submit: Callable[..., None], tmp_path: Path
) -> None:
    submit("oblique")
    found = collect(store, ORGAN, 0.5, tmp_path / "organ")
    assert [case.name for case in found.cases.labelled] == ["oblique"]
    assert [case.name for case in found.cases.unlabelled] == ["anisotropic", "flipped", "straight"]
    assert found.cases.validation == ()
    assert found.refused == {}


def test_a_scan_labelled_for_another_task_is_unlabelled_here(
    store: StudyDatastore, submit: Callable[..., None], tmp_path: Path
) -> None:
    submit("oblique")
    submit("flipped", "atrium")
    found = collect(store, ORGAN, 0.0, tmp_path / "organ")
    assert [case.name for case in found.cases.labelled] == ["oblique"]
    assert "flipped" in [case.name for case in found.cases.unlabelled]


def test_what_cannot_be_read_is_left_out_with_its_reason(
    store: StudyDatastore, submit: Callable[..., None], studies: Path, tmp_path: Path
) -> None:
    for name in ("oblique", "straight"):
        submit(name)
    store.history.label("straight", 1).write_bytes(b"damaged")
    (studies / "flipped.nii.gz").write_bytes(b"damaged")
    found = collect(store, ORGAN, 0.0, tmp_path / "organ")
    assert [case.name for case in found.cases.labelled] == ["oblique"]
    assert [case.name for case in found.cases.unlabelled] == ["anisotropic"]
    assert set(found.refused) == {"flipped", "straight"}
    assert all("gzip" in why for why in found.refused.values())


def test_a_label_that_is_replaced_meanwhile_still_teaches_as_it_was(
    store: StudyDatastore, submit: Callable[..., None], tmp_path: Path
) -> None:
    submit("oblique")
    label = collect(store, ORGAN, 0.0, tmp_path / "organ").cases.labelled[0].label
    before = sitk.Hash(read_label(label))
    submit("oblique", "organ_tail", "organ_head")
    assert sitk.Hash(read_label(label)) == before
    assert collect(store, ORGAN, 0.0, tmp_path / "organ").cases.labelled[0].label != label


def test_judges_stay_judges_when_more_labels_come(
    store: StudyDatastore, submit: Callable[..., None], tmp_path: Path
) -> None:
    for name in SCANS:
        submit(name)
    cases = collect(store, ORGAN, 0.5, tmp_path / "organ").cases
    judges = {case.name for case in cases.validation}
    assert 0 < len(judges) < len(SCANS)
    assert judges == {case.name for case in collect(store, ORGAN, 0.5, tmp_path / "organ").cases.validation}
    assert {case.name for case in collect(store, ORGAN, 0.3, tmp_path / "organ").cases.validation} <= judges


def test_a_scan_that_vanishes_after_it_was_listed_is_left_out(
    store: StudyDatastore, submit: Callable[..., None], studies: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    submit("oblique")
    listed = store.list_images()
    (studies / "flipped.nii.gz").unlink()
    monkeypatch.setattr(store, "list_images", lambda: listed)
    found = collect(store, ORGAN, 0.0, tmp_path / "organ")
    assert [case.name for case in found.cases.unlabelled] == ["anisotropic", "straight"]
    assert found.refused == {"flipped": "image flipped: not there, or not any more"}


def test_whatever_is_labelled_next_judges_stay_judges_and_teachers_teachers(
    store: StudyDatastore, submit: Callable[..., None], studies: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    # Only the digest of "c" is below the share; that of "m" is the least of those before it.
    order = ["oblique", "flipped", "i", "anisotropic", "m", "c", "b"]
    for name in set(order) - set(SCANS):
        monkeypatch.setitem(GEOMETRIES, name, GEOMETRIES["oblique"])
        sitk.WriteImage(make_scan(name), studies / f"{name}.nii.gz")
    judged: set[str] = set()
    taught: set[str] = set()
    for count, name in enumerate(order, start=1):
        submit(name)
        cases = collect(store, ORGAN, 0.2, tmp_path / "organ").cases
        judges, teachers = ({case.name for case in part} for part in (cases.validation, cases.labelled))
        assert judged <= judges
        assert taught <= teachers
        assert len(judges) + len(teachers) == count
        assert bool(judges) == (count >= 4)
        judged, taught = judges, teachers
    assert judged == {"anisotropic", "c"}


def test_judges_judge_whatever_share_is_asked_for_later(tmp_path: Path) -> None:
    roles = Roles(judged=frozenset({"a"}), taught=frozenset({"b", "c", "d"}))
    assert roles.choose(["a", "b", "c", "d"], 0.0) == {"a"}
    assert roles.choose(["a", "b"], 0.5) == {"a"}
    assert roles.choose(["a"], 0.5) == set()  # somebody must teach
    assert len(roles.choose(["b", "c", "d", "e"], 0.01) & {"e"}) == 1
    roles.write(tmp_path)
    assert Roles.read(tmp_path) == roles
    (tmp_path / "roles.json").write_text("{")
    with pytest.raises(DataError, match=r"roles.json: is damaged"):
        Roles.read(tmp_path)


def test_without_a_label_there_is_nothing_to_learn(store: StudyDatastore, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no scan with a usable final label"):
        collect(store, ORGAN, 0.2, tmp_path / "organ")
