"""Losses against their formulas in float64."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vos_zoo.training.losses import BootstrappedCrossEntropy


def by_pixel(logits, target):
    """Cross-entropy of every pixel, by the definition."""
    shares = logits.double().exp() / logits.double().exp().sum(0)
    return -torch.log(shares.gather(0, target.long().unsqueeze(0)))[0].flatten()


def sample(objects=2, size=(9, 11), seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(objects + 1, *size, generator=generator)
    return logits, torch.randint(0, objects + 1, size, generator=generator)


@pytest.mark.parametrize(
    ("iteration", "share"),
    [(0, 1), (19_999, 1), (20_000, 1), (45_000, 0.575), (70_000, 0.15), (70_001, 0.15), (10**6, 0.15)],
)
def test_the_share_of_pixels_falls_linearly(iteration, share):
    assert BootstrappedCrossEntropy(20_000, 70_000).share(iteration) == pytest.approx(share)


@pytest.mark.parametrize("end", [10, 5])
def test_a_schedule_without_length_jumps(end):
    loss = BootstrappedCrossEntropy(10, end)
    assert loss.share(9) == 1
    assert loss.share(11) == pytest.approx(0.15)


@given(st.integers(0, 100), st.integers(0, 100), st.floats(0.01, 1), st.integers(0, 300))
def test_the_share_stays_between_its_ends(start, length, top_p, iteration):
    loss = BootstrappedCrossEntropy(start, start + length, top_p)
    assert top_p - 1e-9 <= loss.share(iteration) <= 1 + 1e-9
    assert loss.share(iteration + 1) <= loss.share(iteration) + 1e-9


@pytest.mark.parametrize(("iteration", "share"), [(0, 1), (20, 0.575), (30, 0.15)])
def test_the_hardest_pixels_are_averaged(iteration, share):
    logits, target = sample()
    losses = by_pixel(logits, target).sort(descending=True).values
    expected = losses[: int(share * losses.numel())].mean()
    loss = BootstrappedCrossEntropy(10, 30)(logits, target, iteration)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-6)


def test_one_pixel_always_counts():
    logits, target = sample(size=(1, 2))
    loss = BootstrappedCrossEntropy(0, 0)(logits, target, 5)
    torch.testing.assert_close(loss.double(), by_pixel(logits, target).max())


def test_gradients_reach_the_hardest_pixels_alone():
    logits, target = sample()
    logits.requires_grad_()
    BootstrappedCrossEntropy(0, 0)(logits, target, 5).backward()
    reached = (logits.grad.abs().sum(0) > 0).sum()
    assert reached == int(0.15 * target.numel())
