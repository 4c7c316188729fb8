"""Windows cover a scan, and their answers are joined as by MONAI, slab by slab."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from monai.inferers import sliding_window_inference
from torch import Tensor

from diffcl.geometry import Box
from diffcl.inference.reading import predict_probabilities, read
from diffcl.inference.sliding import frame, joined, layout, window_count
from diffcl.models import Model
from diffcl.recipe import Recipe


def whole(size: Sequence[int]) -> Box:
    """The box of a scan of so many voxels."""
    x, y, z = (slice(0, s) for s in size)
    return x, y, z


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.7])
@pytest.mark.parametrize("size", [(8, 8, 8), (8, 19, 12), (31, 9, 8), (23, 17, 20)])
def test_answers_are_joined_as_monai_joins_them(size: tuple[int, int, int], overlap: float) -> None:
    image = torch.randn(1, 1, *size, generator=torch.Generator().manual_seed(0))

    def answer(crop: Tensor) -> Tensor:
        bright = crop - crop.mean()  # so that every window says something else of a voxel
        return torch.cat([bright, -bright, bright * 2, bright**2], dim=1)

    expected = sliding_window_inference(image, (8, 8, 8), 1, answer, overlap=overlap, mode="gaussian")
    assert isinstance(expected, Tensor)
    windows = layout(size, (8, 8, 8), overlap)

    def ask(where: Box) -> Tensor:
        return answer(image[0, 0][where][None, None])

    def answers(box: Box) -> list[Tensor]:
        found = joined(windows, [True] * len(windows), box, ask, 4, 2, torch.device("cpu"))
        return [slab.clone() for slab in found]

    slabs = answers(whole(size))
    assert torch.equal(torch.cat(slabs, dim=1)[None], expected)
    assert len(slabs) == len({where[0].start for where in windows})
    x, y, z = size
    for part in [
        (slice(1, x), slice(3, 4), slice(0, z - 1)),
        (slice(x - 2, x - 1), slice(0, y), slice(z // 2, z)),
    ]:
        there = (slice(None), *part)
        assert torch.equal(torch.cat(answers(part), dim=1), expected[0][there])


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("size", [(28, 40, 9), (12, 12, 12), (1, 13, 25), (60, 7, 37)])
def test_windows_are_counted_as_they_are_laid_out(
    size: tuple[int, int, int], overlap: float, recipe: Recipe
) -> None:
    changed = recipe.changed(inference={"overlap": overlap})
    framed = frame(size, changed)
    padded = framed.pad(torch.zeros(1, 1, *size)).shape[2:]
    assert window_count(size, changed) == len(layout(padded, framed.window, overlap))


def test_the_windows_of_a_scan_without_bounds_are_counted_at_once(recipe: Recipe) -> None:
    dense = recipe.changed(inference={"overlap": 0.9})
    assert dense.grid.window == (12, 12, 12)
    assert window_count((10**6, 10**6, 10**6), dense) == (10**6 - 11) ** 3


def test_windows_that_are_not_asked_are_background() -> None:
    windows = layout((8, 8, 24), (8, 8, 8), 0.5)
    asked = [where[2].start == 0 for where in windows]
    ones = torch.zeros(1, 6, 8, 8, 8).index_fill(1, torch.tensor([2, 4]), 1.0)
    cpu = torch.device("cpu")
    [found] = joined(windows, asked, whole((8, 8, 24)), lambda _: ones.clone(), 6, 3, cpu)
    torch.testing.assert_close(found.sum(dim=0), torch.full((8, 8, 24), 2.0))
    assert (found[[2, 4], :, :, :4] == 1).all()
    assert (found[[0, 3], :, :, 8:] == 1).all()


def test_slabs_together_are_the_whole(recipe: Recipe, model: Model) -> None:
    image = torch.randn(1, 21, 5, 30, generator=torch.Generator().manual_seed(0))
    at_once = predict_probabilities(image, recipe, model.cs, model.ds)
    slabs = [slab.copied() for slab in read(image, recipe, model.cs, model.ds, whole_scan=True).slabs]
    assert len(slabs) > 1
    for name in ("cs", "ds", "mean"):
        assert torch.equal(torch.cat([getattr(slab, name) for slab in slabs], dim=1), getattr(at_once, name))
        assert getattr(at_once, name).shape[1:] == image.shape[1:]
