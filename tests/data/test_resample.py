"""The working grid covers the scan and keeps its axes; linear functions of space survive both ways."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
import SimpleITK as sitk

from diffcl.data.resample import patient_axes, resample, slice_axes, working_geometry
from diffcl.geometry import Geometry, same_grid, voxels


def rotation(x: float, y: float, z: float) -> np.ndarray:
    transform = sitk.Euler3DTransform()
    transform.SetRotation(x, y, z)
    return np.array(transform.GetMatrix()).reshape(3, 3)


AXES = {
    "straight": np.eye(3),
    "flipped": np.diag([-1.0, -1.0, 1.0]),
    "sagittal": np.array([[0.0, 0, 1], [1, 0, 0], [0, -1, 0]]),
    "oblique": rotation(0.3, -0.2, 0.5),
    "oblique and flipped": rotation(0.4, 0.1, -0.3) @ np.diag([1.0, -1, -1]),
}
GRIDS = {
    name: Geometry((31, 24, 17), (0.7, 1.1, 2.9), (-40.0, 12.5, 300.0), tuple(axes.ravel()))
    for name, axes in AXES.items()
}


@pytest.fixture(params=list(GRIDS), ids=list(GRIDS))
def scan(request: pytest.FixtureRequest) -> Geometry:
    return GRIDS[request.param]


def positions(grid: Geometry) -> np.ndarray:
    """LPS millimetres of every voxel centre, `(3, X, Y, Z)`."""
    steps = np.indices(grid.size) * np.array(grid.spacing).reshape(3, 1, 1, 1)
    at = np.einsum("ij,jxyz->ixyz", np.array(grid.direction).reshape(3, 3), steps)
    return at + np.array(grid.origin).reshape(3, 1, 1, 1)


def test_working_axes_point_left_posterior_superior(scan: Geometry) -> None:
    axes = np.array(working_geometry(scan, (1.0, 1.0, 1.0)).direction).reshape(3, 3)
    assert (np.abs(axes).argmax(axis=0) == [0, 1, 2]).all()
    assert (np.diag(axes) > 0).all()
    original = np.array(scan.direction).reshape(3, 3)
    parallel = np.abs(original.T @ axes)
    np.testing.assert_allclose(np.sort(parallel.ravel())[-3:], 1, atol=1e-12)


def test_working_box_has_the_middle_of_the_scan_and_covers_it(scan: Geometry) -> None:
    working = working_geometry(scan, (1.3, 0.8, 2.0))
    middles = [positions(grid).reshape(3, -1).mean(axis=1) for grid in (scan, working)]
    np.testing.assert_allclose(middles[0], middles[1], atol=1e-9)
    volumes = [np.prod(grid.size) * np.prod(grid.spacing) for grid in (scan, working)]
    assert volumes[0] <= volumes[1] * 1.002


def test_a_linear_function_of_space_survives_the_way_there_and_back(scan: Geometry) -> None:
    slopes = np.array([0.3, -0.2, 0.1])
    field = np.einsum("i,ixyz->xyz", slopes, positions(scan)).astype(np.float64)
    working = working_geometry(scan, (1.0, 1.0, 1.5))
    there = resample(scan.place(field), working)
    expected = np.einsum("i,ixyz->xyz", slopes, positions(working))
    inner = (slice(2, -2),) * 3
    np.testing.assert_allclose(voxels(there)[inner], expected[inner], atol=1e-6)
    back = voxels(resample(there, scan))
    np.testing.assert_allclose(back[4:-4, 4:-4, 2:-2], field[4:-4, 4:-4, 2:-2], atol=1e-3)  # smoothed


def kept_of_noise(steps: tuple[float, float, float], grid: Geometry) -> float:
    """The standard deviation that white noise of 1 on a grid keeps on a working grid of so many millimetres."""
    noise = grid.place(np.random.default_rng(2).normal(size=grid.size).astype(np.float32))
    inner = (slice(3, -3),) * 3
    return float(voxels(resample(noise, working_geometry(grid, steps)))[inner].std())


@pytest.mark.parametrize("steps", [(2.0, 2.0, 1.0), (1.0, 2.0, 2.0), (2.0, 1.0, 3.0)], ids=str)
@pytest.mark.parametrize("axes", AXES)
def test_noise_is_smoothed_along_each_axis_as_far_as_the_axis_asks(
    axes: str, steps: tuple[float, float, float]
) -> None:
    grid = Geometry((80, 80, 80), (0.5, 0.5, 0.5), (5.0, -3.0, 8.0), tuple(AXES[axes].ravel()))
    alone = [kept_of_noise((step, step, step), grid) ** (1 / 3) for step in steps]
    assert kept_of_noise(steps, grid) == pytest.approx(np.prod(alone), rel=0.06)


def test_a_gaussian_keeps_what_theory_says_of_noise() -> None:
    """White noise of 1 keeps 1 / sqrt(2 sqrt(pi) sigma) of itself an axis, sigma in voxels, and then interpolates."""
    grid = Geometry((96, 96, 96), (0.5, 0.5, 0.5), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel()))
    sigma = 2.0 / 2.355 / 0.5
    gaussian = 1 / np.sqrt(2 * np.sqrt(np.pi) * sigma)
    neighbours = np.sqrt((1 + np.exp(-1 / (4 * sigma**2))) / 2)  # of two of which the mean is taken
    smooth, plain = gaussian * neighbours, np.sqrt(0.5)
    assert kept_of_noise((2.0, 2.0, 1.0), grid) == pytest.approx(smooth * smooth * plain, rel=0.03)


def test_nothing_is_lost_at_the_border(scan: Geometry) -> None:
    ones = scan.place(np.ones(scan.size, np.float32))
    there = resample(ones, working_geometry(scan, (1.3, 0.8, 2.0)))
    assert voxels(there).min() == pytest.approx(1)
    assert voxels(resample(there, scan)).min() == pytest.approx(1)


def test_the_same_grid_is_not_interpolated(scan: Geometry) -> None:
    image = scan.place(np.random.default_rng(0).normal(size=scan.size))
    assert resample(image, scan) is image


def test_labels_keep_their_values(scan: Geometry) -> None:
    label = np.zeros(scan.size, np.uint8)
    label[5:20, 5:20, 4:12] = 7
    label[10:20, 5:20, 4:12] = 3
    working = resample(scan.place(label), working_geometry(scan, (1.0, 1.0, 1.0)), labels=True)
    assert set(np.unique(voxels(working))) == {0, 3, 7}
    volume = (voxels(working) == 3).sum() * 1.0
    assert volume == pytest.approx((label == 3).sum() * np.prod(scan.spacing), rel=0.05)


def test_a_vector_image_keeps_its_channels_in_order() -> None:
    scan = GRIDS["oblique"]
    array = np.stack([np.full(scan.size, value, np.float32) for value in (1, 2)])
    assert voxels(scan.place(array)).shape == (2, *scan.size)
    np.testing.assert_array_equal(voxels(scan.place(array)), array)


def test_an_array_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="on a grid of size"):
        GRIDS["straight"].place(np.zeros((3, 3, 3)))


def stored_otherwise(grid: Geometry) -> list[Geometry]:
    """The same voxels in each of the 48 orders in which a file may hold them."""
    found = []
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        size, spacing = ([field[axis] for axis in order] for field in (grid.size, grid.spacing))
        axes = grid.axes[:, list(order)] * signs
        corner = [0 if sign > 0 else count - 1 for sign, count in zip(signs, size, strict=True)]
        at = np.empty(3)
        at[list(order)] = corner
        x, y, z = grid.points(at)
        found.append(Geometry(tuple(size), tuple(spacing), (x, y, z), tuple(axes.ravel())))
    return found


def short_axis_stack() -> Geometry:
    """Slices across the long axis of a heart, which points to the left, front and feet, as a scanner stores them."""
    apex = np.array([0.7, -0.55, -0.45]) / np.linalg.norm([0.7, -0.55, -0.45])
    rows = np.cross([0.28, -0.36, 0.88], apex)
    rows /= np.linalg.norm(rows)
    columns = np.cross(rows, apex)
    axes = np.stack([rows, columns, np.cross(rows, columns)], axis=1)
    return Geometry((31, 24, 9), (1.4, 1.4, 8.0), (-40.0, 12.5, 300.0), tuple(axes.ravel()))


STACKS = {
    "short axis": short_axis_stack(),
    "axial": Geometry((31, 24, 9), (0.9, 0.9, 5.0), (3.0, -12.5, 30.0), tuple(np.eye(3).ravel())),
    "tilted": Geometry(
        (31, 24, 9), (0.9, 0.9, 5.0), (3.0, -12.5, 30.0), tuple(rotation(0.4, 0.1, -0.2).ravel())
    ),
    "sagittal": Geometry((31, 24, 9), (0.9, 0.9, 5.0), (3.0, -2.5, 30.0), (0.0, 0, -1, 1, 0, 0, 0, -1, 0)),
    "coronal": Geometry((31, 24, 9), (0.9, 0.9, 5.0), (3.0, -2.5, 30.0), (1.0, 0, 0, 0, 0, 1, 0, -1, 0)),
}  # each as a scanner stores it and a viewer displays it


@pytest.mark.parametrize("name", STACKS)
def test_slices_are_read_as_they_are_displayed_however_they_are_stored(name: str) -> None:
    stack = STACKS[name]
    working = working_geometry(stack, stack.spacing, "slices")
    assert same_grid(working, stack)
    for other in stored_otherwise(stack):
        assert same_grid(working_geometry(other, stack.spacing, "slices"), working)


def test_a_scan_without_slices_has_the_axes_of_the_patient() -> None:
    grid = Geometry((9, 8, 7), (1.0, 1.0, 1.4), (0.0, 0.0, 0.0), tuple(AXES["oblique"].ravel()))
    assert slice_axes(grid) is None
    assert working_geometry(grid, (1.0, 1.0, 2.0), "slices") == working_geometry(grid, (1.0, 1.0, 2.0))


def test_axial_slices_have_the_axes_of_the_patient() -> None:
    for axes in (np.eye(3), rotation(0.3, -0.2, 0.1), rotation(-0.3, 0.2, 0.3)):
        for grid in stored_otherwise(
            Geometry((9, 8, 7), (1.0, 1.0, 4.0), (0.0, 0.0, 0.0), tuple(axes.ravel()))
        ):
            assert slice_axes(grid) == patient_axes(grid)
