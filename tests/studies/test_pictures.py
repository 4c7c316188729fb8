from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from matplotlib.image import imread
from synthetic import ORGAN, SCANS, make_label, make_scan, make_studies

from diffcl.errors import DiffclError
from diffcl.geometry import Geometry
from diffcl.studies.folder import FolderStudies
from diffcl.studies.pictures import LONGEST, draw_scan
from diffcl.studies.proposed import coarse

ABOUT = {"model": "organ", "version": 3, "task": "organ", "marked": False}


@pytest.fixture
def studies(tmp_path: Path) -> FolderStudies:
    return FolderStudies(make_studies(tmp_path / "studies"), lambda: [ORGAN])


def submit(studies: FolderStudies, name: str, folder: Path) -> None:
    sitk.WriteImage(make_label(name), folder / "label.nii.gz")
    classes = [{"name": "organ_head", "idx": 1}, {"name": "organ_tail", "idx": 2}]
    studies.save_label(name, folder / "label.nii.gz", "final", {"client_id": "ann", "label_info": classes})


@pytest.mark.parametrize("name", SCANS)
def test_a_scan_is_drawn_with_label_proposal_and_doubt(
    name: str, studies: FolderStudies, tmp_path: Path
) -> None:
    doubt = sitk.Cast(make_label(name), sitk.sitkFloat32) / 4
    studies.keep_proposal(name, make_label(name), ABOUT, doubt)
    bare = draw_scan(studies, "straight" if name != "straight" else "flipped", [ORGAN])
    submit(studies, name, tmp_path)
    drawn = draw_scan(studies, name, [ORGAN], "organ")
    voxel_ml = np.prod(make_label(name).GetSpacing()) / 1000
    assert drawn.label_ml == pytest.approx(
        {"organ_head": 120 * voxel_ml, "organ_tail": 120 * voxel_ml}, abs=1e-3
    )
    assert drawn.proposal_ml == drawn.label_ml
    assert drawn.has_doubt
    pixels = imread(io.BytesIO(drawn.png))
    red, green, blue = (channel / 255 for channel in ORGAN.labels[0].color)
    assert (np.abs(pixels[..., :3] - (red, green, blue)).max(axis=-1) < 0.02).sum() > 20
    assert drawn.colors["organ_head"] == "#{:02x}{:02x}{:02x}".format(*ORGAN.labels[0].color)
    for edge in (pixels[0, :, :3], pixels[-1, :, :3], pixels[:, 0, :3], pixels[:, -1, :3]):
        assert not edge.any()  # black around the planes, in light and in dark pages
    assert len(drawn.png) < 200_000
    assert (bare.label_ml, bare.proposal_ml, bare.has_doubt) == ({}, {}, False)


def test_a_large_scan_is_drawn_coarsely(tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    values = np.random.default_rng(0).normal(100, 10, (2 * LONGEST + 3, 20, 10)).astype(np.float32)
    image = Geometry.of(make_scan("oblique"))
    large = Geometry(values.shape, image.spacing, image.origin, image.direction).place(values)
    sitk.WriteImage(large, tmp_path / "studies" / "large.nii.gz")
    drawn = draw_scan(FolderStudies(tmp_path / "studies", lambda: [ORGAN]), "large", [ORGAN])
    assert len(drawn.png) < 200_000


def test_nothing_in_a_picture_names_a_scan(studies: FolderStudies) -> None:
    drawn = draw_scan(studies, "oblique", [ORGAN])
    assert b"oblique" not in drawn.png
    assert b"tEXt" not in drawn.png


def test_a_scan_that_cannot_be_read_says_why(studies: FolderStudies, tmp_path: Path) -> None:
    (tmp_path / "studies" / "oblique.nii.gz").write_bytes(b"nothing")
    with pytest.raises(DiffclError, match="oblique"):
        draw_scan(studies, "oblique", [ORGAN])


def test_a_label_of_another_grid_is_told(studies: FolderStudies, tmp_path: Path) -> None:
    submit(studies, "oblique", tmp_path)
    sitk.WriteImage(make_scan("flipped"), tmp_path / "studies" / "oblique.nii.gz")
    with pytest.raises(DiffclError, match="lies on another grid than its scan"):
        draw_scan(studies, "oblique", [ORGAN])


def test_the_kept_doubt_is_coarse_and_lies_where_it_lay(studies: FolderStudies) -> None:
    doubt = sitk.Image([200, 100, 50], sitk.sitkFloat32) + 0.5
    doubt.SetSpacing((0.5, 1.0, 2.0))
    kept = coarse(doubt)
    assert max(kept.GetSize()) <= 96
    assert set(np.unique(sitk.GetArrayViewFromImage(kept))) == {128}
    middle = [(length - 1) / 2 for length in doubt.GetSize()]
    was = doubt.TransformContinuousIndexToPhysicalPoint(middle)
    now = kept.TransformContinuousIndexToPhysicalPoint([(length - 1) / 2 for length in kept.GetSize()])
    assert np.abs(np.subtract(was, now)).max() < max(doubt.GetSpacing()) * 3
    studies.keep_proposal(
        "oblique", make_label("oblique"), ABOUT, sitk.Cast(make_label("oblique"), sitk.sitkFloat32) / 2
    )
    found = studies.proposed("oblique")
    assert found.doubt is not None
    assert float(sitk.GetArrayViewFromImage(found.doubt).max()) == pytest.approx(1, abs=0.01)
    studies.keep_proposal("oblique", make_label("oblique"), ABOUT)
    assert studies.proposed("oblique").doubt is None
    assert studies.proposed("flipped").label is None
