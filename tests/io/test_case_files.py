"""The files of a case that has several images."""

from __future__ import annotations

from pathlib import Path

import pytest

from diffcl.errors import ScanError
from diffcl.io.case_files import case_files, first_files, first_of, is_case
from diffcl.recipe import ImageSequence

TWO = (ImageSequence(name="FLAIR"), ImageSequence(name="T1", required=False))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a_0000.nii.gz", "a_0001.nrrd", "b_0000.nii.gz", "b_0001.txt", "c.nii.gz", "d_0001.nii.gz"):
        (tmp_path / name).touch()
    return tmp_path


def names(files: list[Path | None]) -> list[str | None]:
    return [None if file is None else file.name for file in files]


def test_the_images_of_a_case_are_told_by_their_numbers(folder: Path) -> None:
    assert names(case_files(folder / "a_0000.nii.gz", TWO)) == ["a_0000.nii.gz", "a_0001.nrrd"]


def test_an_absent_image_is_none(folder: Path) -> None:
    assert names(case_files(folder / "b_0000.nii.gz", TWO)) == ["b_0000.nii.gz", None]


def test_a_file_without_a_number_is_all_of_its_case(folder: Path) -> None:
    assert names(case_files(folder / "c.nii.gz", TWO)) == ["c.nii.gz"]


def test_a_task_of_one_sequence_knows_no_numbers(folder: Path) -> None:
    assert names(case_files(folder / "a_0000.nii.gz", ())) == ["a_0000.nii.gz"]


def test_two_files_for_one_sequence_are_refused(folder: Path) -> None:
    (folder / "a_0001.nii.gz").touch()
    with pytest.raises(ScanError, match=r"a: has a_0001\.nii\.gz and a_0001\.nrrd for one sequence"):
        case_files(folder / "a_0000.nii.gz", TWO)


def test_more_images_than_the_task_takes_are_refused(folder: Path) -> None:
    (folder / "a_0002.nii.gz").touch()
    with pytest.raises(ScanError, match=r"has a_0002\.nii\.gz, and the task takes 2 sequences \(FLAIR, T1\)"):
        case_files(folder / "a_0000.nii.gz", TWO)


def test_a_case_can_be_named_without_a_number(folder: Path) -> None:
    assert first_of(folder / "a").name == "a_0000.nii.gz"
    assert first_of(folder / "e").name == "e"
    assert first_of(folder / "c.nii.gz").name == "c.nii.gz"


def test_further_images_are_no_cases_of_their_own(folder: Path) -> None:
    paths = sorted(folder.glob("*.n*"))
    assert names([*first_files(paths)]) == ["a_0000.nii.gz", "b_0000.nii.gz", "c.nii.gz", "d_0001.nii.gz"]


def test_a_folder_of_series_is_a_case(tmp_path: Path) -> None:
    (tmp_path / "study" / "flair").mkdir(parents=True)
    assert not is_case(tmp_path / "study")
    (tmp_path / "study" / "flair" / "1.dcm").write_bytes(bytes(128) + b"DICM")
    assert is_case(tmp_path / "study")
