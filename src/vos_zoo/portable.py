"""Contract 3: what a network gives to run as fixed graphs, without Python between its operations.

A memory of Python objects cannot be part of a graph. A portable network names arrays that hold the same, the *state*,
and gives its verbs as functions of tensors. What no graph can do, counting frames and keeping objects apart, is left to
the session that runs them: :mod:`vos_zoo.runtime` is one that needs no torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from torch import nn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from vos_zoo.network import MemoryPolicy, VOSNetwork

    Tensors = Mapping[str, Tensor]

MemoryKind = Literal["recurrent", "frames"]


class StateArray(NamedTuple):
    """One array of the state of a group of objects.

    Attributes:
        name: How verbs call it.
        shape: Numbers, and the words ``objects``, ``frames``, and ``height/16`` or ``width/16`` with any divisor of the
            stride, which stand for sizes that are known when a video is.
    """

    name: str
    shape: tuple[int | str, ...]


class Segmented(NamedTuple):
    """What the verb ``segment`` gives.

    Attributes:
        logits: One mask logit per object, shape (1, O, H, W).
        carried: What ``memorize`` takes of it on the same frame, by name.
    """

    logits: Tensor
    carried: dict[str, Tensor]


class PortableVerbs(nn.Module, ABC):
    """A network's verbs as functions of tensors, for one group of objects and one frame at a time.

    ``memorize`` of a ``recurrent`` memory maps a state to the next one; zeros are the state of objects that were never
    memorised. ``memorize`` of a memory of ``frames`` gives one frame's arrays, without the axis ``frames``; the session
    keeps those of several frames, the axis ``frames`` first, within the policy's bound.

    Args:
        network: A network in evaluation mode.
        policy: What a session will keep, and how often; None means the network's default policy.

    Raises:
        ConfigError: If the network cannot run as fixed graphs as it is configured. The message says why.
    """

    kind: ClassVar[MemoryKind]
    #: Features that ``segment`` takes, among those of ``encode``.
    segment_takes: ClassVar[tuple[str, ...]]
    #: Features that ``memorize`` takes, among those of ``encode`` and two that the session gives: ``image``, the frame
    #: itself, and ``claimed``, the largest of all masks that a user annotated on this frame, shape (1, 1, H, W).
    memorize_takes: ClassVar[tuple[str, ...]]
    #: What ``segment`` leaves for ``memorize``, which then comes after it on every frame but the first.
    carries: ClassVar[tuple[str, ...]] = ()
    #: Whether an object that is corrected leaves the objects that it shared a state with.
    splits_on_correction: ClassVar[bool] = False

    def __init__(self, network: VOSNetwork[Any, Any], policy: MemoryPolicy | None = None) -> None:
        super().__init__()
        self.network = network
        self.policy = policy or network.default_policy()

    @property
    @abstractmethod
    def state(self) -> tuple[StateArray, ...]:
        """The arrays of a state."""

    def encode(self, image: Tensor) -> dict[str, Tensor]:
        """Compute what ``segment`` and ``memorize`` take of a frame.

        Args:
            image: As for ``VOSNetwork.encode``, of one frame.
        """
        features = self.network.encode(image)._asdict()
        taken = {*self.segment_takes, *self.memorize_takes}
        return {name: feature for name, feature in features.items() if name in taken and name != "image"}

    @abstractmethod
    def segment(self, features: Tensors, state: Tensors) -> Segmented:
        """Segment the current frame.

        Args:
            features: Those of ``segment_takes``.
            state: One tensor for each array.
        """

    @abstractmethod
    def memorize(
        self, features: Tensors, masks: Tensor, others: Tensor, reference: Tensor, state: Tensors
    ) -> dict[str, Tensor]:
        """Memorise the current frame.

        Args:
            features: Those of ``memorize_takes``, and what ``segment`` left.
            masks: Aggregated probabilities of the group's objects, shape (1, O, H, W).
            others: For each of them the sum over all other objects of the video, shape (1, O, H, W).
            reference: One for objects that a user annotated on this frame, zero for others, shape (O,).
            state: The state before; nothing if the memory is one of frames.

        Returns:
            The state after, or the arrays of this frame.
        """
