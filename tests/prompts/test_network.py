from __future__ import annotations

import pytest
import torch

from vos_zoo.errors import ConfigError
from vos_zoo.prompts.network import PromptConfig, PromptNetwork


@pytest.mark.parametrize("size", [(64, 64), (32, 96)])
def test_every_pixel_has_a_logit(size):
    network = PromptNetwork(PromptConfig.tiny()).eval()
    logits = network(torch.zeros(2, 3, *size), torch.zeros(2, 4, *size))
    assert logits.shape == (2, 1, *size)


def test_every_map_and_the_image_reach_the_result():
    torch.manual_seed(0)
    network = PromptNetwork(PromptConfig.tiny()).eval()
    image, maps = torch.randn(1, 3, 64, 64, requires_grad=True), torch.rand(1, 4, 64, 64, requires_grad=True)
    network(image, maps).sum().backward()
    assert image.grad.abs().sum() > 0
    assert (maps.grad.abs().sum((0, 2, 3)) > 0).all()


def test_the_bundled_size_is_small():
    parameters = sum(part.numel() for part in PromptNetwork(PromptConfig.small()).parameters())
    assert 2 * parameters < 25 * 2**20


@pytest.mark.parametrize(
    "options", [{"crop_size": 100}, {"crop_size": 0}, {"widths": (0, 8, 8)}, {"context_blocks": 0}]
)
def test_impossible_sizes_are_refused(options):
    with pytest.raises(ConfigError, match="Expected"):
        PromptConfig(**options)
