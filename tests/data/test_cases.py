"""Splitting a folder into labelled, unlabelled and validation cases."""

from __future__ import annotations

from pathlib import Path

import pytest

from diffcl.data.cases import Cases, LabelledCase, UnlabelledCase, find_cases, outlined
from diffcl.errors import DataError, UsageError
from diffcl.io import is_label


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Five scans, of which `a`, `b` and `e` have a label."""
    for kind, names in {"images": "abcde", "labels": "abe"}.items():
        (tmp_path / kind).mkdir()
        for name in names:
            (tmp_path / kind / f"{name}.nii.gz").touch()
    return tmp_path


def names(cases: Cases) -> tuple[list[str], list[str], list[str]]:
    return (
        [case.name for case in cases.labelled],
        [case.name for case in cases.unlabelled],
        [case.name for case in cases.validation],
    )


def test_the_first_are_labelled_and_the_last_validate(data: Path) -> None:
    assert names(find_cases(data, labelled=2, validation=1)) == (["a", "b"], ["c", "d"], ["e"])


def test_the_order_is_that_of_the_list(data: Path) -> None:
    (data / "train.txt").write_text("e\nd\nc\na\nb\n")
    assert names(find_cases(data, labelled=1, validation=1)) == (["e"], ["d", "c", "a"], ["b"])


def test_a_scan_outside_of_the_list_is_not_used(data: Path) -> None:
    (data / "train.txt").write_text("a\nb\nc\n")
    assert names(find_cases(data, labelled=1)) == (["a"], ["b", "c"], [])


def test_files_of_names_decide_as_well(data: Path, tmp_path: Path) -> None:
    labelled, validation = tmp_path / "labelled.txt", tmp_path / "validation.txt"
    labelled.write_text("e\n\n")
    validation.write_text("b\n")
    assert names(find_cases(data, labelled=labelled, validation=validation)) == (
        ["e"],
        ["a", "c", "d"],
        ["b"],
    )


def test_a_label_may_be_a_segmentation_of_3d_slicer(data: Path) -> None:
    (data / "labels" / "a.nii.gz").rename(data / "labels" / "a.seg.nrrd")
    assert [case.label.name for case in find_cases(data, labelled=2).labelled] == ["a.seg.nrrd", "b.nii.gz"]


def test_an_unlabelled_case_has_no_place_for_a_label(data: Path) -> None:
    case = find_cases(data, labelled=2).unlabelled[0]
    assert isinstance(case, UnlabelledCase)
    assert not hasattr(case, "label")


def test_all_missing_labels_are_named_at_once(data: Path) -> None:
    with pytest.raises(DataError, match=r"no label for c, d\."):
        find_cases(data, labelled=5)


def test_listed_scans_and_labels_that_are_missing_are_named_at_once(data: Path) -> None:
    (data / "train.txt").write_text("a\nc\nx\ny\n")
    with pytest.raises(DataError, match=r"no scan for x, y; no label for c\."):
        find_cases(data, labelled=2)


def test_labels_of_unlabelled_scans_are_not_looked_at(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = []
    monkeypatch.setattr("diffcl.data.cases.is_label", lambda path: looked_at.append(path) or is_label(path))
    find_cases(data, labelled=2)
    labels = [path.name for path in looked_at if path.parent.name == "labels"]
    assert labels == ["a.nii.gz", "b.nii.gz"]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="images: no such folder"):
        find_cases(tmp_path, labelled=1)


@pytest.mark.parametrize(
    ("labelled", "validation"),
    [(6, 0), (0, 0), (3, 3), (2, 6), (2, 8), (-1, 2), (2, -1)],
    ids=["more", "none", "overlap", "more for validation", "one round more", "minus", "minus for validation"],
)
def test_impossible_numbers_are_refused(data: Path, labelled: int, validation: int) -> None:
    told = f"5 scans cannot give {labelled} labelled and {validation} for validation"
    with pytest.raises(UsageError, match=told):
        find_cases(data, labelled=labelled, validation=validation)


def test_more_for_validation_than_there_are_is_refused_beside_a_list_of_labelled_ones(data: Path) -> None:
    (data / "mine.txt").write_text("a\n")
    with pytest.raises(UsageError, match="cannot give those of a list labelled and 7 for validation"):
        find_cases(data, labelled=data / "mine.txt", validation=7)


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"\n \n", "names no scan"), (b"a\nb\na\n", "names a twice"), (b"\xff\xfea\0", "cannot be read")],
    ids=["empty", "twice", "UTF-16"],
)
@pytest.mark.parametrize("kind", ["train", "labelled", "validation"])
def test_a_list_that_says_nothing_certain_is_refused_by_its_name(
    data: Path, kind: str, content: bytes, told: str
) -> None:
    (data / f"{kind}.txt").write_bytes(content)
    asked: dict[str, int | Path] = {"labelled": 1, "validation": 1}
    if kind != "train":
        asked[kind] = data / f"{kind}.txt"
    with pytest.raises(DataError, match=rf"{kind}\.txt: {told}"):
        find_cases(data, **asked)  # type: ignore[arg-type]


def test_a_list_that_an_editor_marked_as_unicode_is_read(data: Path) -> None:
    (data / "train.txt").write_text("a\nc\n", encoding="utf-8-sig")
    assert names(find_cases(data, labelled=1)) == (["a"], ["c"], [])


@pytest.mark.parametrize("labelled", ["list", "number"])
def test_a_scan_that_would_be_labelled_and_validate_is_named(data: Path, labelled: str) -> None:
    (data / "first.txt").write_text("a\nb\n")
    (data / "last.txt").write_text("b\ne\n")
    asked = data / "first.txt" if labelled == "list" else 2
    with pytest.raises(DataError, match="b would be labelled and validate"):
        find_cases(data, labelled=asked, validation=data / "last.txt")


@pytest.mark.parametrize("kind", ["images", "labels"])
def test_two_files_of_one_name_are_refused(data: Path, kind: str) -> None:
    (data / kind / "a.nrrd").touch()
    with pytest.raises(DataError, match=rf"{kind}: a\.nii\.gz and a\.nrrd are both a\."):
        find_cases(data, labelled=1)


def test_a_case_stands_in_one_list_only() -> None:
    case = LabelledCase("a", Path("a"), Path("b"))
    with pytest.raises(DataError, match="a: listed twice"):
        Cases((case,), (UnlabelledCase("a", Path("a")),), ())


def test_all_scans_with_a_label_can_be_asked_for_wherever_they_stand(data: Path) -> None:
    for odd in (".hidden", "notes.txt", "x.nii.gz"):
        (data / "labels" / odd).touch()
    (data / "labels" / "a.nii.gz").unlink()
    assert outlined(data) == ["b", "e"]
    assert names(find_cases(data, labelled=outlined(data))) == (["b", "e"], ["a", "c", "d"], [])
    (data / "train.txt").write_text("e\nb\nc\n")
    assert outlined(data) == ["e", "b"]


def test_folders_without_scans_or_labels_say_what_to_put_there(data: Path) -> None:
    for label in (data / "labels").iterdir():
        label.unlink()
    with pytest.raises(DataError, match="labels: holds no label of a scan in images/"):
        outlined(data)
    for number, image in enumerate((data / "images").iterdir()):
        image.rename(image.with_name(f"{number}.png"))
    for ask in (lambda: outlined(data), lambda: find_cases(data, labelled=1)):
        with pytest.raises(
            DataError, match=r"images: holds no scan\. Put there folders of DICOM, or files .*\.nii\.gz"
        ):
            ask()
