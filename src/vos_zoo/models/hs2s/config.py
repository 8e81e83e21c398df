"""Hyper-parameters of HS2S and of the networks of its ablation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vos_zoo.configs import check_choices
from vos_zoo.errors import ConfigError

References = Literal["none", "first", "previous", "both"]


@dataclass(frozen=True)
class HS2SConfig:
    """Architecture and inference choices; the defaults are those of the paper's HS2S as its weights were released.

    ``r50()`` is the paper's network, also called ``hs2s()``. The other rows of the paper's Table 5 are ``s2s_star()``,
    ``hs2s_0()``, ``hs2s_prev()`` and ``hs2s_sim()``. ``small()`` is the bundled size, ``tiny()`` exists for tests.

    Raises:
        ConfigError: If choices contradict each other or a size is not positive.
    """

    #: timm ResNet of both encoders (paper, Section 4.1)
    backbone: str = "resnet50"
    #: residual blocks kept in the backbone's stages at strides 4, 8 and 16; None keeps all
    blocks: tuple[int, int, int] | None = None
    #: channels of one basic block in place of the backbone's stage at stride 32; None keeps the backbone's stage
    stride32_width: int | None = None
    #: channels of reduced features and of both recurrent states (released network; the paper names only the reduction)
    state_width: int = 1024
    #: kernel of the recurrent cell on the stride-16 skip (released network; the paper does not say)
    skip_kernel: int = 5
    #: frames that the current one is matched with (paper, Equations 6, 7 and 10, Table 5)
    references: References = "both"
    #: whether the current frame's encoder also sees the previous mask (paper, Equation 8)
    mask_input: bool = True
    #: recurrent states start from zeros, or from two heads on the encoded first frame (paper, Equations 5 and 1)
    initial_state: Literal["zeros", "first_frame"] = "zeros"
    #: global convolution, or cosine attention (``hs2s_sim`` in Table 5)
    matching: Literal["global_convolution", "cosine"] = "global_convolution"
    #: inner channels of global convolutions and of cosine keys (released network)
    matching_width: int = 256
    #: side of the kernels that make keys and values of references for cosine attention (1 where the paper says nothing)
    matching_kernel: int = 1
    #: recurrence and matching on the stride-16 skip. On also in ``s2s_star``: Table 5 adds one part after another, and
    #: the text calls the skip memory part of the baseline
    skip_rnn: bool = True
    #: predict the mask from border classes (released network); off is the paper's one 1x1 convolution
    border_head: bool = True
    #: pixels from an object's outline up to which border classes tell distances apart (released code)
    border_width: int = 20
    #: distances that share a border class, in pixels; 1 gives the released 42 classes
    border_bin: int = 1
    #: channels after the decoder's 5x5 convolutions, coarse to fine (released network)
    decoder_dims: tuple[int, int, int, int, int] = (512, 256, 128, 64, 64)
    #: what is fed back: the object's own probability (released code), or the one after aggregation with other objects
    feedback: Literal["own", "aggregated"] = "own"
    #: how objects compete: softly, as all models of the zoo; ``argmax`` is the released rule, in which the most
    #: probable object takes the pixel if it is above one half
    merge: Literal["soft", "argmax"] = "soft"
    #: a user's correction starts the object again, so that its first reference is the corrected frame; ``continue``
    #: keeps first reference and states (the paper has no corrections)
    correction: Literal["restart", "continue"] = "restart"

    def __post_init__(self) -> None:
        check_choices(self)
        kernels = (self.skip_kernel, self.matching_kernel)
        sizes = (self.state_width, *kernels, self.matching_width, self.border_width, self.border_bin)
        if min(*sizes, *self.decoder_dims) < 1:
            raise ConfigError("HS2SConfig has a size below 1. Expected positive widths, kernels and pixels; raise it.")
        if any(kernel % 2 == 0 for kernel in kernels) or self.state_width % 2:
            raise ConfigError(
                f"HS2SConfig has skip_kernel={self.skip_kernel}, matching_kernel={self.matching_kernel} and "
                f"state_width={self.state_width}. Expected odd kernels and an even width."
            )
        if self.references == "none" and self.initial_state == "zeros" and not self.mask_input:
            raise ConfigError(
                "HS2SConfig lets the network see no mask at all. Set mask_input=True, initial_state='first_frame' or "
                "references to first, previous or both."
            )

    @property
    def border_classes(self) -> int:
        """Number of border classes, 2 (R // b) + 2."""
        return 2 * (self.border_width // self.border_bin) + 2

    @classmethod
    def r50(cls) -> HS2SConfig:
        """Return the paper's network."""
        return cls()

    @classmethod
    def hs2s(cls) -> HS2SConfig:
        """Return the paper's network under its own name."""
        return cls()

    @classmethod
    def hs2s_0(cls) -> HS2SConfig:
        """Return HS2S_0 of Table 5: matching with the first frame alone."""
        return cls(references="first")

    @classmethod
    def hs2s_prev(cls) -> HS2SConfig:
        """Return HS2S_{t-1} of Table 5: matching with the previous frame alone."""
        return cls(references="previous")

    @classmethod
    def hs2s_sim(cls) -> HS2SConfig:
        """Return HS2S_sim of Table 5: cosine attention in place of global convolution."""
        return cls(matching="cosine")

    @classmethod
    def s2s_star(cls) -> HS2SConfig:
        """Return S2S* of Table 5: the recurrent baseline with ResNet-50, without matching and without mask feedback."""
        return cls(references="none", mask_input=False, initial_state="first_frame")

    @classmethod
    def s2s_plain(cls) -> HS2SConfig:
        """Return the other reading of S2S*: S2S with only its backbone exchanged."""
        return cls(references="none", mask_input=False, initial_state="first_frame", skip_rnn=False, border_head=False)

    @classmethod
    def small(cls) -> HS2SConfig:
        """Return the bundled size: ResNet-18 encoders, narrow states and decoder, matched as in ``hs2s_sim``.

        Cosine attention can start from the keys of a trained network, global convolution from nothing. Objects that
        compete in what is fed back run into each other less, which matters more after a short training.
        """
        return cls(
            backbone="resnet18",
            stride32_width=256,
            state_width=128,
            skip_kernel=3,
            matching="cosine",
            matching_width=64,
            matching_kernel=3,
            border_bin=4,
            decoder_dims=(96, 64, 48, 24, 16),
            feedback="aggregated",
        )

    @classmethod
    def tiny(cls) -> HS2SConfig:
        """Return a network for tests and examples."""
        return cls(
            backbone="test_resnet",
            stride32_width=32,
            state_width=16,
            skip_kernel=3,
            matching_width=8,
            border_width=4,
            decoder_dims=(16, 16, 8, 8, 8),
        )
