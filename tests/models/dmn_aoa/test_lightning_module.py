"""DMN-AOA's training: learning rates and what is frozen."""

import pytest

from testing.dmn_aoa import tiny


def test_the_backbone_learns_more_slowly_and_keeps_its_normalisation():
    module = tiny()
    module.learning_rate = 1e-4
    groups = module.configure_optimizers()["optimizer"].param_groups
    assert [group["lr"] for group in groups] == pytest.approx([1e-4, 1e-5])
    trunk = module.network.base.trunk
    assert not trunk.bn1.weight.requires_grad
    module.train()
    assert not trunk.bn1.training
