"""The mask decoder: shapes, the paper's sizes, and objects that do not see one another."""

import pytest
import torch

from vos_zoo.layers import MaskDecoder


@pytest.fixture
def decoder():
    torch.manual_seed(0)
    return MaskDecoder(12, (10, 6), (8, 8, 4)).double()


def test_logits_have_the_size_of_the_frame(decoder):
    stride8, stride4 = torch.randn(2, 10, 6, 8).double(), torch.randn(2, 6, 12, 16).double()
    assert decoder(torch.randn(6, 12, 3, 4).double(), stride8, stride4).shape == (2, 3, 48, 64)


def test_objects_and_clips_are_independent(decoder):
    features = torch.randn(4, 12, 3, 4).double()
    stride8, stride4 = torch.randn(2, 10, 6, 8).double(), torch.randn(2, 6, 12, 16).double()
    together = decoder(features, stride8, stride4)
    for index in range(4):
        clip = index // 2
        alone = decoder(features[index : index + 1], stride8[clip : clip + 1], stride4[clip : clip + 1])
        torch.testing.assert_close(alone[0, 0], together[clip, index % 2])


def test_parameters_of_the_papers_size():
    with torch.device("meta"):
        decoder = MaskDecoder(1024, (512, 256), (512, 256, 256))
    parts = {
        name: sum(parameter.numel() for parameter in child.parameters()) for name, child in decoder.named_children()
    }
    assert parts == {"compress": 11_798_016, "up_16_8": 5_309_696, "up_8_4": 1_770_240, "predict": 2_305}
