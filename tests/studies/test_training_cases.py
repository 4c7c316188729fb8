from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import SimpleITK as sitk
from outlined import Outlined
from synthetic import GEOMETRIES, ORGAN, SCANS, make_label, make_scan

from diffcl.errors import ArchiveDownError, DataError, DiffclError, OutputError
from diffcl.io import read_label
from diffcl.studies import training_cases as module
from diffcl.studies.training_cases import Roles, training_cases, validation_cases
from diffcl.training.label_remarks import label_remarks
from diffcl.training.validation import read_validation


@pytest.fixture
def outlined(studies: Path) -> Outlined:
    """The synthetic scans, none of them labelled."""
    return Outlined(studies)


def test_labelled_scans_teach_and_the_others_help(outlined: Outlined, tmp_path: Path) -> None:
    outlined.outline("oblique")
    found = training_cases(outlined, ORGAN, 0.5, tmp_path / "organ")
    assert [case.name for case in found.cases.labelled] == ["oblique"]
    assert [case.name for case in found.cases.unlabelled] == ["anisotropic", "flipped", "straight"]
    assert found.cases.validation == ()
    assert found.refused == {}


def test_a_scan_labelled_for_another_task_is_unlabelled_here(outlined: Outlined, tmp_path: Path) -> None:
    outlined.outline("oblique")
    outlined.outline("flipped", "heart")
    found = training_cases(outlined, ORGAN, 0.0, tmp_path / "organ")
    assert [case.name for case in found.cases.labelled] == ["oblique"]
    assert "flipped" in [case.name for case in found.cases.unlabelled]


def test_what_cannot_be_read_is_left_out_with_its_reason(outlined: Outlined, tmp_path: Path) -> None:
    for name in ("oblique", "straight"):
        outlined.outline(name)
    outlined.history.label("straight", 1).write_bytes(b"damaged")
    outlined.image_path("flipped").write_bytes(b"damaged")
    found = training_cases(outlined, ORGAN, 0.0, tmp_path / "organ")
    assert [case.name for case in found.cases.labelled] == ["oblique"]
    assert [case.name for case in found.cases.unlabelled] == ["anisotropic"]
    assert set(found.refused) == {"flipped", "straight"}
    assert all("not a NIfTI file" in why for why in found.refused.values())


@pytest.mark.parametrize("kind", [RuntimeError, MemoryError, TypeError, OSError])
def test_a_scan_on_which_a_library_fails_is_left_out_and_the_others_are_used(
    kind: type[Exception], outlined: Outlined, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = module.prepare_case

    def fail(case: Any, *args: Any) -> Any:
        if case.name == "flipped":
            raise kind("inside a filter")
        return prepare(case, *args)

    monkeypatch.setattr(module, "prepare_case", fail)
    for name in ("oblique", "flipped"):
        outlined.outline(name)
    found = training_cases(outlined, ORGAN, 0.0, tmp_path / "organ")
    assert [case.name for case in found.cases.labelled] == ["oblique"]
    assert [case.name for case in found.cases.unlabelled] == ["anisotropic", "straight"]
    assert found.refused == {"flipped": f"flipped: could not be used ({kind.__name__}); see the log"}


@pytest.mark.parametrize("kind", [RuntimeError, MemoryError])
def test_a_scan_that_cannot_validate_is_left_out(
    kind: type[Exception], outlined: Outlined, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffcl.studies.training_cases.ENOUGH_TO_VALIDATE", len(SCANS))
    for name in SCANS:
        outlined.outline(name)
    (first, *_) = training_cases(outlined, ORGAN, 0.5, tmp_path / "organ").cases.validation

    def fail(*_: Any) -> Any:
        raise kind("inside a filter")

    monkeypatch.setattr(module, "read_validation", fail)
    found = training_cases(outlined, ORGAN, 0.5, tmp_path / "organ")
    assert found.cases.validation == ()
    assert first.name in found.refused
    assert validation_cases(outlined, ORGAN, 0.5, tmp_path / "organ") == []


@pytest.mark.parametrize(
    "error",
    [ArchiveDownError("archive", "does not answer"), OutputError("prepared", "no space left")],
    ids=["archive down", "disk full"],
)
def test_what_is_no_fault_of_a_scan_ends_the_training(
    error: DiffclError, outlined: Outlined, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outlined.outline("oblique")

    def fail(_: str) -> Path:
        raise error

    monkeypatch.setattr(outlined, "image_path", fail)
    with pytest.raises(type(error)):
        training_cases(outlined, ORGAN, 0.0, tmp_path / "organ")
    with pytest.raises(type(error)):
        validation_cases(outlined, ORGAN, 0.0, tmp_path / "organ")


def test_an_upload_is_validated_on_the_scans_that_a_training_would_validate_on(
    outlined: Outlined, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffcl.studies.training_cases.ENOUGH_TO_VALIDATE", len(SCANS))
    for name in SCANS:
        outlined.outline(name)
    found = training_cases(outlined, ORGAN, 0.5, tmp_path / "organ")
    wanted = [case.name for case in found.cases.validation]
    assert [one.name for one in validation_cases(outlined, ORGAN, 0.5, tmp_path / "organ")] == wanted


def test_a_label_that_is_replaced_meanwhile_still_teaches_as_it_was(
    outlined: Outlined, tmp_path: Path
) -> None:
    outlined.outline("oblique")
    label = training_cases(outlined, ORGAN, 0.0, tmp_path / "organ").cases.labelled[0].label
    before = sitk.Hash(read_label(label))
    outlined.outline("oblique", label=make_label("oblique") == 1)
    assert sitk.Hash(read_label(label)) == before
    assert training_cases(outlined, ORGAN, 0.0, tmp_path / "organ").cases.labelled[0].label != label


def test_scans_that_validate_go_on_validating_when_more_labels_come(
    outlined: Outlined, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffcl.studies.training_cases.ENOUGH_TO_VALIDATE", len(SCANS))
    for name in SCANS:
        outlined.outline(name)
    cases = training_cases(outlined, ORGAN, 0.5, tmp_path / "organ").cases
    chosen = {case.name for case in cases.validation}
    assert 0 < len(chosen) < len(SCANS)
    assert chosen == {
        case.name for case in training_cases(outlined, ORGAN, 0.5, tmp_path / "organ").cases.validation
    }
    assert {
        case.name for case in training_cases(outlined, ORGAN, 0.3, tmp_path / "organ").cases.validation
    } <= chosen


def test_a_scan_that_vanishes_after_it_was_listed_is_left_out(
    outlined: Outlined, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    outlined.outline("oblique")
    listed = outlined.scans()
    outlined.image_path("flipped").unlink()
    monkeypatch.setattr(outlined, "scans", lambda: listed)
    found = training_cases(outlined, ORGAN, 0.0, tmp_path / "organ")
    assert [case.name for case in found.cases.unlabelled] == ["anisotropic", "straight"]
    assert found.refused == {"flipped": "image flipped: not there, or not any more"}


def test_whatever_is_labelled_next_scans_go_on_validating_and_teaching(
    outlined: Outlined, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    order = ["oblique", "flipped", "i", "anisotropic", "m", "c", "b"]
    for name in set(order) - set(SCANS):
        monkeypatch.setitem(GEOMETRIES, name, GEOMETRIES["oblique"])
        sitk.WriteImage(make_scan(name), outlined.folder / f"{name}.nii.gz")
    judged: set[str] = set()
    taught: set[str] = set()
    for count, name in enumerate(order, start=1):
        outlined.outline(name)
        cases = training_cases(outlined, ORGAN, 0.2, tmp_path / "organ").cases
        validating, teachers = ({case.name for case in part} for part in (cases.validation, cases.labelled))
        assert judged <= validating
        assert taught <= teachers
        assert len(validating) + len(teachers) == count
        assert bool(validating) == (count >= 5)
        judged, taught = validating, teachers
    assert len(judged) == 1  # a fifth of seven; it was the only one that had not taught when it was chosen
    assert judged == {"m"}


@pytest.mark.parametrize(("count", "validating"), [(1, 0), (4, 0), (5, 1), (8, 1), (30, 6), (200, 20)])
def test_no_more_scans_validate_than_the_share_says(count: int, validating: int) -> None:
    for start in range(20):  # whatever the scans are called
        names = [f"patient{start}-{number}" for number in range(count)]
        assert len(Roles().choose(names, 0.2)) == validating


def test_scans_go_on_validating_whatever_share_is_asked_for_later(tmp_path: Path) -> None:
    roles = Roles(judged=frozenset({"a"}), taught=frozenset({"b", "c", "d"}))
    assert roles.choose(["a", "b", "c", "d"], 0.0) == {"a"}
    assert roles.choose(["a", "b"], 0.5) == {"a"}
    assert roles.choose(["a"], 0.5) == set()  # somebody must teach
    assert roles.choose(["b", "c", "d", "e", "f"], 0.01) <= {"e", "f"}
    roles.write(tmp_path)
    assert Roles.read(tmp_path) == roles
    (tmp_path / "roles.json").write_text("{")
    with pytest.raises(DataError, match=r"roles.json: is damaged"):
        Roles.read(tmp_path)


def test_without_a_label_there_is_nothing_to_learn(outlined: Outlined, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no scan with a usable final label"):
        training_cases(outlined, ORGAN, 0.2, tmp_path / "organ")


def test_a_label_says_that_a_class_is_not_outlined(outlined: Outlined, tmp_path: Path) -> None:
    head = make_label("oblique")
    head = head * sitk.Cast(head == 1, sitk.sitkUInt8)
    file = tmp_path / "head.nii.gz"
    sitk.WriteImage(head, file)
    for name in ("straight", "flipped", "anisotropic"):
        outlined.outline(name)
    outlined.save_label("oblique", file, "final", {"model": "organ", "not_outlined": ["organ_tail"]})
    found = training_cases(outlined, ORGAN, 0.5, tmp_path / "organ")
    assert found.cases.validation == ()  # three labels are whole, and too few to keep some
    pairs = zip(found.cases.labelled, found.scans.labelled, strict=True)
    unknown = {case.name: (case.not_outlined, scan.unknown) for case, scan in pairs}
    assert unknown["oblique"] == (("organ_tail",), (2,))
    assert unknown["straight"] == ((), ())
    with pytest.raises(DataError, match="not_outlined is no list of classes"):
        outlined.save_label("oblique", file, "final", {"model": "organ", "not_outlined": ["liver"]})


def test_a_recipe_says_that_a_class_is_not_outlined_where_it_is_missing(
    outlined: Outlined, tmp_path: Path
) -> None:
    labels = [entry.model_copy(update={"missing": "not outlined"}) for entry in ORGAN.labels]
    recipe = ORGAN.model_copy(update={"labels": tuple(labels)})
    outlined.outline("straight")
    half = make_label("oblique")
    outlined.outline("oblique", label=half * sitk.Cast(half == 2, sitk.sitkUInt8))
    found = training_cases(outlined, recipe, 0.0, tmp_path / "organ")
    assert {scan.name: scan.unknown for scan in found.scans.labelled} == {"oblique": (1,), "straight": ()}
    case = next(case for case in found.cases.labelled if case.name == "oblique")
    with pytest.raises(
        DataError, match=r"organ_head is not outlined, so it cannot validate\. Let the scan teach"
    ):
        read_validation(case, recipe)
    assert label_remarks(found.scans.labelled, recipe) == (
        "oblique: organ_head is not outlined, so background there does not count as such.",
    )


def test_scans_of_one_patient_stand_on_one_side(outlined: Outlined, studies: Path, tmp_path: Path) -> None:
    """Two patients with two scans each, by a file in the studies: too few to keep one of them."""
    for name in SCANS:
        outlined.outline(name)
    lines = [f"{name},{patient}" for name, patient in zip(SCANS, "aabb", strict=True)]
    (studies / "patients.csv").write_text("\n".join(lines))
    found = training_cases(outlined, ORGAN, 0.5, tmp_path / "organ")
    assert {case.name for case in found.cases.labelled} == set(SCANS)


def test_a_patient_who_validates_teaches_with_no_scan_without_a_label_either(
    outlined: Outlined, studies: Path, tmp_path: Path
) -> None:
    for name in ("oblique", "straight"):
        outlined.outline(name)
    folder = tmp_path / "organ"
    Roles(judged=frozenset({"straight"}), taught=frozenset({"oblique"})).write(folder)
    (studies / "patients.csv").write_text("straight,a\nflipped,a\noblique,b\nanisotropic,b")
    found = training_cases(outlined, ORGAN, 0.2, folder)
    assert [case.name for case in found.cases.validation] == ["straight"]
    assert [case.name for case in found.cases.unlabelled] == ["anisotropic"]
    assert [scan.name for scan in found.scans.unlabelled] == ["anisotropic"]
    assert found.refused == {"flipped": "flipped: has no label, and its patient validates. Label it"}


def test_a_patient_judges_or_teaches_with_all_scans() -> None:
    patients = {name: name[0] for name in ("a_1", "a_2", "b_1", "b_2", "c_1", "c_2", "d_1", "e_1")}
    roles = Roles(taught=frozenset({"a_1"}), judged=frozenset({"b_1"}))
    assert roles.choose(list(patients), 0.2, patients) == {"b_1", "b_2"}
    both = Roles(taught=frozenset({"a_1"}), judged=frozenset({"a_2"}))
    assert not both.choose(list(patients), 0.2, patients) & {"a_1", "a_2"}
