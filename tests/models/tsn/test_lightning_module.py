"""TSN's training: what is frozen, its schedule, its optimisers."""

from __future__ import annotations

import pytest
import torch

from vos_zoo.models.tsn import TSNModule
from vos_zoo.testing import ignore, training_batch


def test_absent_objects_have_finite_gradients():
    module = TSNModule("tiny")
    module.log = ignore
    batch = training_batch(frames=3)
    batch["masks"] = torch.zeros_like(batch["masks"])
    module.training_step(batch, 0).backward()
    assert all(part.grad is None or part.grad.isfinite().all() for part in module.network.parameters())


def test_batch_normalisation_is_frozen_whole_by_default():
    module = TSNModule("tiny")
    frozen = {name for name, part in module.network.named_parameters() if not part.requires_grad}
    norms = {name for name, part in module.network.named_modules() if isinstance(part, torch.nn.BatchNorm2d)}
    assert norms
    assert frozen == {f"{name}.{kind}" for name in norms for kind in ("weight", "bias")}


class Schedule:
    """What a schedule asks a trainer."""

    estimated_stepping_batches = 100


def test_the_learning_rate_decays_polynomially(monkeypatch):
    module = TSNModule("tiny", poly_power=0.9)
    monkeypatch.setattr(TSNModule, "trainer", Schedule())
    assert [module.learning_rate_factor(step) for step in (0, 50, 100)] == pytest.approx([1, 0.5**0.9, 0])
    assert TSNModule("tiny").learning_rate_factor(50) == 1


def test_adamw_spares_norms_and_biases():
    module = TSNModule("tiny", optimizer="adamw", weight_decay=1e-4)
    module.poly_power = None
    decayed, bare = module.configure_optimizers()["optimizer"].param_groups
    assert decayed["weight_decay"] == 1e-4
    assert bare["weight_decay"] == 0
    assert all(part.ndim > 1 for part in decayed["params"])
    assert all(part.ndim == 1 for part in bare["params"])


def test_adamw_keeps_the_rates_of_parts():
    module = TSNModule("tiny", optimizer="adamw", learning_rate=1e-3, part_rates={"pixel_division": 30.0})
    groups = module.configure_optimizers()["optimizer"].param_groups
    rates = {id(part): group["lr"] for group in groups for part in group["params"]}
    linear = module.network.pixel_division.linear
    assert (rates[id(linear.weight)], rates[id(linear.bias)]) == pytest.approx((3e-2, 3e-2))
    assert rates[id(module.network.key_projection.weight)] == pytest.approx(1e-3)
