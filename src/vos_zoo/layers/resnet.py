"""ResNet trunks up to stride 16.

The five plain ResNets are built here, so that a session need not load timm, which takes longer than torch itself. Every
other ResNet comes from timm. A test compares both, tensor for tensor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from vos_zoo.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_STEMS = ("conv1.weight", "conv1.0.weight")  # one convolution, or the first of three
_STAGES = 3  # the matching papers stop at stride 16
_STEM_CHANNELS = 64


class TrunkFeatures(NamedTuple):
    """Features of one frame at strides 4, 8 and 16, each (B, C, H/stride, W/stride)."""

    stride4: Tensor
    stride8: Tensor
    stride16: Tensor


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut (He et al., CVPR 2016, Figure 5, left).

    Args:
        in_channels: Channels of the input.
        channels: Channels of the output.
        stride: Of the first convolution and of the shortcut.
    """

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.act1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.act2 = nn.ReLU(inplace=True)
        self.downsample = _shortcut(in_channels, channels, stride)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, channels, H/stride, W/stride)."""
        inner = self.bn2(self.conv2(self.act1(self.bn1(self.conv1(features)))))
        inner += features if self.downsample is None else self.downsample(features)
        result: Tensor = self.act2(inner)
        return result


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions around a shortcut (He et al., CVPR 2016, Figure 5, right); the 3x3 has the stride.

    Args:
        in_channels: Channels of the input.
        channels: Channels of the 3x3 convolution; the output has four times as many.
        stride: Of the 3x3 convolution and of the shortcut.
    """

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.act1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.act2 = nn.ReLU(inplace=True)
        self.conv3 = nn.Conv2d(channels, 4 * channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * channels)
        self.act3 = nn.ReLU(inplace=True)
        self.downsample = _shortcut(in_channels, 4 * channels, stride)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, 4 * channels, H/stride, W/stride)."""
        inner = self.act1(self.bn1(self.conv1(features)))
        inner = self.bn3(self.conv3(self.act2(self.bn2(self.conv2(inner)))))
        inner += features if self.downsample is None else self.downsample(features)
        result: Tensor = self.act3(inner)
        return result


#: Block and blocks per stage (He et al., CVPR 2016, Table 1).
_PLAIN: dict[str, tuple[type[BasicBlock | Bottleneck], tuple[int, int, int]]] = {
    "resnet18": (BasicBlock, (2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6)),
    "resnet50": (Bottleneck, (3, 4, 6)),
    "resnet101": (Bottleneck, (3, 4, 23)),
    "resnet152": (Bottleneck, (3, 8, 36)),
}


class ResNetTrunk(nn.Module):
    """The stem and the first three stages of a ResNet, under torchvision's parameter names.

    Args:
        name: ``resnet18``, ``resnet34``, ``resnet50``, ``resnet101``, ``resnet152``, or another ResNet of timm such as
            ``test_resnet``.
        in_channels: Input channels of the stem.
        blocks: Residual blocks kept in each of the three stages; None keeps all.
        conv_bias: Whether every convolution has a bias (the released value encoders of STCN and RDE-VOS do, although a
            batch normalisation follows).

    Raises:
        ConfigError: If timm does not know the name, or the network is not a ResNet.
    """

    def __init__(
        self, name: str, *, in_channels: int = 3, blocks: Sequence[int] | None = None, conv_bias: bool = False
    ) -> None:
        super().__init__()
        self.name = name
        #: Normalisations that follow more than their convolution, so that inference must not fold them into it.
        self.unfolded: tuple[str, ...] = ()
        self.conv1: nn.Conv2d
        self.bn1: nn.BatchNorm2d
        self.act1: nn.Module
        self.maxpool: nn.Module
        self.layer1: nn.Sequential
        self.layer2: nn.Sequential
        self.layer3: nn.Sequential
        if name in _PLAIN:
            self.channels = self._build_plain(name, in_channels)
        else:
            self.channels = self._take_from_timm(name, in_channels)
        if blocks is not None:
            for number, count in enumerate(blocks, 1):
                setattr(self, f"layer{number}", getattr(self, f"layer{number}")[:count])
        if conv_bias:
            _add_biases(self)
        self.stem_channels = int(self.bn1.num_features)

    def _build_plain(self, name: str, in_channels: int) -> tuple[int, int, int]:
        """Build a ResNet and initialise it as timm and torchvision do; returns the channels of its three stages."""
        block, counts = _PLAIN[name]
        self.conv1 = nn.Conv2d(in_channels, _STEM_CHANNELS, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(_STEM_CHANNELS)
        self.act1 = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        width, channels = _STEM_CHANNELS, []
        for number, count in enumerate(counts, 1):
            inner = _STEM_CHANNELS * 2 ** (number - 1)
            stage = [block(width, inner, 1 if number == 1 else 2)]
            width = inner * block.expansion
            stage += [block(width, inner, 1) for _ in range(count - 1)]
            setattr(self, f"layer{number}", nn.Sequential(*stage))
            channels.append(width)
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(part, (BasicBlock, Bottleneck)):
                # Every block begins as its shortcut (Goyal et al., 2017, Section 5.1).
                nn.init.zeros_(part.bn2.weight if isinstance(part, BasicBlock) else part.bn3.weight)
        return (channels[0], channels[1], channels[2])

    def _take_from_timm(self, name: str, in_channels: int) -> tuple[int, int, int]:
        """Take the parts of a ResNet of timm; returns the channels of its three stages."""
        import timm

        if not timm.is_model(name):
            near = ", ".join(timm.list_models(f"*{name[:6]}*")[:5]) or "resnet18, resnet50"
            raise ConfigError(f"Backbone {name!r} is not known to timm. Expected a ResNet such as {near}.")
        model = timm.create_model(name, pretrained=False, in_chans=in_channels, num_classes=0)
        if not all(hasattr(model, part) for part in ("conv1", "bn1", "maxpool", "layer1", "layer2", "layer3")):
            raise ConfigError(f"Backbone {name!r} has no ResNet stages. Choose a ResNet such as resnet18 or resnet50.")
        for part in ("conv1", "bn1", "act1", "maxpool", "layer1", "layer2", "layer3"):
            setattr(self, part, getattr(model, part))
        channels = [int(info["num_chs"]) for info in model.feature_info[1 : 1 + _STAGES]]
        return (channels[0], channels[1], channels[2])

    def forward(self, image: Tensor, stem_offset: Tensor | None = None) -> TrunkFeatures:
        """Compute features of (B, in_channels, H, W), H and W multiples of 16.

        ``stem_offset`` is added to the first convolution's output (STM's mask stems).
        """
        stem = self.conv1(image)
        if stem_offset is not None:
            stem = stem + stem_offset
        stem = self.maxpool(self.act1(self.bn1(stem)))
        stride4 = self.layer1(stem)
        stride8 = self.layer2(stride4)
        return TrunkFeatures(stride4, stride8, self.layer3(stride8))

    def backbone_parameters(self) -> Iterator[nn.Parameter]:
        """Yield the parameters of the ResNet itself, without parts that a subclass adds."""
        for part in (self.conv1, self.bn1, self.layer1, self.layer2, self.layer3):
            yield from part.parameters()

    def load_imagenet(self, state: dict[str, Tensor]) -> None:
        """Start from ImageNet weights in torchvision's names (``conv1.weight`` … ``layer3.*``).

        Blocks that this trunk does not have are skipped. Input channels beyond RGB keep an orthogonal
        initialisation over the extra channels, as the papers' training code does. Biases stay zero.

        Args:
            state: Tensors of an ImageNet ResNet; float16 is accepted.

        Raises:
            ConfigError: If a parameter of this trunk has no counterpart of the same shape.
        """
        own = self.state_dict()
        loaded: dict[str, Tensor] = {}
        for key, tensor in own.items():
            if key.endswith("num_batches_tracked"):
                continue
            source = state.get(key)
            if source is None and key.endswith(".bias") and _is_convolution(self, key):
                loaded[key] = torch.zeros_like(tensor)
            elif source is not None and key in _STEMS and source.shape[1] < tensor.shape[1]:
                # Not like the weight: orthogonalisation does not know the channels-last layout.
                extra = torch.empty(tensor[:, source.shape[1] :].shape, dtype=tensor.dtype, device=tensor.device)
                nn.init.orthogonal_(extra)
                loaded[key] = torch.cat([source.to(tensor), extra], dim=1)
            elif source is None or source.shape != tensor.shape:
                found = "nothing" if source is None else str(tuple(source.shape))
                raise ConfigError(
                    f"Backbone weights do not fit: {key} has shape {tuple(tensor.shape)}, the file holds {found}. "
                    "Use ImageNet weights of the same ResNet."
                )
            else:
                loaded[key] = source.to(tensor)
        self.load_state_dict(loaded, strict=False)


def _shortcut(in_channels: int, channels: int, stride: int) -> nn.Sequential | None:
    """Return a projection where the shape changes (option B), else None."""
    if stride == 1 and in_channels == channels:
        return None
    return nn.Sequential(nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))


def _is_convolution(trunk: nn.Module, key: str) -> bool:
    return isinstance(trunk.get_submodule(key.rpartition(".")[0]), nn.Conv2d)


def _add_biases(module: nn.Module) -> None:
    for part in module.modules():
        if isinstance(part, nn.Conv2d) and part.bias is None:
            part.bias = nn.Parameter(torch.zeros(part.out_channels))
