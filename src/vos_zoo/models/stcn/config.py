"""Hyper-parameters of STCN."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from vos_zoo.configs import check_choices

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True)
class STCNConfig:
    """Architecture and inference policy; the defaults are the paper's.

    ``r50()`` is the paper's network, ``small()`` the bundled one, ``tiny()`` exists for tests.
    """

    #: timm ResNet of the key encoder (NeurIPS paper, Section 3.1)
    backbone: str = "resnet50"
    #: timm ResNet of the value encoder (NeurIPS paper, Section 3.1)
    value_backbone: str = "resnet18"
    #: residual blocks kept per stage of the value encoder; None keeps all
    value_blocks: tuple[int, int, int] | None = None
    #: the released value encoder has a bias in every convolution although a batch normalisation follows
    value_conv_bias: bool = True
    #: channels of keys (paper, Section 3.1)
    key_dim: int = 64
    #: channels of values and of the query frame's compressed feature (paper, Section 3.1)
    value_dim: int = 512
    #: channels of the decoder at strides 16, 8 and 4 (released network)
    decoder_dims: tuple[int, int, int] = (512, 256, 256)
    #: negative squared L2 distance, or dot product (paper, Section 3.2)
    similarity: Literal["l2", "dot"] = "l2"
    #: attention in the fusion block; the released README reports the network with and without it
    cbam: bool = True
    #: memory positions that share the weight at inference; None means all (released script: 20)
    top_k: int | None = 20
    #: frames between memorised frames (paper, Section 4; 3 on DAVIS 2017 test-dev)
    mem_every: int = 5
    #: most memory frames in a session; longer than any DAVIS or YouTube-VOS clip needs, so that results there are the
    #: paper's while memory stays bounded on longer videos
    max_memory_frames: int | None = 64

    def __post_init__(self) -> None:
        check_choices(self)

    @classmethod
    def r50(cls) -> Self:
        """Return the paper's network."""
        return cls()

    @classmethod
    def small(cls) -> Self:
        """Return the bundled size: ResNet-18 keys, a value encoder of half its depth, narrow values and decoder."""
        return cls(
            backbone="resnet18",
            value_blocks=(1, 1, 1),
            value_conv_bias=False,
            value_dim=128,
            decoder_dims=(128, 96, 64),
        )

    @classmethod
    def tiny(cls) -> Self:
        """Return a network for tests and examples."""
        return cls(
            backbone="test_resnet",
            value_backbone="test_resnet",
            key_dim=8,
            value_dim=16,
            decoder_dims=(16, 16, 8),
            max_memory_frames=4,
        )
