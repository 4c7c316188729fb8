"""A large scan is read closely only where a first look finds anything possible, with the same answer."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from diffcl.inference.ensemble import Networks
from diffcl.inference.first_look import BLOCK, ENOUGH, possible_places, sparse_layout, spread, touches
from diffcl.inference.reading import predict_probabilities, read
from diffcl.inference.sliding import layout
from diffcl.recipe import Recipe

WINDOW = 12
SIZE = (61, 50, 44)


def cs(crop: Tensor) -> Tensor:
    """Logits of a network that takes what is bright for the second class, and sees a voxel's neighbours."""
    seen = torch.nn.functional.avg_pool3d(crop, 3, stride=1, padding=1, count_include_pad=False) * 20
    return torch.cat([10 - seen, seen - 10, torch.full_like(seen, -30)], dim=1)


class Watched:
    """CS and DS that note of which crops they are asked."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []
        self.denoised: list[Tensor] = []

    @property
    def asked(self) -> int:
        """How often."""
        return len(self.seen) + len(self.denoised)

    def cs(self, crop: Tensor) -> Tensor:
        self.seen.append(crop)
        return cs(crop)

    def ds(self, crop: Tensor, noisy: Tensor, time: Tensor) -> Tensor:
        del noisy, time
        self.denoised.append(crop)
        return cs(crop) * 2


def noise_with(*bodies: tuple[slice, slice, slice]) -> Tensor:
    """A scan of dark noise with bright bodies."""
    image = torch.rand(1, *SIZE, generator=torch.Generator().manual_seed(0)) * 0.1
    for body in bodies:
        image[0][body] += 0.9
    return image


BODIES = {
    "one": [(slice(20, 31), slice(10, 22), slice(8, 19))],
    "two": [(slice(4, 11), slice(5, 14), slice(6, 13)), (slice(44, 57), slice(30, 47), slice(25, 39))],
    "at the border": [(slice(0, 5), slice(44, 50), slice(0, 44))],
    "a corner of windows": [(slice(51, 54), slice(38, 41), slice(32, 35))],
    "nothing": [],
}


@pytest.mark.parametrize("networks", ["ensemble", "cs", "ds"])
@pytest.mark.parametrize("bodies", BODIES.values(), ids=BODIES)
def test_the_answer_is_that_of_the_closer_reading_everywhere(
    recipe: Recipe, bodies: list[tuple[slice, slice, slice]], networks: Networks
) -> None:
    image, both, looking = noise_with(*bodies), Watched(), Watched()
    changed = recipe.changed(inference={"overlap": 0.5})
    closer = changed.changed(inference={"first_look": False})
    plain = predict_probabilities(image, closer, both.cs, both.ds, networks=networks).mean
    reading = read(image, changed, looking.cs, looking.ds, networks=networks)
    looked = torch.zeros_like(plain)
    looked[0] = 1
    there = (slice(None), *reading.box)
    looked[there] = torch.cat([slab.mean.clone() for slab in reading.slabs], dim=1)
    assert torch.equal(plain.argmax(dim=0), looked.argmax(dim=0))
    assert bool(looked.argmax(dim=0).any()) == bool(bodies)
    torch.testing.assert_close(plain, looked, atol=0.01, rtol=0)
    possible = plain[0] < 0.99
    assert torch.equal(plain[:, possible], looked[:, possible])
    assert looking.asked < both.asked
    assert bool(bodies) or looked[0][reading.box].numel() < image.numel() / 8


def test_a_look_that_finds_something_everywhere_is_given_up(recipe: Recipe) -> None:
    image = torch.rand(1, *SIZE, generator=torch.Generator().manual_seed(0))
    answers, asked = [], []
    for first_look in (False, True):
        both, told = Watched(), list[tuple[int, int]]()
        changed = recipe.changed(inference={"first_look": first_look})
        reading = read(
            image, changed, both.cs, None, networks="cs", on_window=lambda *one, told=told: told.append(one)
        )
        answers.append(torch.cat([slab.mean.clone() for slab in reading.slabs], dim=1))
        asked.append(len(both.seen))
        assert told[-1] == (len(both.seen),) * 2
        assert [done for done, _ in told if done] == sorted(done for done, _ in told if done)
    assert torch.equal(*answers)
    assert asked[1] == asked[0] + ENOUGH


@pytest.mark.parametrize(
    ("networks", "changes", "looks"),
    [
        ("ensemble", {}, True),
        ("ensemble", {"inference": {"overlap": 0.5, "ds_weight": 0.1}}, False),
        ("ensemble", {"ds": {"coarsening": 1}}, False),
        ("ensemble", {"diffusion": {"sampling_steps": 2}}, False),
        ("ds", {"ds": {"coarsening": 1}}, True),
        ("cs", {}, False),
    ],
    ids=["cheap DS", "DS that hardly counts", "DS on all voxels", "DS in two steps", "DS alone", "CS alone"],
)
def test_ds_looks_first_where_it_is_cheap_and_counts(
    recipe: Recipe, networks: Networks, changes: dict[str, Any], looks: bool
) -> None:
    grid = {"window": [16, 16, 16], "crop": [16, 16, 16]}
    weighted = {"overlap": 0.5, "ds_weight": 0.5}
    given: dict[str, Any] = {"grid": grid, "ds": {"coarsening": 2}, "inference": weighted} | changes
    both = Watched()
    for _ in read(noise_with(), recipe.changed(**given), both.cs, both.ds, networks=networks).slabs:
        pass
    assert (bool(both.seen), bool(both.denoised)) == (not looks, looks)


def test_few_windows_are_not_looked_at_first(recipe: Recipe) -> None:
    both = Watched()
    image = noise_with()[:, :18, :18, :12]
    predict_probabilities(image, recipe, both.cs, None, networks="cs")
    assert len(both.seen) == len(layout(image.shape[1:], (WINDOW,) * 3, recipe.inference.overlap))


@pytest.mark.parametrize("size", [(12, 12, 12), (13, 24, 60), (61, 50, 44)])
def test_the_windows_of_a_first_look_cover_the_scan_and_overlap(size: tuple[int, int, int]) -> None:
    windows, covered = sparse_layout(size, (WINDOW,) * 3), torch.zeros(size)
    for where in windows:
        assert all(side.start >= 0 and side.stop <= s for side, s in zip(where, size, strict=True))
        covered[where] += 1
    assert covered.min() == 1
    for axis, s in enumerate(size):
        starts = sorted({where[axis].start for where in windows})
        assert len(starts) == 1 + math.ceil((s - WINDOW) / (WINDOW - 1))
        assert all(later - former < WINDOW for former, later in pairwise(starts))


def test_a_place_is_the_block_of_what_is_possible_with_those_beside_it() -> None:
    size, voxel = (5 * BLOCK - 3, 4 * BLOCK, BLOCK + 1), (2 * BLOCK, BLOCK - 1, 0)
    probabilities = torch.zeros(1, 2, *size)
    probabilities[:, 0] = 1
    probabilities[0][0][voxel], probabilities[0][1][voxel] = 0.98, 0.02
    whole = tuple(slice(0, s) for s in size)
    places = possible_places(size, [whole], lambda _: probabilities, torch.device("cpu"))  # type: ignore[list-item]
    assert places.shape == (5, 4, 2)
    assert places.nonzero().tolist() == [[x, y, z] for x in (1, 2, 3) for y in (0, 1) for z in (0, 1)]
    assert touches(places, (slice(BLOCK - 4, BLOCK + 1), slice(0, 4), slice(0, 4)))
    assert not touches(places, (slice(0, BLOCK), slice(0, 4), slice(0, 4)))
    assert not touches(places, (slice(0, 5 * BLOCK), slice(2 * BLOCK, 3 * BLOCK), slice(0, 4)))


@pytest.mark.parametrize("count", [0, 1, 2, 7, 12, 120])
def test_spread_windows_are_the_same_ones(count: int) -> None:
    windows = [(slice(n, n + 1),) * 3 for n in range(count)]
    assert sorted(spread(windows), key=lambda where: where[0].start) == windows
    halves = [where[0].start * 2 < count for where in spread(windows)[:12]]
    assert count < 12 or 5 <= sum(halves) <= 7
