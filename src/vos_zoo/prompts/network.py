"""A small network that turns prompts on an image into the mask of one object; it sees a crop around the prompts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vos_zoo.errors import ConfigError
from vos_zoo.layers.blocks import upsample
from vos_zoo.layers.resnet import BasicBlock, ResNetTrunk

from .maps import CHANNELS

__all__ = ["PromptConfig", "PromptNetwork"]


@dataclass(frozen=True)
class PromptConfig:
    """Hyper-parameters of :class:`PromptNetwork`; all are choices of this project.

    Attributes:
        backbone: ResNet of the trunk, see :class:`vos_zoo.layers.ResNetTrunk`.
        widths: Channels of the decoder at strides 16, 8 and 4.
        context_blocks: Residual blocks at stride 32, which see most of the crop.
        crop_size: Long side of the crop that the network sees, in pixels.

    Raises:
        ConfigError: If a number is out of range.
    """

    backbone: str = "resnet18"
    widths: tuple[int, int, int] = (128, 96, 64)
    context_blocks: int = 2
    crop_size: int = 192

    def __post_init__(self) -> None:
        if min(self.widths) < 1 or self.context_blocks < 1:
            raise ConfigError(
                f"A prompt network has widths {self.widths} and {self.context_blocks} context blocks. Expected numbers "
                "of at least 1."
            )
        if self.crop_size < PromptNetwork.stride or self.crop_size % PromptNetwork.stride:
            raise ConfigError(
                f"crop_size is {self.crop_size}. Expected a multiple of {PromptNetwork.stride} pixels, such as 192."
            )

    @classmethod
    def small(cls) -> PromptConfig:
        """Return the bundled size."""
        return cls()

    @classmethod
    def tiny(cls) -> PromptConfig:
        """Return a size for tests and examples."""
        return cls(backbone="test_resnet", widths=(16, 16, 16), context_blocks=1, crop_size=64)


class PromptNetwork(nn.Module):
    """A ResNet over image and prompts, and a decoder with skips down to stride 4.

    The prompts enter where the image does, by a convolution of their own beside the ResNet's first one (as masks do
    in STM), and once more before the last step, so that a click is not lost on the way.

    Args:
        config: Hyper-parameters.
    """

    #: Height and width of crops are multiples of it.
    stride = 32

    def __init__(self, config: PromptConfig) -> None:
        super().__init__()
        self.config = config
        self.trunk = ResNetTrunk(config.backbone)
        channels4, channels8, channels16 = self.trunk.channels
        self.prompt_stem = nn.Conv2d(len(CHANNELS), self.trunk.stem_channels, 7, stride=2, padding=3, bias=False)
        self.context = nn.Sequential(
            *(BasicBlock(channels16, channels16, 1 if number else 2) for number in range(config.context_blocks))
        )
        wide, middle, narrow = config.widths
        self.merge16 = _Merge(channels16, channels16, wide)
        self.merge8 = _Merge(wide, channels8, middle)
        self.merge4 = _Merge(middle, channels4 + len(CHANNELS), narrow)
        self.predict = nn.Conv2d(narrow, 1, 1)

    def forward(self, image: Tensor, maps: Tensor) -> Tensor:
        """Return the logit of the object at every pixel.

        Args:
            image: ImageNet-normalised RGB, shape (B, 3, H, W), H and W multiples of 32.
            maps: What :func:`vos_zoo.prompts.maps.draw_maps` draws, in [0, 1], shape (B, 4, H, W).

        Returns:
            Logits, shape (B, 1, H, W).
        """
        features = self.trunk(image, stem_offset=self.prompt_stem(maps))
        merged = self.merge16(self.context(features.stride16), features.stride16)
        merged = self.merge8(merged, features.stride8)
        merged = self.merge4(merged, torch.cat([features.stride4, F.avg_pool2d(maps, 4)], dim=1))
        return upsample(self.predict(merged), 4)


class _Merge(nn.Module):
    """Bring coarse features to twice their size, add finer ones, and mix both."""

    def __init__(self, coarse_channels: int, fine_channels: int, channels: int) -> None:
        super().__init__()
        self.coarse = nn.Conv2d(coarse_channels, channels, 1, bias=False)
        self.fine = nn.Conv2d(fine_channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.mix = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
        )

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        # Channels are reduced before enlarging, a quarter of the work.
        mixed: Tensor = self.mix(F.relu(self.norm(upsample(self.coarse(coarse), 2) + self.fine(fine))))
        return mixed
