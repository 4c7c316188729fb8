"""HDF5 files are read as they are, or refused in one line that says why."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from diffcl.errors import ScanError
from diffcl.geometry import voxels
from diffcl.io.images import hdf5
from diffcl.io.images.hdf5 import read_h5

SPACING = (0.6, 0.7, 2.0)


def write(path: Path, image: Any, label: Any) -> Path:
    with h5py.File(path, "w") as file:
        file["image"], file["label"] = image, label
    return path


@pytest.fixture
def volume() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)


@pytest.fixture
def path(volume: np.ndarray, tmp_path: Path) -> Path:
    return write(tmp_path / "scan.h5", volume, (volume > 0).astype(np.uint8))


def test_axes_and_spacing_are_those_of_the_file(path: Path, volume: np.ndarray) -> None:
    scan, label = read_h5(path, SPACING)
    assert np.array_equal(voxels(scan), volume)
    assert np.array_equal(voxels(label), volume > 0)
    assert scan.GetSpacing() == label.GetSpacing() == SPACING


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((2, 3, 4), b"text"), "its image is not of numbers"),
        (np.ones((2, 3, 4), np.complex64), "its image is not of numbers"),
        (h5py.Empty("f"), "its image is 0D"),
        (np.ones((2, 3)), "its image is 2D"),
    ],
    ids=["text", "complex", "empty", "flat"],
)
def test_what_is_no_volume_of_numbers_is_refused(image: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ScanError, match=message):
        read_h5(write(tmp_path / "scan.h5", image, np.ones((2, 3, 4))), SPACING)


def test_more_voxels_than_any_scan_has_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        for name in ("image", "label"):
            file.create_dataset(name, (50_000, 50_000, 50_000), "u1", chunks=(64, 64, 64))
    with pytest.raises(ScanError, match="more than the"):
        read_h5(tmp_path / "scan.h5", SPACING)


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(ScanError, match=r"cannot be read \(No such file or directory\)"):
        read_h5(tmp_path / "scan.h5", SPACING)


@pytest.mark.parametrize("seed", range(40))
def test_damaged_bytes_are_read_or_refused(seed: int, path: Path) -> None:
    chance, content = random.Random(seed), bytearray(path.read_bytes())
    for _ in range(3):
        content[chance.randrange(min(len(content), 2048))] = chance.randrange(256)
    path.write_bytes(content[: chance.choice([len(content), len(content) // 2])])
    with suppress(ScanError):
        read_h5(path, SPACING)


def test_an_error_of_the_disk_is_told_from_damage(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "raised_in", lambda *_: True)
    monkeypatch.setattr(hdf5, "_volume", fails(OSError("read failed: errno = 5, error message = 'x'")))
    with pytest.raises(ScanError) as caught:
        read_h5(path, SPACING)
    assert f"cannot be read ({os.strerror(5)})" in str(caught.value)


@pytest.mark.parametrize("kind", [RuntimeError, KeyError, TypeError, ValueError])
def test_a_mistake_of_the_program_is_not_called_damage(
    kind: type[Exception], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hdf5, "_volume", fails(kind("a mistake")))
    with pytest.raises(kind, match="a mistake"):
        read_h5(path, SPACING)


def fails(error: Exception) -> Callable[..., None]:
    def fail(*_: Any) -> None:
        raise error

    return fail
