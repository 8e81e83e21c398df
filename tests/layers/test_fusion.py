"""The fusion block: order of its inputs, its attention branch, and sharing of the frame."""

import pytest
import torch

from vos_zoo.layers import FusionBlock


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("cbam", [True, False])
@pytest.mark.parametrize(("batch", "objects"), [(1, 1), (1, 3), (2, 2)])
def test_it_is_its_formula(cbam, batch, objects):
    block = FusionBlock(6, 10, 32, cbam=cbam).double()
    mask_features = torch.randn(batch * objects, 6, 3, 4, dtype=torch.float64)
    frame_features = torch.randn(batch, 10, 3, 4, dtype=torch.float64)
    values = block(mask_features, frame_features)
    for index in range(batch * objects):
        frame = frame_features[index // objects]
        fused = block.block1(torch.cat([mask_features[index], frame])[None])
        expected = block.block2(fused + block.attention(fused) if cbam else fused)
        torch.testing.assert_close(values[index : index + 1], expected)


def test_parameters_of_the_papers_size():
    with torch.device("meta"):
        block = FusionBlock(256, 1024, 512)
    assert sum(parameter.numel() for parameter in block.parameters()) == 18_910_339
