"""Hyper-parameters of STM."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class STMConfig:
    """Architecture and inference policy; the defaults are the paper's.

    ``r50()`` is the paper's network, ``small()`` a ResNet-18 one, ``tiny()`` exists for tests.
    """

    #: timm ResNet of both encoders (paper, Section 3.1)
    backbone: str = "resnet50"
    #: channels of keys, an eighth of the stride-16 feature (paper, Section 3.1)
    key_dim: int = 128
    #: channels of values, half of the stride-16 feature (paper, Section 3.1)
    value_dim: int = 512
    #: channels of the decoder (paper, Section 3.3)
    decoder_dim: int = 256
    #: memory positions that share the weight at inference; the paper uses all
    top_k: int | None = None
    #: frames between kept memory frames (paper, Section 3.4)
    mem_every: int = 5
    #: most memory frames in a session; longer than any DAVIS or YouTube-VOS clip needs
    max_memory_frames: int | None = 64

    @classmethod
    def r50(cls) -> STMConfig:
        """Return the paper's network."""
        return cls()

    @classmethod
    def small(cls) -> STMConfig:
        """Return a network of at most ten million parameters on ResNet-18."""
        return cls(backbone="resnet18", key_dim=64, value_dim=128, decoder_dim=96)

    @classmethod
    def tiny(cls) -> STMConfig:
        """Return a network for tests and examples."""
        return cls(backbone="test_resnet", key_dim=8, value_dim=16, decoder_dim=16, max_memory_frames=4)
