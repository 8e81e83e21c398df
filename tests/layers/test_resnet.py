"""ResNet trunks: the papers' sizes, strides, biases and ImageNet starts."""

import pytest
import timm
import torch

from vos_zoo.errors import ConfigError
from vos_zoo.layers import ResNetTrunk


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"])
def test_plain_trunks_are_timms(name):
    """Same tensors under the same names in the same order, and with them the same features, bit for bit."""
    torch.manual_seed(0)
    trunk, theirs = ResNetTrunk(name, blocks=(1, 2, 2)), timm.create_model(name, pretrained=False).eval()
    whole = {key: part.shape for key, part in ResNetTrunk(name).state_dict().items()}
    expected = {key: part.shape for key, part in theirs.state_dict().items() if not key.startswith(("layer4", "fc"))}
    assert list(whole.items()) == list(expected.items())
    trunk.load_state_dict({key: theirs.state_dict()[key] for key in trunk.state_dict()})
    for number, count in enumerate((1, 2, 2), 1):
        setattr(theirs, f"layer{number}", getattr(theirs, f"layer{number}")[:count])
    image = torch.randn(2, 3, 64, 96)
    features = theirs.maxpool(theirs.act1(theirs.bn1(theirs.conv1(image))))
    with torch.inference_mode():
        for ours, stage in zip(trunk.eval()(image), (theirs.layer1, theirs.layer2, theirs.layer3), strict=True):
            features = stage(features)
            assert torch.equal(ours, features)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_plain_trunks_start_like_timms(name):
    torch.manual_seed(0)
    ours, theirs = ResNetTrunk(name).state_dict(), timm.create_model(name, pretrained=False).state_dict()
    for key, tensor in ours.items():
        if tensor.ndim < 2:
            assert torch.equal(tensor, theirs[key])
        else:
            # Both are normal draws of the same deviation; the relative error of a deviation from n draws is 1/sqrt(2n).
            assert tensor.std() == pytest.approx(float(theirs[key].std()), rel=8 / (2 * tensor.numel()) ** 0.5)


def test_parameters_of_the_key_encoder():
    with torch.device("meta"):
        trunk = ResNetTrunk("resnet50")
    parts = [count(part) for part in (trunk.conv1, trunk.bn1, trunk.layer1, trunk.layer2, trunk.layer3)]
    assert parts == [9_408, 128, 215_808, 1_219_584, 7_098_368]
    assert count(trunk) == 8_543_296
    assert trunk.channels == (256, 512, 1024)


def test_parameters_of_the_value_encoder():
    with torch.device("meta"):
        trunk = ResNetTrunk("resnet18", in_channels=5, conv_bias=True)
    parts = [count(part) for part in (trunk.conv1, trunk.bn1, trunk.layer1, trunk.layer2, trunk.layer3)]
    assert parts == [15_744, 128, 148_224, 526_208, 2_100_992]


@pytest.mark.parametrize("blocks", [None, (1, 1, 1)])
def test_strides_and_channels(blocks):
    trunk = ResNetTrunk("resnet18", blocks=blocks).eval()
    features = trunk(torch.zeros(1, 3, 32, 48))
    assert [tuple(feature.shape) for feature in features] == [(1, 64, 8, 12), (1, 128, 4, 6), (1, 256, 2, 3)]


def test_fewer_blocks_are_fewer_parameters():
    assert len(ResNetTrunk("resnet18", blocks=(1, 2, 1)).layer2) == 2
    assert count(ResNetTrunk("resnet18", blocks=(1, 1, 1))) < count(ResNetTrunk("resnet18"))


def test_biases_start_at_zero_and_change_nothing():
    torch.manual_seed(0)
    plain = ResNetTrunk("resnet18").eval()
    biased = ResNetTrunk("resnet18", conv_bias=True).eval()
    missing, unexpected = biased.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected
    assert missing
    assert not any(biased.get_parameter(key).any() for key in missing)
    image = torch.randn(1, 3, 32, 32)
    assert torch.equal(plain(image).stride16, biased(image).stride16)


def test_the_stem_offset_is_added_before_normalisation():
    torch.manual_seed(0)
    trunk = ResNetTrunk("resnet18").eval()
    image, extra = torch.randn(2, 1, 3, 32, 32)
    offset = trunk.conv1(extra)
    torch.testing.assert_close(trunk(image, offset).stride16, trunk(image + extra).stride16, atol=1e-5, rtol=1e-4)


# As training stores weights, before it loads any.
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_imagenet_weights_keep_the_extra_channels_orthogonal(memory_format):
    torch.manual_seed(0)
    source = ResNetTrunk("resnet18").state_dict()
    trunk = ResNetTrunk("resnet18", in_channels=5, conv_bias=True, blocks=(1, 1, 1)).to(memory_format=memory_format)
    trunk.load_imagenet(
        {key: tensor.half() if tensor.is_floating_point() else tensor for key, tensor in source.items()}
    )
    torch.testing.assert_close(trunk.conv1.weight[:, :3], source["conv1.weight"], atol=1e-3, rtol=1e-3)
    # Two channels of a [64, 2, 7, 7] tensor: 64 orthonormal rows of 98 columns, element std 1/sqrt(98) = 0.101.
    rows = trunk.conv1.weight[:, 3:].flatten(1)
    torch.testing.assert_close(rows @ rows.T, torch.eye(64), atol=1e-5, rtol=0.0)
    assert rows.std().item() == pytest.approx(0.101, abs=1e-3)
    assert not trunk.layer1[0].conv1.bias.any()


def test_a_stem_of_three_convolutions_is_widened_too():
    source = ResNetTrunk("test_resnet").state_dict()
    trunk = ResNetTrunk("test_resnet", in_channels=4)
    trunk.load_imagenet(source)
    assert torch.equal(trunk.conv1[0].weight[:, :3], source["conv1.0.weight"])


def test_weights_of_another_resnet_are_refused():
    source = ResNetTrunk("resnet18").state_dict()
    with pytest.raises(ConfigError, match="do not fit"):
        ResNetTrunk("resnet50").load_imagenet(source)


@pytest.mark.parametrize(
    ("name", "message"), [("resnet999", "not known"), ("vit_tiny_patch16_224", "no ResNet stages")]
)
def test_other_backbones_are_refused(name, message):
    with pytest.raises(ConfigError, match=message):
        ResNetTrunk(name)
