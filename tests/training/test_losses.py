"""Losses against their formulas in float64."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vos_zoo.training.losses import BootstrappedCrossEntropy, distribution_distance


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


def divergence(student, teacher):
    """Sum over channels of p_teacher (ln p_teacher - ln p_student), per position, in float64."""
    student, teacher = (part.double().movedim(1, -1) for part in (student, teacher))
    p, q = (part.exp() / part.exp().sum(-1, keepdim=True) for part in (teacher, student))
    return (p * (p.log() - q.log())).sum(-1)


@pytest.mark.parametrize("shape", [(2, 5, 3, 4), (1, 8), (3, 2, 7)])
@pytest.mark.parametrize("per_position", [False, True])
def test_the_distance_is_the_divergence_of_the_channels(shape, per_position):
    student, teacher = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    expected = divergence(student, teacher).mean() / (1 if per_position else shape[1])
    distance = distribution_distance(student, teacher, per_position=per_position)
    torch.testing.assert_close(distance.double(), expected, rtol=1e-5, atol=1e-7)
    assert distance > 0


@pytest.mark.parametrize("per_position", [False, True])
@pytest.mark.parametrize("scale", [1, 100])
def test_equal_inputs_have_no_distance(scale, per_position):
    features = scale * torch.randn(2, 6, 3, 3, generator=torch.Generator().manual_seed(1))
    assert distribution_distance(features, features.clone(), per_position=per_position).abs() < 1e-6


def test_it_is_differentiable_in_both_arguments():
    pair = torch.randn(2, 2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    student, teacher = (part.clone().requires_grad_() for part in pair)
    distribution_distance(student, teacher).backward()
    exact = [part.clone().requires_grad_() for part in pair]
    (divergence(*exact).mean() / 5).backward()
    # The loss is computed in float32.
    for part, reference in zip((student, teacher), exact, strict=True):
        assert part.grad.abs().max() > 0
        torch.testing.assert_close(part.grad, reference.grad, rtol=1e-4, atol=1e-6)


def test_half_precision_is_widened():
    student, teacher = torch.randn(2, 1, 4, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    distance = distribution_distance(student, teacher)
    assert distance.dtype == torch.float32
    torch.testing.assert_close(distance.double(), divergence(student, teacher).mean() / 4, rtol=1e-5, atol=1e-7)


def test_the_order_of_the_arguments_matters():
    student = torch.tensor([[0.0, math.log(3.0)]])
    teacher = torch.tensor([[0.0, 0.0]])
    # KL(1/2, 1/2 || 1/4, 3/4) = 1/2 ln 2 + 1/2 ln 2/3 = 1/2 ln 4/3
    assert distribution_distance(student, teacher, per_position=True).item() == pytest.approx(0.5 * math.log(4 / 3))
