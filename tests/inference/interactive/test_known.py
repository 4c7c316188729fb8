"""What a partly drawn label decides is said, and what it cannot decide is refused."""

from __future__ import annotations

import numpy as np
import pytest
from untrained import GRIDS

from diffcl.errors import DataError, UsageError
from diffcl.geometry import Geometry, voxels
from diffcl.inference.interactive.known import decided, read_known
from diffcl.inference.interactive.planes import Plane, drawn_slices
from diffcl.inference.interactive.segments import Choice, Segments, read_segments
from diffcl.phantom import make_phantom, phantom_grid
from diffcl.recipe import Recipe

GRID = GRIDS["straight"]


def drawn(*planes: tuple[int, int]) -> np.ndarray:
    """A square of class 1 in slices `(axis, index)`."""
    label = np.zeros(GRID.size, np.uint8)
    for axis, index in planes:
        np.moveaxis(label, axis, 0)[index, 4:12, 5:13] = 1
    return label


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_drawn_slices_are_found_in_every_plane(axis: int) -> None:
    assert drawn_slices(drawn((axis, 3), (axis, 8), (axis, 12))) == [{axis: (3, 8, 12)}]


def test_slices_side_by_side_are_slices_of_their_own_plane() -> None:
    assert drawn_slices(drawn((2, 6), (2, 7), (2, 8)))[0] == {2: (6, 7, 8)}


def test_slices_of_two_planes_are_told_apart() -> None:
    known = read_known(GRID.place(drawn((2, 6), (2, 10), (0, 8))), GRID, "label")
    assert known.slices == {0: (8,), 2: (6, 10)}
    assert known.told == "Known are 1 sagittal slice (8) and 2 axial slices (6, 10), background included"
    assert known.mask[:, :, 6].all()
    assert known.mask[8].all()
    assert known.mask.sum() == 24 * 20 * 2 + 20 * 18 - 2 * 20


def test_the_drawn_voxels_alone_are_known_on_request() -> None:
    label = drawn((2, 6))
    known = read_known(GRID.place(label), GRID, "label", meaning="voxels")
    assert (known.mask == (label > 0)).all()
    assert not known.slices


def test_the_value_of_unknown_voxels_says_what_is_known() -> None:
    label = drawn((2, 6))
    label[:, :, 8:] = 255
    known = read_known(GRID.place(label), GRID, "label")
    assert (known.mask == (label != 255)).all()
    assert known.slices[2] == tuple(range(8))
    assert "marked as unknown" in known.told


def test_a_label_without_unknown_voxels_is_whole() -> None:
    known = read_known(GRID.place(drawn((2, 6))), GRID, "label", meaning="marked")
    assert known.mask.all()
    assert known.warnings == ("Nothing is unknown: the label is as it was drawn.",)


def test_slices_that_disagree_where_they_cross_are_told() -> None:
    label = drawn((2, 6), (2, 10), (0, 8))
    label[8, 5:13, 6] = 0
    known = read_known(GRID.place(label), GRID, "label")
    assert "Slices of two planes disagree in" in known.warnings[0]
    assert not read_known(GRID.place(drawn((2, 6), (2, 10))), GRID, "label").warnings


@pytest.mark.parametrize(
    ("label", "meaning", "said"),
    [
        (np.zeros(GRID.size, np.uint8), None, "nothing is drawn"),
        (np.full(GRID.size, 255, np.uint8), None, "all of it is unknown"),
        (drawn((2, 6)) * 7, None, "value 7 is not a class of organ"),
    ],
    ids=["empty", "all unknown", "unknown value"],
)
def test_what_decides_nothing_is_refused(label: np.ndarray, meaning: None, said: str, recipe: Recipe) -> None:
    with pytest.raises(DataError, match=said):
        read_known(GRID.place(label), GRID, "label", recipe=recipe, meaning=meaning)


def test_a_label_on_another_grid_is_refused() -> None:
    other = Geometry((24, 20, 18), (1.0, 1.0, 1.5), GRID.origin, GRID.direction)
    with pytest.raises(DataError, match="lies on another grid than its scan"):
        read_known(other.place(drawn((2, 6))), GRID, "label")


def test_an_unknown_meaning_is_refused() -> None:
    label = drawn((2, 6))
    with pytest.raises(UsageError, match="slices, voxels, marked"):
        decided(label, label > 9, "all", "label", GRID)  # type: ignore[arg-type]


def ellipsoid(half_axes: tuple[float, float, float], turn: float = 0.0) -> np.ndarray:
    """An ellipsoid in the middle of a label; half axes in voxels, turned in two planes, radians."""
    size = [int(2 * max(half_axes) if turn else 2 * half) + 8 for half in half_axes]
    points = np.stack(np.meshgrid(*[np.arange(n) - n / 2 + 0.6 for n in size], indexing="ij"), axis=-1)
    c, s = np.cos(turn), np.sin(turn)
    turned = points @ ([[c, -s, 0], [s, c, 0], [0, 0, 1]] @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]]))
    return (((turned / half_axes) ** 2).sum(axis=-1) < 1).astype(np.uint8)


def hippocampus(turned: tuple[float, float, float], spacing: tuple[float, float, float]) -> np.ndarray:
    return voxels(make_phantom(1, phantom_grid(spacing=spacing, rotation=turned)).label)


SHAPES = {
    "ellipsoid": ellipsoid((8, 10, 20)),
    "thick slices": ellipsoid((20, 15, 4.5)),
    "turned": ellipsoid((8, 11, 18), 0.6),
    "hippocampus": hippocampus((0, 0, 0), (1, 1, 1)),
    "oblique hippocampus": hippocampus((10, 20, 15), (1, 1, 2)),
}

PARTS = {
    "single slices": lambda held: held[2::4],
    "every second": lambda held: held[::2],
    "pairs": lambda held: [i for i in held if (i - held[0]) % 5 in (1, 2)],
    "first half": lambda held: held[: len(held) // 2],
    "last half": lambda held: held[len(held) // 2 :],
    "70 %": lambda held: held[: int(0.7 * len(held))],
    "half at random": lambda held: np.sort(np.random.default_rng(0).choice(held, len(held) // 2, False)),
}


def part(shape: np.ndarray, axis: int, which: str) -> tuple[np.ndarray, list[int]]:
    """A part of the slices of a shape across an axis, and which slices."""
    held = np.flatnonzero(shape.any(axis=tuple(a for a in range(3) if a != axis))).tolist()
    wanted = [int(i) for i in PARTS[which](held)]
    label = np.zeros_like(shape)
    np.moveaxis(label, axis, 0)[wanted] = np.moveaxis(shape, axis, 0)[wanted]
    return label, wanted


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("which", PARTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_plane_is_that_across_which_the_drawing_ends_abruptly(shape: str, which: str, axis: int) -> None:
    label, wanted = part(SHAPES[shape], axis, which)
    (found,) = drawn_slices(label)[0].items()
    assert found[0] == axis
    assert set(found[1]) <= set(wanted)
    assert len(found[1]) >= len(wanted) - 2, "a tip may hold no square"


@pytest.mark.parametrize("which", ["single slices", "every second", "pairs", "first half", "70 %"])
@pytest.mark.parametrize(("axis", "other"), [(0, 1), (1, 2), (2, 0), (2, 1)])
def test_a_slice_of_another_plane_is_told_from_the_first(which: str, axis: int, other: int) -> None:
    shape = SHAPES["ellipsoid"]
    label, wanted = part(shape, axis, which)
    middle = shape.shape[other] // 2
    np.moveaxis(label, other, 0)[middle] = np.moveaxis(shape, other, 0)[middle]
    found = drawn_slices(label)[0]
    assert found.keys() == {axis, other}
    assert found[other] == (middle,)
    assert set(found[axis]) <= set(wanted)


def test_a_slice_without_a_square_at_the_end_of_a_block_changes_nothing() -> None:
    label, wanted = part(SHAPES["ellipsoid"], 1, "first half")
    before = drawn_slices(label)
    label[12:17, wanted[-1] + 1, 27] = 1
    assert drawn_slices(label) == before


def test_what_could_be_drawn_in_two_planes_is_told_and_a_person_says_it() -> None:
    label = np.zeros(GRID.size, np.uint8)
    label[4:10, 5:11, 6:12] = 1
    known = read_known(GRID.place(label), GRID, "label")
    assert "could also be 6 " in known.warnings[0]
    assert "say the plane, or mark what is unknown" in known.warnings[0]
    planes: tuple[Plane, ...] = ("sagittal", "coronal", "axial")
    for axis, plane in enumerate(planes):
        known = read_known(GRID.place(label), GRID, "label", plane=plane)
        assert known.slices.keys() == {axis}
        assert not known.warnings


def test_a_plane_that_cannot_be_is_refused() -> None:
    label = GRID.place(drawn((2, 6)))
    with pytest.raises(DataError, match="no sagittal slice is drawn"):
        read_known(label, GRID, "label", plane="sagittal")
    with pytest.raises(UsageError, match="Known: axial, coronal, sagittal"):
        read_known(label, GRID, "label", plane="slanted")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no meaning where known is voxels"):
        read_known(label, GRID, "label", meaning="voxels", plane="axial")


@pytest.mark.parametrize("places", [[(5, 6, 7)], [(5, 6, 7), (6, 6, 7), (9, 3, 2)]], ids=["one", "three"])
def test_single_voxels_are_no_slice(places: list[tuple[int, int, int]]) -> None:
    label = np.zeros(GRID.size, np.uint8)
    label[tuple(zip(*places, strict=True))] = 1
    known = read_known(GRID.place(label), GRID, "label")
    assert (known.mask == (label > 0)).all()
    assert not known.slices
    assert "the drawn voxels alone are known" in known.warnings[0]
    with pytest.raises(DataError, match="no slice is drawn: none holds a square of 2 x 2 drawn voxels"):
        read_known(GRID.place(label), GRID, "label", meaning="slices")


NAMES = {"organ_head": 1, "organ_tail": 2}


def segments(label: np.ndarray, *names: str) -> Segments:
    """Segments of these names, with the values 1, 2, ..."""
    listed = [{"name": name, "id": value} for value, name in enumerate(names, start=1)]
    return Segments(GRID.place(label), listed, "", "scan")


def proposed() -> np.ndarray:
    """A proposal in the slices 3 to 12."""
    label = np.zeros(GRID.size, np.uint8)
    label[4:12, 5:13, 3:13] = 1
    return label


@pytest.mark.parametrize(
    "planes",
    [
        [(2, 6), (2, 7), (2, 8)],
        [(2, i) for i in range(3, 8)],
        [(2, 3), (2, 5), (2, 7), (2, 9), (2, 12), (0, 6), (0, 7), (0, 8)],
    ],
    ids=["three neighbours", "the first half", "a block in another plane"],
)
def test_drawn_slices_beyond_which_the_proposal_goes_on_are_finished(planes: list[tuple[int, int]]) -> None:
    found = read_segments(segments(drawn(*planes), "organ_head"), NAMES, GRID, "slices")
    assert 2 in found.known(proposed()).slices


def test_slices_in_which_all_is_drawn_that_is_proposed_are_refused() -> None:
    found = read_segments(segments(proposed(), "organ_head"), NAMES, GRID, "slices", plane="axial")
    with pytest.raises(
        DataError, match=r"drawn and proposed is known, so none is left .*or set known to touched"
    ):
        found.known(proposed())
    with pytest.raises(DataError, match=r"every slice of what is drawn is known.*named unknown$"):
        found.known()


@pytest.mark.parametrize("choice", [None, "slices", "voxels"])
def test_a_single_drawn_voxel_is_known_by_itself_or_refused(choice: Choice | None) -> None:
    label = np.zeros(GRID.size, np.uint8)
    label[5, 6, 7] = 1
    if choice == "slices":
        with pytest.raises(DataError, match="no slice is drawn"):
            read_segments(segments(label, "organ_head"), NAMES, GRID, choice)
        return
    known = read_segments(segments(label, "organ_head"), NAMES, GRID, choice).known(proposed())
    assert (known.told, known.mask.sum()) == ("Known is the drawn voxel", 1)


@pytest.mark.parametrize("name", ["Unknown ", "UNKNOWN", "unknown (organ)", "Unknown (heart)"])
def test_names_mean_what_they_mean_in_a_submitted_label(name: str) -> None:
    label = drawn((2, 6))
    label[:, :, 8:] = 2
    sent = segments(label, " Organ_Head", name)
    known = read_segments(sent, NAMES, GRID, "slices", task="organ", elsewhere={"liver"}).known(proposed())
    assert (known.mask == (label != 2)).all()
    assert (known.classes == (label == 1)).all()


def test_a_segment_unknown_slices_says_slices_and_its_voxels_are_empty() -> None:
    label = drawn((2, 6), (2, 10))
    label[1, 1, 8] = 2
    known = read_segments(segments(label, "organ_head", "Unknown_Slices"), NAMES, GRID, "voxels").known(
        proposed()
    )
    assert known.slices == {2: (6, 10)}
    assert not known.mask[1, 1, 8]
