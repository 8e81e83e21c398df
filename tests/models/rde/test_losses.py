"""RDE-VOS's distance against its definition in float64."""

import math

import pytest
import torch

from vos_zoo.models.rde.losses import distribution_distance


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
