from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.image import imread

from diffcl.errors import OutputError
from diffcl.evaluation.figures import compose, draw_prediction
from diffcl.geometry import Geometry
from diffcl.labels import LabelClass
from diffcl.phantom import phantom_grid

CLASSES = (LabelClass(value=1, name="small_cube", color=(0, 255, 0)), LabelClass(value=2, name="absent"))
GRIDS = {
    "upright": phantom_grid(orientation="LPS"),
    "flipped": phantom_grid(orientation="RAI"),
    "sagittal, flat voxels": phantom_grid(orientation="PIR", spacing=(0.8, 0.8, 2.0)),
    "oblique": phantom_grid(orientation="ASR", rotation=(8.0, -12.0, 10.0), spacing=(1.3, 0.9, 1.1)),
}


def images(
    grid: Geometry, toward: tuple[float, float, float] | None
) -> tuple[sitk.Image, sitk.Image, sitk.Image]:
    """A scan, the label of a 10 mm cube whose centre lies `toward` (LPS, mm) of its middle, and the uncertainty."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.size], indexing="ij"), axis=-1)
    axes = np.reshape(grid.direction, (3, 3)) * np.array(grid.spacing)
    place = (index - (np.array(grid.size) - 1) / 2) @ axes.T
    label = np.zeros(grid.size, np.uint8)
    if toward is not None:
        label[np.abs(place - np.array(toward)).max(axis=-1) < 5] = 1
    scan = np.random.default_rng(0).normal(100, 10, grid.size).astype(np.float32)
    return grid.place(scan), grid.place(label), grid.place(np.full(grid.size, 0.3, np.float32))


def outlines(figure: Figure) -> list[tuple[float, float]]:
    """Where the outline lies in the axial, coronal and sagittal scan: mm to the right and down of the middle."""
    found = []
    for axes in figure.axes[:3]:
        (contour,) = (artist for artist in axes.collections if isinstance(artist, QuadContourSet))
        right, down = np.mean(contour.get_paths()[0].vertices, axis=0)
        found.append((right - np.mean(axes.get_xlim()), down - np.mean(axes.get_ylim())))
    return found


@pytest.mark.parametrize(
    "toward", [(-8.0, -12.0, 9.0), (7.0, 10.0, -8.0)], ids=["right front top", "left back feet"]
)
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_right_is_on_the_left_and_front_and_head_are_up(
    grid: Geometry, toward: tuple[float, float, float]
) -> None:
    left, back, head = toward
    axial, coronal, sagittal = outlines(compose(*images(grid, toward), CLASSES, title="case"))
    assert axial == pytest.approx((left, back), abs=1.5)
    assert coronal == pytest.approx((left, -head), abs=1.5)
    assert sagittal == pytest.approx((back, -head), abs=1.5)


def test_down_is_down_in_every_panel() -> None:
    for axes in compose(*images(GRIDS["upright"], None), CLASSES, title="case").axes[:6]:
        bottom, top = axes.get_ylim()
        assert bottom > top


def test_the_legend_gives_volumes() -> None:
    figure = compose(*images(GRIDS["sagittal, flat voxels"], (0.0, 0.0, 0.0)), CLASSES, title="case 7")
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names[1] == "absent 0.00 ml"
    assert float(names[0].removeprefix("small cube ").removesuffix(" ml")) == pytest.approx(1.0, rel=0.3)
    assert figure.get_suptitle() == "case 7"


def test_each_plane_shows_where_the_object_is_largest() -> None:
    scan, label, doubt = images(GRIDS["upright"], (0.0, 0.0, 0.0))
    label[3, 4, 5] = 1  # one far voxel changes nothing
    areas = [np.abs(where).max() for where in outlines(compose(scan, label, doubt, CLASSES[:1], title=""))]
    assert max(areas) < 1.5


def test_nothing_found_and_flat_scans_are_drawn(tmp_path: Path) -> None:
    flat = Geometry((60, 60, 2), (1.0, 1.0, 5.0), (0.0, 0.0, 0.0), GRIDS["upright"].direction)
    for name, grid, toward in (("a", GRIDS["upright"], None), ("b", flat, (0.0, 0.0, 2.5))):
        draw_prediction(*images(grid, toward), CLASSES, tmp_path / f"{name}.png", title="case")
        assert imread(tmp_path / f"{name}.png").std() > 0.1


def test_the_same_prediction_gives_the_same_file(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        draw_prediction(*images(GRIDS["upright"], (0.0, 0.0, 0.0)), CLASSES, tmp_path / name, title="case")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_picture_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"gone/a\.png: cannot be written"):
        draw_prediction(*images(GRIDS["upright"], None), CLASSES, tmp_path / "gone" / "a.png", title="case")
    assert list(tmp_path.iterdir()) == []
