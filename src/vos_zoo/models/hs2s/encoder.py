"""HS2S's encoders: a whole ResNet whose first convolution may also see a mask."""

from __future__ import annotations

import logging
import math
from typing import NamedTuple

import timm
import torch
import torch.nn.functional as F
from timm.models.resnet import BasicBlock
from torch import Tensor, nn

from vos_zoo.errors import ConfigError
from vos_zoo.layers import ResNetTrunk
from vos_zoo.layers.blocks import add_per_object

from .config import HS2SConfig

_LOGGER = logging.getLogger(__name__)
_IMAGE_CHANNELS = 3
_ADDED = ("extra_", "reduce_")  # parts that an ImageNet network does not have


class EncoderFeatures(NamedTuple):
    """Maps of one encoder, one row per object: skips at strides 2 to 32, and the reduced stride-32 map."""

    stride2: Tensor
    stride4: Tensor
    stride8: Tensor
    stride16: Tensor
    stride32: Tensor
    reduced: Tensor


class MaskedEncoder(ResNetTrunk):
    """ResNet up to stride 32 with an extra stem layer and a reduction at its end.

    The released network adds the outputs of two first convolutions, one of the image and one of the mask. Here they are
    one convolution with four input channels, which computes the same. :meth:`image_stem` applies its image part once
    per frame, :meth:`forward` adds the mask part per object.

    Args:
        config: Sizes.
        takes_mask: Whether the first convolution has the fourth channel.

    Raises:
        ConfigError: If the backbone is not a ResNet.

    Source: HS2S, Azimi et al., 2020, Section 4.1; extra layer, pooling and normalisation as released.
    """

    def __init__(self, config: HS2SConfig, *, takes_mask: bool) -> None:
        super().__init__(config.backbone, in_channels=_IMAGE_CHANNELS + takes_mask, blocks=config.blocks)
        self.takes_mask = takes_mask
        self.maxpool = nn.MaxPool2d(2, 2)  # as released; ImageNet networks pool 3x3
        stem = self.stem_channels
        self.extra_conv = nn.Conv2d(stem, stem, 3, padding=1)
        self.extra_bn = nn.BatchNorm2d(stem)
        self.layer4, self.stride32_channels = _stride32_stage(config, self.channels[2])
        self.reduce_conv = nn.Conv2d(self.stride32_channels, config.state_width, 1)
        self.reduce_bn = nn.BatchNorm2d(config.state_width)
        for convolution in (self.extra_conv, self.reduce_conv):
            initialise_by_fan_out(convolution)
        if takes_mask:
            with torch.no_grad():
                weight = self.first_convolution.weight
                _normal_by_fan_out(weight[:, _IMAGE_CHANNELS:])

    @property
    def first_convolution(self) -> nn.Conv2d:
        """The convolution that sees the image and the mask."""
        first = self.conv1[0] if isinstance(self.conv1, nn.Sequential) else self.conv1
        assert isinstance(first, nn.Conv2d)
        return first

    def image_stem(self, image: Tensor) -> Tensor:
        """Apply the first convolution to normalised images (B, 3, H, W), without the mask's part."""
        first = self.first_convolution
        weight = first.weight[:, :_IMAGE_CHANNELS]
        return F.conv2d(image, weight, first.bias, first.stride, first.padding)

    def forward(self, stem: Tensor, masks: Tensor | None = None) -> EncoderFeatures:  # type: ignore[override]
        """Encode frames with masks.

        Args:
            stem: What :meth:`image_stem` gave, shape (B, C, H/2, W/2).
            masks: Shape (B, O, H, W), values in [0, 1]; None is treated as an empty mask.

        Returns:
            Maps with B*O rows, B rows without masks.
        """
        if masks is not None:
            first = self.first_convolution
            rows = masks.flatten(0, 1).unsqueeze(1)
            of_mask = F.conv2d(rows, first.weight[:, _IMAGE_CHANNELS:], None, first.stride, first.padding)
            stem = add_per_object(stem, of_mask)
        if isinstance(self.conv1, nn.Sequential):  # backbones whose stem is three convolutions
            stem = self.conv1[1:](stem)
        stride2 = F.relu(self.extra_bn(self.extra_conv(self.act1(self.bn1(stem)))))
        stride4 = self.layer1(self.maxpool(stride2))
        stride8 = self.layer2(stride4)
        stride16 = self.layer3(stride8)
        stride32 = self.layer4(stride16)
        reduced = F.relu(self.reduce_bn(self.reduce_conv(stride32)))
        return EncoderFeatures(stride2, stride4, stride8, stride16, stride32, reduced)

    def load_imagenet(self, state: dict[str, Tensor]) -> None:
        """Start from ImageNet weights in torchvision's names.

        The mask channel, the extra stem layer and the reduction keep their initialisation; so does a last stage that
        the file lacks, which is logged.

        Args:
            state: Tensors of an ImageNet ResNet; float16 is accepted.

        Raises:
            ConfigError: If a parameter has no counterpart of the same shape.
        """
        own = self.state_dict()
        complete = dict(state)
        complete |= {key: tensor for key, tensor in own.items() if key.startswith(_ADDED)}
        last_stage = [key for key in own if key.startswith("layer4.")]
        if any(key not in state or state[key].shape != own[key].shape for key in last_stage if own[key].ndim):
            _LOGGER.warning("The ImageNet weights have no fitting last stage; it starts from its initialisation.")
            complete |= {key: own[key] for key in last_stage}
        name = "conv1.0.weight" if isinstance(self.conv1, nn.Sequential) else "conv1.weight"
        stem = state.get(name)
        if self.takes_mask and stem is not None and stem.shape[1] == _IMAGE_CHANNELS:
            complete[name] = torch.cat([stem.to(own[name]), own[name][:, _IMAGE_CHANNELS:]], dim=1)
        super().load_imagenet(complete)


def initialise_by_fan_out(convolution: nn.Conv2d) -> None:
    """Draw weights from N(0, 2 / (k² C_out)) and clear the bias, as the released code does."""
    with torch.no_grad():
        _normal_by_fan_out(convolution.weight)
        if convolution.bias is not None:
            convolution.bias.zero_()


def _normal_by_fan_out(weight: Tensor) -> None:
    nn.init.normal_(weight, std=math.sqrt(2.0 / (weight.shape[0] * weight.shape[2] * weight.shape[3])))


def _stride32_stage(config: HS2SConfig, in_channels: int) -> tuple[nn.Module, int]:
    """Return the last stage and its channels."""
    width = config.stride32_width
    if width is not None:
        shortcut = nn.Sequential(nn.Conv2d(in_channels, width, 1, stride=2, bias=False), nn.BatchNorm2d(width))
        return nn.Sequential(BasicBlock(in_channels, width, stride=2, downsample=shortcut)), width
    model = timm.create_model(config.backbone, pretrained=False, num_classes=0)
    if not hasattr(model, "layer4"):
        raise ConfigError(f"Backbone {config.backbone!r} has no stage at stride 32. Set stride32_width to add one.")
    return model.layer4, int(model.feature_info[4]["num_chs"])
