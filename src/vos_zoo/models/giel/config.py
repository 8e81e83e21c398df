"""Hyper-parameters of GIEL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vos_zoo.configs import check_choices
from vos_zoo.errors import ConfigError
from vos_zoo.memory.tokens import Similarity


@dataclass(frozen=True)
class GIELConfig:
    """Architecture and support set; the defaults are the paper's full variant.

    Where the paper is silent, the comment gives the reason of our choice. ``r50()`` is the paper's full network,
    ``r50_fast()`` its fast one, ``small()`` the bundled size, ``tiny()`` exists for tests.

    Raises:
        ConfigError: If fields contradict each other.
    """

    #: timm ResNet of both encoders (paper, Section 4.1: ResNet-50; keys of C/8 and values of C/2 fix stride 16)
    backbone: str = "resnet50"
    #: channels of keys, an eighth of the stride-16 feature (paper, Equation 3)
    key_dim: int = 128
    #: channels of values, half of the stride-16 feature (paper, Equation 3)
    value_dim: int = 512
    #: side of the kernels that make keys and values (paper, Equation 3: 1); STM and STCN have 3
    kv_kernel: int = 1
    #: how keys are compared (paper, Equation 4: dot product); ``l2`` is STCN's, which learns in fewer steps
    similarity: Similarity = "dot"
    #: ``fast`` enlarges coarse instance maps (paper, Equation 11), ``full`` decodes them (Equation 12)
    variant: Literal["fast", "full"] = "full"
    #: channels of the decoder (STM)
    decoder_dim: int = 256
    #: layers and width of the coarse instance head; the paper says "small" and 1x1 only
    coarse_layers: int = 2
    coarse_dim: int = 256
    #: channels between the two convolutions of the label encoder; the paper gives none
    label_dim: int = 64
    #: function on the label encoder's output before it multiplies the value; the paper names none
    label_gate: Literal["identity", "sigmoid", "relu"] = "identity"
    #: one projection to keys and values for both encoders; Equation 3 writes one, but the encoders' channels do not
    #: correspond and STM has two
    share_kv: bool = False
    #: one decoder for both branches; Equations 6 and 12 use one symbol, but each branch must also work alone
    share_decoder: bool = False
    #: whether the full variant is multiplied by the global map too; the text says that the decoder replaces only the
    #: enlargement of Equation 11, although Equation 12 shows the decoder alone
    full_uses_global: bool = True
    #: label encoder and instance branch (paper, Table 1); without it every object goes through the global branch alone
    instance_embedding: bool = True
    #: global branch (paper, Table 1)
    global_embedding: bool = True
    #: weights of support frames (paper, Figure 3 and Table 1)
    temporal_attention: bool = True
    #: how those weights are normalised over support frames
    ta_norm: Literal["softmax", "sigmoid"] = "softmax"
    #: added to similarities in log space, so that equal weights change nothing, whatever their number; ``mul``
    #: multiplies similarities, which changes the softmax's temperature with the number of frames
    ta_mode: Literal["log", "mul"] = "log"
    #: which processed frames support the next one (paper, Section 3.4 and Table 1)
    support: Literal["sampled", "first", "previous"] = "sampled"
    #: support frames at most (paper, Section 4.1: 5 in testing)
    support_size: int = 5
    #: whether a sampled set always holds the previous frame; first and previous alone come close to five (Table 1)
    keep_previous: bool = True
    #: class-agnostic mask that the support encoder sees on predicted frames: the global map or the objects' union; the
    #: paper takes "the mask from the global embedding"
    memory_mask: Literal["global", "union"] = "global"
    #: objects that are gated and decoded at once, and most in a training clip (paper, Section 4.1)
    max_objects: int = 6
    #: epsilon of the encoders' frozen normalisations: 0 in the paper's sizes, whose encoders start from Mask R-CNN's
    #: weights, which were made with 0; those for ImageNet were made with 1e-5
    batch_norm_eps: float = 1e-5
    #: most processed frames kept as candidates; any of them may become a midpoint, so exact sampling needs all (None).
    #: With 32 the frame nearest to the midpoint is taken instead on longer videos, and memory stays bounded
    max_memory_frames: int | None = 32
    #: short side at which sessions show frames to the network; ``small`` was trained on small crops, and is better at
    #: their scale
    working_size: int = 480

    def __post_init__(self) -> None:
        """Check choices, and the fields that depend on each other."""
        check_choices(self)
        for name in ("support_size", "coarse_layers", "max_objects", "working_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}. Expected at least 1.")
        if self.support == "sampled" and self.support_size < 2:
            raise ConfigError(
                "support_size is 1 with support='sampled'. Expected at least 2, the first and the previous frame; use "
                "support='first' or 'previous' for one frame."
            )
        if not self.global_embedding and (self.variant == "fast" or not self.instance_embedding):
            raise ConfigError(
                "Without the global embedding only the full variant with instance embedding is left: the fast one "
                "needs global maps. Set variant='full' and instance_embedding=true."
            )
        if not self.instance_embedding and self.variant == "fast":
            raise ConfigError("Without the instance embedding there is nothing to speed up. Set variant='full'.")

    @classmethod
    def r50(cls) -> GIELConfig:
        """Return the paper's full network."""
        return cls(batch_norm_eps=0.0)

    @classmethod
    def r50_fast(cls) -> GIELConfig:
        """Return the paper's fast network."""
        return cls(variant="fast", batch_norm_eps=0.0)

    @classmethod
    def small(cls) -> GIELConfig:
        """Return the bundled size, on ResNet-18, with STCN's keys: those of dot products took too long to learn."""
        return cls(
            backbone="resnet18",
            key_dim=64,
            value_dim=128,
            kv_kernel=3,
            similarity="l2",
            decoder_dim=64,
            coarse_dim=64,
            label_dim=32,
            working_size=320,
        )

    @classmethod
    def tiny(cls) -> GIELConfig:
        """Return a network for tests and examples."""
        return cls(
            backbone="test_resnet",
            key_dim=8,
            value_dim=16,
            decoder_dim=16,
            coarse_dim=16,
            label_dim=8,
            support_size=3,
            max_memory_frames=5,
        )
