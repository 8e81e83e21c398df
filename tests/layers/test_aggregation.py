"""Soft aggregation against its formula, at the ends of the range and in half precision."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vos_zoo.layers import soft_aggregate

LOWEST, HIGHEST = math.log(1e-7 / (1 - 1e-7)), math.log((1 - 1e-7) / 1e-7)


def planes(*values, dtype=torch.float32):
    return torch.tensor(values, dtype=dtype).view(1, -1, 1, 1)


def by_formula(values):
    """Log-odds of the background and of every object, in Python's float64."""
    background = math.prod(1 - value for value in values)
    clamped = [min(max(value, 1e-7), 1 - 1e-7) for value in (background, *values)]
    return [math.log(value / (1 - value)) for value in clamped]


@pytest.mark.parametrize(
    "values", [(0.5,), (0.1, 0.7), (0.9, 0.8, 0.05), (0.0, 0.3), (1.0, 0.3), (0.0, 0.0), (1.0, 1.0)]
)
def test_logits_are_the_log_odds(values):
    logits = soft_aggregate(planes(*values, dtype=torch.float64))
    torch.testing.assert_close(logits.flatten(), torch.tensor(by_formula(values), dtype=torch.float64))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=10))
def test_probabilities_sum_to_one_and_stay_finite(values):
    logits = soft_aggregate(planes(*values))
    assert logits.shape == (1, len(values) + 1, 1, 1)
    assert logits.dtype == torch.float32
    # In float32 the bounds are log-odds of rounded numbers, hence the asymmetric range.
    assert logits.min() > -16.13
    assert logits.max() < 15.95
    torch.testing.assert_close(logits.softmax(dim=1).sum(), torch.tensor(1.0))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.0009765625, 0.9990234375, width=32), min_size=1, max_size=4))
def test_float32_agrees_with_the_formula(values):
    expected = torch.tensor(by_formula(values))
    # Both 1 - p and log-odds lose digits near the ends, at most p's rounding times the slope 1 / (p (1 - p)).
    torch.testing.assert_close(soft_aggregate(planes(*values)).flatten(), expected, atol=2e-3, rtol=1e-4)


def test_the_bounds_in_float32_are_those_of_the_rounded_clamp():
    logits = soft_aggregate(planes(1.0, 0.0)).flatten()
    assert logits.tolist() == pytest.approx([LOWEST, 15.942385, LOWEST], abs=1e-3)
    assert logits[1] < HIGHEST


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("is_autocast", [False, True])
def test_half_precision_is_widened_before_anything_else(dtype, is_autocast):
    values = planes(0.0, 0.25, 1.0, dtype=dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_autocast):
        logits = soft_aggregate(values)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, soft_aggregate(values.float()), atol=0.0, rtol=0.0)


def test_a_certain_object_wins_and_empty_pixels_are_background():
    masks = torch.zeros(1, 2, 1, 3)
    masks[0, 0, 0, 0] = masks[0, 1, 0, 1] = 1.0
    assert soft_aggregate(masks).argmax(dim=1).tolist() == [[[1, 2, 0]]]


def test_objects_may_come_in_any_order():
    probabilities = torch.rand(2, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    order = [2, 0, 3, 1]
    permuted = soft_aggregate(probabilities[:, order])
    torch.testing.assert_close(permuted, soft_aggregate(probabilities)[:, [0, *(index + 1 for index in order)]])


def test_gradients_reach_every_object():
    probabilities = torch.rand(1, 3, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    probabilities.requires_grad_()
    assert torch.autograd.gradcheck(soft_aggregate, (probabilities * 0.8 + 0.1,))
