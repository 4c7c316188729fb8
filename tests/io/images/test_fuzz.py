"""Whatever stands in an image file: a scan, or one line that says what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from fuzz_images import mutated, outcome, seeds
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diffcl.errors import ScanError
from diffcl.io import read_scan, write_image

HEADER = 352
"""Bytes in which a change can matter more than to a voxel."""


@pytest.fixture(scope="module", params=["nii", "nii.gz", "nrrd", "mha"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small scan in each format, beside which the damaged ones are written."""
    image = sitk.GetImageFromArray(np.random.default_rng(3).normal(size=(4, 6, 5)).astype(np.float32))
    image.SetSpacing((0.7, 0.9, 2.5))
    path = tmp_path_factory.mktemp("fuzz") / f"whole.{request.param}"
    write_image(image, path)
    return path


@pytest.fixture(autouse=True)
def nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    assert capfd.readouterr() == ("", "")


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, HEADER), noise=st.binary(min_size=1, max_size=8))
def test_damaged_bytes_are_read_or_refused(whole: Path, at: int, noise: bytes) -> None:
    content = bytearray(whole.read_bytes())
    content[at : at + len(noise)] = noise
    damaged = whole.with_name(whole.name.replace("whole", "damaged"))
    damaged.write_bytes(content)
    try:
        image = read_scan(damaged).image
    except ScanError as error:
        said = str(error)
    else:
        said = ""
        assert image.GetDimension() == 3
        assert np.isfinite(sitk.GetArrayFromImage(image)).all()
        assert np.isfinite([*image.GetSpacing(), *image.GetOrigin(), *image.GetDirection()]).all()
    assert "\n" not in said


def test_mutated_files_of_every_kind_are_read_or_refused(tmp_path: Path) -> None:
    whole, rng = seeds(tmp_path), np.random.default_rng(5)
    for number in range(20 * len(whole)):
        name = list(whole)[number % len(whole)]
        path = tmp_path / f"mutated.{name.split('.', 1)[1]}"
        path.write_bytes(mutated(whole[name], rng))
        assert outcome(path) in {"read", "refused"}, number
