from __future__ import annotations

import pytest
import torch

from vos_zoo.layers import soft_aggregate
from vos_zoo.models.giel.log_odds import aggregate_log_odds, product_log_odds


def direct(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Log-odds of the product in float64, the plain way."""
    probability = torch.sigmoid(first.double()) * torch.sigmoid(second.double())
    return torch.log(probability / (1 - probability))


@pytest.mark.parametrize("scale", [0.1, 2.0, 6.0])
def test_products_equal_the_direct_form_in_float64(scale):
    torch.manual_seed(0)
    first, second = torch.randn(2, 2, 3, 8, 8) * scale
    ours = torch.sigmoid(product_log_odds(first, second).double())
    # The rounding of float32 at probabilities up to 1.
    assert (ours - torch.sigmoid(direct(first, second))).abs().max() < 4e-7


@pytest.mark.parametrize("scale", [2.0, 6.0])
def test_aggregation_equals_the_direct_form_in_float64(scale):
    torch.manual_seed(0)
    log_odds = torch.randn(2, 3, 8, 8) * scale
    expected = soft_aggregate(torch.sigmoid(log_odds.double())).softmax(dim=1)
    assert (aggregate_log_odds(log_odds).softmax(dim=1).double() - expected).abs().max() < 1e-6


@pytest.mark.parametrize("size", [30.0, 100.0, 1e4])
def test_extreme_logits_stay_finite_with_their_gradients(size):
    first = torch.tensor([size, -size, size, -size], requires_grad=True)
    second = torch.tensor([size, size, -size, -size], requires_grad=True)
    odds = product_log_odds(first, second)
    logits = aggregate_log_odds(odds.view(1, 1, 2, 2).expand(1, 2, 2, 2))
    torch.nn.functional.cross_entropy(logits, torch.tensor([[[0, 1], [2, 0]]])).backward()
    for tensor in (odds, logits, first.grad, second.grad):
        assert tensor.isfinite().all()


def test_planes_without_an_object_get_nothing():
    torch.manual_seed(0)
    log_odds = torch.randn(2, 3, 4, 4, requires_grad=True)
    valid = torch.tensor([[True, True, False], [True, False, False]])
    logits = aggregate_log_odds(log_odds, valid)
    assert (logits[~torch.cat([torch.ones(2, 1, dtype=torch.bool), valid], 1)] == -torch.inf).all()
    torch.testing.assert_close(logits[:1, :3], aggregate_log_odds(log_odds[:1, :2]))
    torch.testing.assert_close(logits[1:, :2], aggregate_log_odds(log_odds[1:, :1]))
    torch.nn.functional.cross_entropy(logits, torch.zeros(2, 4, 4, dtype=torch.long)).backward()
    assert log_odds.grad.isfinite().all()
    assert log_odds.grad[~valid].abs().max() == 0


def test_half_precision_is_widened():
    assert aggregate_log_odds(torch.zeros(1, 1, 1, 1, dtype=torch.bfloat16)).dtype == torch.float32
    assert product_log_odds(torch.zeros(1).half(), torch.zeros(1).half()).dtype == torch.float32
