"""CS and DS: shapes, what the recipe changes, and how time enters."""

from __future__ import annotations

import pytest
import torch
from monai.networks.nets.diffusion_model_unet import get_timestep_embedding

from diffcl.networks.cs import ConvolutionSegmenter
from diffcl.networks.ds import DiffusionSegmenter, blocks_to_channels, waves
from diffcl.networks.projection import ProjectionHead
from diffcl.recipe import Recipe, load_recipe

SMALL = {"filters": [4, 8, 8], "blocks": [1, 1, 1], "projection": 4}


@pytest.fixture
def recipe() -> Recipe:
    return load_recipe("hippocampus").changed(cs={**SMALL, "hf_mamba_width": 4}, ds=SMALL)


@pytest.mark.parametrize("size", [(8, 8, 8), (16, 8, 12)])
def test_both_networks_give_logits_of_every_class_on_the_same_grid(
    recipe: Recipe, size: tuple[int, int, int]
) -> None:
    image = torch.randn(2, 1, *size)
    assert ConvolutionSegmenter(recipe)(image).shape == (2, 3, *size)
    noisy = torch.randn(2, 3, *size)
    assert DiffusionSegmenter(recipe)(image, noisy, torch.tensor([0, 999])).shape == (2, 3, *size)


def test_ds_hears_the_time(recipe: Recipe) -> None:
    torch.manual_seed(0)
    ds = DiffusionSegmenter(recipe).eval()
    image, noisy = torch.randn(1, 1, 8, 8, 8), torch.randn(1, 3, 8, 8, 8)
    early, late = (ds(image, noisy, torch.tensor([time])) for time in (10, 900))
    assert not torch.allclose(early, late)


@pytest.mark.parametrize("width", [2, 7, 64])
def test_time_is_told_by_the_waves_of_monai(width: int) -> None:
    time = torch.tensor([0, 1, 500, 999])
    assert torch.equal(waves(time, width), get_timestep_embedding(time, width))


def test_a_coarser_ds_answers_for_every_voxel_at_less_cost(recipe: Recipe) -> None:
    coarse = DiffusionSegmenter(
        recipe.changed(ds={"coarsening": 2}, grid={"window": [16] * 3, "crop": [16] * 3})
    )
    image, noisy = torch.randn(2, 1, 16, 8, 24), torch.randn(2, 3, 16, 8, 24)
    seen: list[tuple[int, ...]] = []
    coarse.vnet.register_forward_hook(lambda _, given, __: seen.append(tuple(given[0].shape)))
    assert coarse(image, noisy, torch.tensor([0, 999])).shape == (2, 3, 16, 8, 24)
    assert seen == [(2, 32, 8, 4, 12)]


def test_thick_slices_are_halved_and_read_in_their_plane_first(recipe: Recipe) -> None:
    strides, kernels = [(2, 2, 1), (2, 2, 2)], [(3, 3, 1), (3, 3, 3), (3, 3, 3)]
    thick = recipe.changed(
        cs={"strides": strides, "kernels": kernels},
        ds={"strides": strides, "kernels": kernels, "coarsening": (2, 2, 1)},
        grid={"window": [16, 24, 6], "crop": [16, 24, 6]},
    )
    assert thick.grains == (8, 8, 2)
    cs, ds = ConvolutionSegmenter(thick), DiffusionSegmenter(thick)
    seen: list[tuple[int, ...]] = []
    for stage in (*cs.vnet.encoder, *ds.vnet.encoder):
        stage.register_forward_hook(lambda _, __, found: seen.append(tuple(found.shape[2:])))
    image, noisy = torch.randn(1, 1, 16, 24, 6), torch.randn(1, 3, 16, 24, 6)
    assert cs(image).shape == (1, 3, 16, 24, 6)
    assert ds(image, noisy, torch.tensor([9])).shape == (1, 3, 16, 24, 6)
    assert seen == [(16, 24, 6), (8, 12, 6), (4, 6, 3), (8, 12, 6), (4, 6, 6), (2, 3, 3)]
    assert cs.vnet.stem.kernel_size == (3, 3, 1)
    other = image.clone()
    other[..., 5] += 1
    assert torch.equal(cs.vnet.stem(image)[..., :5], cs.vnet.stem(other)[..., :5])


def test_strides_and_kernels_given_in_full_are_the_default_networks(recipe: Recipe) -> None:
    full = {"strides": [(2, 2, 2)] * 2, "kernels": [(3, 3, 3)] * 3}
    answers = []
    for task in (recipe, recipe.changed(cs=full, ds=full)):
        torch.manual_seed(0)
        cs, ds = ConvolutionSegmenter(task), DiffusionSegmenter(task)
        image, noisy = torch.randn(1, 1, 8, 8, 8), torch.randn(1, 3, 8, 8, 8)
        answers.append((cs(image), ds(image, noisy, torch.tensor([500]))))
    assert all(torch.equal(one, other) for one, other in zip(*answers, strict=True))


def test_blocks_become_channels_without_losing_a_voxel() -> None:
    volume = torch.randn(2, 3, 4, 6, 8)
    blocks = blocks_to_channels(volume, (2, 2, 2))
    assert blocks.shape == (2, 24, 2, 3, 4)
    assert torch.equal(blocks[1, 8 + 4 + 2 + 1, 1, 2, 3], volume[1, 1, 3, 5, 7])
    assert torch.equal(blocks.flatten().sort().values, volume.flatten().sort().values)


def test_without_diffusion_ds_is_a_second_cs(recipe: Recipe) -> None:
    ds = DiffusionSegmenter(recipe.changed(ds={"diffusion": False})).eval()
    image = torch.randn(1, 1, 8, 8, 8)
    answers = [ds(image, torch.randn(1, 3, 8, 8, 8), torch.tensor([time])) for time in (10, 900)]
    assert torch.equal(*answers)
    names = {name for name in ds.state_dict() if not name.startswith("projection")}
    assert names == {
        name for name in ConvolutionSegmenter(recipe).state_dict() if not name.startswith("projection")
    }


def test_modules_stand_on_the_levels_that_the_recipe_names(recipe: Recipe) -> None:
    for levels in ((), (1,), (0, 1)):
        cs = ConvolutionSegmenter(recipe.changed(cs={"hf_mamba_levels": levels}))
        assert sorted(cs.vnet.skips) == [str(level) for level in levels]


def test_new_hf_mamba_modules_change_nothing(recipe: Recipe) -> None:
    with_modules = ConvolutionSegmenter(recipe).eval()
    without = ConvolutionSegmenter(recipe.changed(cs={"hf_mamba_levels": ()})).eval()
    shared = {k: v for k, v in with_modules.state_dict().items() if ".skips." not in k}
    without.load_state_dict(shared)
    image = torch.randn(1, 1, 16, 8, 8)
    torch.testing.assert_close(with_modules(image), without(image), rtol=0, atol=0)


def test_every_parameter_of_cs_learns_but_the_head(recipe: Recipe) -> None:
    cs = ConvolutionSegmenter(recipe)
    for module in cs.vnet.skips.values():
        torch.nn.init.normal_(module.attention.weight)  # type: ignore[union-attr, arg-type]
    cs(torch.randn(2, 1, 8, 8, 8)).square().sum().backward()
    silent = [name for name, p in cs.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert all(name.startswith("projection.") for name in silent), silent


def test_projected_vectors_have_length_one() -> None:
    vectors = ProjectionHead(8, 4)(torch.randn(10, 8))
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(10))
