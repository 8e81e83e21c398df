"""Hyper-parameters of TSN."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vos_zoo.configs import check_choices
from vos_zoo.errors import ConfigError
from vos_zoo.models.stcn.config import STCNConfig


@dataclass(frozen=True)
class TSNConfig(STCNConfig):
    """STCN's sizes, which are the pixel stream, plus the instance stream and the pixel division.

    The defaults are the paper's; where it is silent, the comment gives the reason of our choice. ``r50()`` and
    ``swin_b()`` are the paper's networks, ``small()`` the bundled size, ``tiny()`` exists for tests.

    Raises:
        ConfigError: If fields contradict each other.
    """

    #: timm ResNet, or timm Swin (paper, Section 4.1: ResNet-50 and Swin-B)
    backbone: str = "resnet50"
    #: unlike the released STCN; a bias before a frozen batch normalisation does nothing that its mean could not do
    value_conv_bias: bool = False
    #: which streams exist (paper, Table 5); ``pixel`` is STCN
    streams: Literal["both", "pixel", "instance"] = "both"
    #: how the streams are fused (paper, Equation 6 and Table 5); ``equal`` weighs both one half
    fusion: Literal["routing", "equal"] = "routing"
    #: distance that the routing map sees: the paper's formula reads as one number or as one per key channel; the
    #: latter contains the former as the case of equal weights, which it starts from
    routing_input: Literal["channel", "norm"] = "channel"
    #: initial weight and bias of the routing layer: 12 % instance stream where the memory matches exactly, since the
    #: instance stream alone is much weaker (Table 5)
    routing_init: tuple[float, float] = (0.02, -2.0)
    #: one head per memory frame, or one from all frames together (paper, Table 3)
    head_memory: Literal["per_frame", "pooled"] = "per_frame"
    #: kernel predictor, or global average pooling of the value (paper, Table 3)
    predictor: Literal["attention", "gap"] = "attention"
    #: generated convolutions, or a generated channel weight; the paper's text on Table 3 speaks of the latter, the
    #: table of a depth of 1, so both exist
    head_op: Literal["dynamic_conv", "reweight"] = "dynamic_conv"
    #: generated 1x1 convolutions per head (paper, Section 3.2)
    head_depth: int = 3
    #: channels of the generated convolutions and of the reduced frame feature (paper, Section 3.2)
    head_channels: int = 8
    #: channels that a head gives; the paper calls them an embedding and gives all three layers 8 channels
    head_out_channels: int = 8
    #: position that heads see beside the frame feature: relative to the object, absolute sines, none (paper, Table 4)
    position: Literal["relative", "sine", "none"] = "relative"
    #: unit of relative positions: ``coord_scale`` pixels, so that generated weights mean the same at every resolution,
    #: or the image's width and height
    coord_norm: Literal["const", "image"] = "const"
    #: pixels; the side of a training patch, so that positions lie in [-1, 1] in training
    coord_scale: float = 432.0
    #: least area in pixels of a predicted mask that gives a head; the paper only says that absent objects give none
    min_head_area: int = 16
    #: attention layers of the kernel predictor (paper, Section 3.2)
    pred_layers: int = 3
    #: attention heads and hidden width in multiples of the channels, as in the transformer that the paper cites
    pred_heads: int = 8
    pred_ffn_factor: int = 4
    #: self-attention of the one query token is a fixed linear map, so it is left out
    pred_self_attention: bool = False
    #: dropout noise would multiply into the generated weights
    pred_dropout: float = 0.0
    #: position code added to the keys of the predictor; the paper names none
    pred_position: Literal["none", "sine"] = "none"
    #: memory positions that share the weight in training; None means all, as STCN trains, although inference reads the
    #: ``top_k`` best
    train_top_k: int | None = None
    #: rate at which Swin leaves residual branches out; not in the paper, a mild value for fine-tuning
    drop_path: float = 0.1

    def __post_init__(self) -> None:
        """Check choices, and the fields that depend on each other."""
        check_choices(self)
        if self.head_depth < 1 or self.head_channels < 1 or self.head_out_channels < 1:
            raise ConfigError(
                f"TSN heads have depth {self.head_depth}, {self.head_channels} channels and {self.head_out_channels} "
                "outputs. Expected at least 1 of each."
            )
        if self.predictor == "attention" and (
            min(self.pred_layers, self.pred_heads, self.pred_ffn_factor) < 1 or self.value_dim % self.pred_heads
        ):
            raise ConfigError(
                f"TSN's kernel predictor has {self.pred_layers} layers with {self.pred_heads} heads on "
                f"{self.value_dim} channels and {self.pred_ffn_factor} times as many hidden ones. Expected at least "
                "one of each, and channels that the heads divide."
            )
        needs_four = self.position == "sine" and self.head_op == "dynamic_conv"
        if (needs_four and self.head_channels % 4) or (self.pred_position == "sine" and self.value_dim % 4):
            raise ConfigError("Sine positions need a multiple of 4 channels. Change the channels or the position code.")
        if self.predictor == "gap" and self.pred_position != "none":
            raise ConfigError("pred_position belongs to predictor 'attention'. Set it to 'none' with predictor 'gap'.")
        if self.coord_scale <= 0:
            raise ConfigError(f"coord_scale is {self.coord_scale}. Expected a positive number of pixels, such as 432.")

    @property
    def has_pixel_stream(self) -> bool:
        """Whether values are read from memory by similarity."""
        return self.streams != "instance"

    @property
    def has_instance_stream(self) -> bool:
        """Whether memory frames give segmentation heads."""
        return self.streams != "pixel"

    @property
    def has_routing(self) -> bool:
        """Whether a routing map is computed."""
        return self.streams == "both" and self.fusion == "routing"

    @classmethod
    def r50(cls) -> TSNConfig:
        """Return the paper's network on ResNet-50."""
        return cls()

    @classmethod
    def swin_b(cls) -> TSNConfig:
        """Return the paper's network on Swin-B."""
        return cls(backbone="swin_base_patch4_window7_224")

    @classmethod
    def small(cls) -> TSNConfig:
        """Return the bundled size, whose pixel stream is STCN's small network."""
        return cls(
            backbone="resnet18",
            value_blocks=(1, 1, 1),
            value_dim=128,
            decoder_dims=(128, 96, 64),
        )

    @classmethod
    def tiny(cls) -> TSNConfig:
        """Return a network for tests and examples."""
        return cls(
            backbone="test_resnet",
            value_backbone="test_resnet",
            value_conv_bias=True,  # as STCN's
            key_dim=8,
            value_dim=16,
            decoder_dims=(16, 16, 8),
            pred_layers=2,
            pred_heads=2,
            max_memory_frames=4,
            min_head_area=4,
        )
