"""HS2S's losses against their formulas, border targets against brute force."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vos_zoo.errors import ConfigError
from vos_zoo.models.hs2s.losses import (
    LossWeights,
    balanced_cross_entropy,
    border_targets,
    log_jaccard,
    object_log_jaccard,
)


def masks(*, count=3, size=(12, 17), seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(count, *size, generator=generator) > 0.6).double()


def test_balanced_cross_entropy_is_the_formula():
    target = masks()
    logits = torch.randn(target.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    n, positive = target.numel(), int(target.sum())
    share = positive / n
    of_objects = sum(math.log1p(math.exp(-x)) for x in logits[target == 1].tolist())
    of_background = sum(math.log1p(math.exp(x)) for x in logits[target == 0].tolist())
    expected = ((1 - share) * of_objects + share * of_background) / n
    assert balanced_cross_entropy(logits, target).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_balanced_cross_entropy_vanishes_without_one_of_the_classes(value):
    assert balanced_cross_entropy(torch.randn(2, 5, 5), torch.full((2, 5, 5), value)).item() == 0


def test_log_jaccard_is_the_formula():
    target = masks(seed=2)
    logits = torch.randn(target.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    probability = 1 / (1 + np.exp(-logits.numpy()))
    intersection = (probability * target.numpy()).sum()
    union = probability.sum() + target.numpy().sum() - intersection
    expected = -math.log((intersection + 1e-15) / (union + 1e-15))
    assert log_jaccard(logits, target).item() == pytest.approx(expected, rel=1e-12)


def test_log_jaccard_pushes_an_empty_mask_down():
    logits = torch.zeros(1, 4, 4, requires_grad=True)
    loss = log_jaccard(logits, torch.zeros(1, 4, 4))
    loss.backward()
    assert loss.item() == pytest.approx(-math.log(1e-15) + math.log(8), rel=1e-5)
    assert (logits.grad > 0).all()


def test_object_log_jaccard_is_the_mean_of_the_objects_formula():
    target = masks(seed=2)
    logits = torch.randn(target.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    expected = []
    for row, truth in zip(logits.numpy(), target.numpy(), strict=True):
        probability = 1 / (1 + np.exp(-row))
        intersection = (probability * truth).sum()
        expected.append(-math.log((intersection + 1) / (probability.sum() + truth.sum() - intersection + 1)))
    assert object_log_jaccard(logits, target).item() == pytest.approx(np.mean(expected), rel=1e-12)


def test_a_lost_small_object_weighs_like_a_lost_large_one_by_object_alone():
    target = torch.zeros(2, 16, 16)
    target[0, :14, :14] = 1
    target[1, :3, :3] = 1
    logits = 20 * (2 * target - 1)
    losses = {}
    for lost in (0, 1):
        missing = logits.clone()
        missing[lost] = -20
        losses[lost] = log_jaccard(missing, target).item(), object_log_jaccard(missing, target).item()
    assert losses[1][0] < 0.05 * losses[0][0]
    assert losses[1][1] > 0.4 * losses[0][1]


def test_object_log_jaccard_pushes_an_empty_mask_down_to_nothing():
    logits = torch.zeros(1, 4, 4, requires_grad=True)
    object_log_jaccard(logits, torch.zeros(1, 4, 4)).backward()
    assert (logits.grad > 0).all()
    assert object_log_jaccard(torch.full((1, 4, 4), -99.0), torch.zeros(1, 4, 4)).item() == 0


def test_losses_stay_finite_for_large_logits():
    target = masks().float()
    logits = (1e4 * (1 - 2 * target)).requires_grad_()
    loss = balanced_cross_entropy(logits, target) + log_jaccard(logits, target) + object_log_jaccard(logits, target)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


def brute_force(mask, width, bin_size):
    """Border classes by the definition, pixel by pixel."""
    points = {value: np.argwhere(mask == value) for value in (False, True)}
    bins = width // bin_size
    classes = np.empty(mask.shape, int)
    for row, column in np.ndindex(*mask.shape):
        others = points[not mask[row, column]]
        squared = ((others - [row, column]) ** 2).sum(axis=1).min() if len(others) else math.inf
        step = math.inf if squared == math.inf else math.isqrt(int(squared))
        if mask[row, column]:
            classes[row, column] = bins + 1 + step // bin_size if step <= width else 2 * bins + 1
        else:
            classes[row, column] = bins - step // bin_size if step <= width else 0
    return classes


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    density=st.sampled_from([0.0, 0.02, 0.5, 0.98, 1.0]),
    size=st.tuples(st.integers(1, 14), st.integers(1, 14)),
    scale=st.sampled_from([(4, 1), (5, 2), (20, 1), (20, 10), (3, 4)]),
)
def test_border_targets_follow_the_definition(seed, density, size, scale):
    mask = np.random.default_rng(seed).random(size) < density
    expected = brute_force(mask, *scale)
    found = border_targets(torch.from_numpy(mask).float(), width=scale[0], bin_size=scale[1])
    assert found.dtype == torch.int64
    assert (found.numpy() == expected).all()


@pytest.mark.parametrize(("value", "expected"), [(0.0, 0), (1.0, 41)])
def test_a_mask_of_one_kind_has_no_border(value, expected):
    assert (border_targets(torch.full((2, 30, 50), value)) == expected).all()


def test_the_two_classes_at_distance_zero_do_not_occur():
    disc = (torch.arange(60)[:, None] - 30) ** 2 + (torch.arange(70) - 30) ** 2 < 26**2
    assert set(border_targets(disc.float()).flatten().tolist()) == set(range(42)) - {20, 21}


def test_presets_of_weights():
    assert LossWeights.named("released") == LossWeights(0.6, 0.2, 0.2)
    assert LossWeights.named("paper") == LossWeights(0.8, 0.0, 0.2)
    with pytest.raises(ConfigError, match="'mine'"):
        LossWeights.named("mine")
