"""Files, folders and lists name scans, each once and in order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from diffcl.cli.main import run
from diffcl.errors import UsageError
from diffcl.io.scan_list import listed


@pytest.fixture
def scans(tmp_path: Path) -> list[Path]:
    """Three files of a folder, which also holds other things."""
    folder = tmp_path / "scans"
    (folder / "deeper").mkdir(parents=True)
    paths = [folder / name for name in ("a.nii.gz", "b.nrrd", "c.mha")]
    for path in (*paths, folder / ".d.nii.gz", folder / "notes.txt", folder / "deeper" / "e.nii"):
        path.touch()
    return paths


def test_a_folder_of_images_means_all_of_them(scans: list[Path]) -> None:
    assert listed([scans[0].parent]) == scans


def test_a_folder_with_dicom_files_or_without_images_is_one_scan(tmp_path: Path, scans: list[Path]) -> None:
    (scans[0].parent / "image.dcm").write_bytes(b"\0" * 128 + b"DICM")
    (tmp_path / "empty").mkdir()
    assert listed([scans[0].parent, tmp_path / "empty"]) == [scans[0].parent, tmp_path / "empty"]


def test_a_text_file_names_scans_from_its_folder_on(tmp_path: Path, scans: list[Path]) -> None:
    (tmp_path / "list.txt").write_text(f"scans/b.nrrd\n\n{scans[0]}\nscans/b.nrrd\n", encoding="utf-8")
    assert listed([tmp_path / "list.txt"]) == [scans[1], scans[0]]


@pytest.mark.parametrize(
    "content",
    [
        ["scans/a.nii.gz", "scans/b.nrrd", "scans/c.mha"],
        [{"image": "scans/a.nii.gz", "label": "l"}, {"image": "scans/b.nrrd"}, {"image": ["scans/c.mha"]}],
        {
            "name": "left atrium",
            "modality": {"0": "MRI"},
            "training": [{"image": "./scans/a.nii.gz", "label": "./labels/a.nii.gz"}],
            "test": ["./scans/b.nrrd", "./scans/c.mha"],
        },
    ],
)
def test_a_datalist_names_scans(tmp_path: Path, scans: list[Path], content: object) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    assert listed([tmp_path / "dataset.json"]) == scans


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("list.txt", b"\n", "lists no scan"),
        ("list.txt", b"\xff", "cannot be read as a list"),
        ("list.json", b"{", "cannot be read as a list"),
        ("list.json", b'{"image": 3}', "lists no scan"),
        ("list.json", b"[]", "lists no scan"),
    ],
)
def test_a_list_of_nothing_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=f"{name}: {message}"):
        listed([tmp_path / name])


def test_a_missing_list_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["predict", str(tmp_path / "no.txt"), "--model", "hippocampus", "--out", str(tmp_path / "o")]
    assert run(command) == 2
    assert "no.txt: cannot be read as a list. Give a text file" in capsys.readouterr().err
