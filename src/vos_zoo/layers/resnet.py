"""ResNet trunks up to stride 16, built by timm."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import timm
import torch
from torch import Tensor, nn

from vos_zoo.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_STAGES = 3  # the matching papers stop at stride 16


class TrunkFeatures(NamedTuple):
    """Features of one frame at strides 4, 8 and 16, each (B, C, H/stride, W/stride)."""

    stride4: Tensor
    stride8: Tensor
    stride16: Tensor


class ResNetTrunk(nn.Module):
    """The stem and the first three stages of a timm ResNet, under torchvision's parameter names.

    Args:
        name: A timm ResNet, such as ``resnet50``, ``resnet18`` or ``test_resnet``.
        in_channels: Input channels of the stem.
        blocks: Residual blocks kept in each of the three stages; None keeps all.
        conv_bias: Whether every convolution has a bias (the released value encoders of STCN and RDE-VOS do, although a
            batch normalisation follows).

    Raises:
        ConfigError: If timm does not know the name, or the network is no ResNet.
    """

    def __init__(
        self, name: str, *, in_channels: int = 3, blocks: Sequence[int] | None = None, conv_bias: bool = False
    ) -> None:
        super().__init__()
        if not timm.is_model(name):
            near = ", ".join(timm.list_models(f"*{name[:6]}*")[:5]) or "resnet18, resnet50"
            raise ConfigError(f"Backbone {name!r} is not known to timm. Expected a ResNet such as {near}.")
        model = timm.create_model(name, pretrained=False, in_chans=in_channels, num_classes=0)
        if not all(hasattr(model, part) for part in ("conv1", "bn1", "maxpool", "layer1", "layer2", "layer3")):
            raise ConfigError(f"Backbone {name!r} has no ResNet stages. Choose a ResNet such as resnet18 or resnet50.")
        self.name = name
        #: Normalisations that follow more than their convolution, so that inference must not fold them into it.
        self.unfolded: tuple[str, ...] = ()
        self.conv1 = model.conv1
        self.bn1 = model.bn1
        self.act1 = model.act1
        self.maxpool = model.maxpool
        stages = [model.layer1, model.layer2, model.layer3]
        if blocks is not None:
            stages = [stage[:count] for stage, count in zip(stages, blocks, strict=True)]
        self.layer1, self.layer2, self.layer3 = stages
        if conv_bias:
            _add_biases(self)
        channels = [info["num_chs"] for info in model.feature_info[1 : 1 + _STAGES]]
        self.stem_channels = int(model.bn1.num_features)
        self.channels: tuple[int, int, int] = (channels[0], channels[1], channels[2])

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
            elif source is not None and key == "conv1.weight" and source.shape[1] < tensor.shape[1]:
                extra = torch.empty_like(tensor[:, source.shape[1] :])
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


def _is_convolution(trunk: nn.Module, key: str) -> bool:
    return isinstance(trunk.get_submodule(key.rpartition(".")[0]), nn.Conv2d)


def _add_biases(module: nn.Module) -> None:
    for part in module.modules():
        if isinstance(part, nn.Conv2d) and part.bias is None:
            part.bias = nn.Parameter(torch.zeros(part.out_channels))
