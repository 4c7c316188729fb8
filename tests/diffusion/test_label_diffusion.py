"""Noising has its moments, and DDIM with a perfect denoiser gives the label map back."""

from __future__ import annotations

import pytest
import torch
from monai.networks.schedulers import DDIMScheduler

from diffcl.diffusion import LabelDiffusion
from diffcl.recipe import Diffusion

CLASSES = 3


@pytest.fixture
def label() -> torch.Tensor:
    return torch.randint(0, CLASSES, (2, 6, 5, 7), generator=torch.Generator().manual_seed(0))


def test_signal_is_the_cumulative_product_of_one_minus_beta() -> None:
    diffusion = LabelDiffusion(Diffusion(steps=4, beta_start=0.1, beta_end=0.4, sampling_steps=2))
    expected = torch.cumprod(1 - torch.tensor([0.1, 0.2, 0.3, 0.4]), dim=0)
    torch.testing.assert_close(diffusion.signal, expected)


def test_encoding_is_plus_and_minus_one(label: torch.Tensor) -> None:
    clean = LabelDiffusion(Diffusion()).encode(label, CLASSES)
    assert clean.shape == (2, CLASSES, 6, 5, 7)
    assert clean.unique().tolist() == [-1, 1]
    torch.testing.assert_close(clean.argmax(dim=1), label)


@pytest.mark.parametrize("time", [0, 250, 999])
def test_noised_maps_have_the_moments_of_the_definition(time: int) -> None:
    diffusion = LabelDiffusion(Diffusion())
    clean = torch.ones(1, 1, 60, 60, 60)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    noisy = diffusion.noise(clean, torch.tensor([time]), noise)
    signal = float(diffusion.signal[time])
    assert float(noisy.mean()) == pytest.approx(signal**0.5, abs=0.01)
    assert float(noisy.var()) == pytest.approx(1 - signal, abs=0.01)


def test_each_sample_has_its_own_time(label: torch.Tensor) -> None:
    diffusion = LabelDiffusion(Diffusion())
    clean = diffusion.encode(label, CLASSES)
    noisy = diffusion.noise(clean, torch.tensor([0, 999]), torch.zeros_like(clean))
    torch.testing.assert_close(noisy[0], clean[0] * diffusion.signal[0].sqrt())
    torch.testing.assert_close(noisy[1], clean[1] * diffusion.signal[999].sqrt())


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 1000])
def test_a_perfect_denoiser_gives_the_label_map_back(label: torch.Tensor, steps: int) -> None:
    diffusion = LabelDiffusion(Diffusion())
    truth = diffusion.encode(label, CLASSES) * 20
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(2))
    probabilities = diffusion.sample(lambda noisy, time: truth, noise, steps)
    torch.testing.assert_close(probabilities, truth.softmax(dim=1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("steps", [1, 3, 4])
def test_the_chain_starts_at_pure_noise_and_steps_evenly(steps: int) -> None:
    seen = []

    def denoiser(noisy: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        seen.append(int(time[0]))
        return noisy

    LabelDiffusion(Diffusion()).sample(denoiser, torch.zeros(1, 2, 2, 2, 2), steps)
    assert len(seen) == steps
    assert seen[0] >= 1000 - steps
    assert set(torch.tensor(seen).diff().tolist()) <= {-(1000 // steps), -(1000 // steps) - 1}


def test_each_step_of_the_chain_is_a_map_noised_for_its_time(label: torch.Tensor) -> None:
    """With a denoiser that knows the truth, what it is shown is Y_t of the same noise throughout."""
    diffusion = LabelDiffusion(Diffusion())
    clean = diffusion.encode(label, CLASSES)
    start = torch.randn(clean.shape, generator=torch.Generator().manual_seed(3))
    first = diffusion.noise(clean, torch.tensor([999, 999]), start)

    def denoiser(noisy: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        expected = diffusion.noise(clean, time, start)
        torch.testing.assert_close(noisy, expected, atol=0.02, rtol=0)
        return clean * 30

    diffusion.sample(denoiser, first, 5)


@pytest.mark.parametrize("steps", [1, 2, 3, 7])
@pytest.mark.parametrize("settings", [Diffusion(), Diffusion(steps=40, beta_end=0.3, sampling_steps=2)])
def test_the_chain_is_that_of_monai(settings: Diffusion, steps: int) -> None:
    scheduler = DDIMScheduler(
        settings.steps,
        beta_start=settings.beta_start,
        beta_end=settings.beta_end,
        clip_sample=False,
        prediction_type="sample",
        steps_offset=settings.steps // steps - 1,
    )
    scheduler.set_timesteps(steps)
    start = torch.randn(2, CLASSES, 4, 5, 6, generator=torch.Generator().manual_seed(4))
    chain = [start]
    for time in scheduler.timesteps:
        clean = (chain[-1] + time / settings.steps).softmax(dim=1) * 2 - 1
        chain.append(scheduler.step(clean, int(time), chain[-1])[0])
    seen = []

    def denoiser(noisy: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        seen.append((noisy, time))
        return noisy + time[0] / settings.steps

    diffusion = LabelDiffusion(settings)
    diffusion.sample(denoiser, start, steps)
    assert torch.equal(diffusion.signal, scheduler.alphas_cumprod)
    assert [int(time[0]) for _, time in seen] == scheduler.timesteps.tolist()
    assert all(torch.equal(noisy, expected) for (noisy, _), expected in zip(seen, chain, strict=False))


def test_late_steps_are_drawn_as_often_as_asked() -> None:
    for late, expected in ((0.0, 0.5), (2.0, 0.875)):
        diffusion = LabelDiffusion(Diffusion(late=late))
        drawn = diffusion.draw_time(20_000, torch.Generator().manual_seed(0))
        assert drawn.min() >= 0
        assert drawn.max() <= 999
        assert float((drawn >= 500).float().mean()) == pytest.approx(expected, abs=0.01)
