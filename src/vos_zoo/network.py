"""Contract 1: what every paper's network and its memory look like from outside."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, NoReturn, Protocol, TypeVar

from torch import nn

from vos_zoo.attempt import restored_on_failure
from vos_zoo.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from torch import Tensor

#: Mean and standard deviation of RGB in 0-1 over ImageNet, with which every network's images are normalised.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class MemoryPolicy:
    """What a clip's memory keeps, how much and how often.

    Args:
        every: Frames between two memorised frames, counted from the last reference frame.
        max_frames: Most frames that one group of objects keeps; None lets the memory grow with the clip. Reference
            frames and the latest frame always stay, the others are thinned out evenly.
        max_bytes: Budget for the whole memory in bytes; it lowers ``max_frames`` as objects join.
        keep_latest: Also keep the previous frame, replaced on every frame.

    Papers that keep something else extend it.

    Raises:
        ConfigError: If a number is not positive.
    """

    every: int = 5
    max_frames: int | None = None
    max_bytes: int | None = None
    keep_latest: bool = False

    def __post_init__(self) -> None:
        for name in ("every", "max_frames", "max_bytes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"Memory policy has {name}={value}. Expected a positive number; raise it.")
        if self.max_frames is not None and self.max_frames < 2:
            raise ConfigError(
                "Memory policy has max_frames=1. A reference frame and the latest frame need 2; raise it."
            )


class RestorableBank(Protocol):
    """A part of a memory that writes in place."""

    def attempt(self) -> AbstractContextManager[None]:
        """Put everything back if what happens inside raises."""


class ClipMemory(ABC):
    """State of one clip, made by ``VOSNetwork.new_memory`` and understood by that network alone.

    The memory has a clock: ``tick`` counts frames since the last kept frame, ``is_due`` says whether the current frame
    has to be memorised. Counting restarts at every reference frame, which equals counting absolute frame
    indices when the only annotation is frame 0.
    """

    def __init__(self, policy: MemoryPolicy) -> None:
        self.policy = policy
        self.clock = 0
        self.frames_since_kept = 0

    def tick(self) -> None:
        """Move on to the next frame.

        The loop that unrolls a clip calls it once for each frame, before that frame is segmented; nobody else does.
        """
        self.clock += 1
        self.frames_since_kept += 1

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Put everything back if what happens inside fails, so that a frame counts once however often it is tried."""
        with ExitStack() as stack:
            stack.enter_context(restored_on_failure(self))
            for bank in self._banks():
                stack.enter_context(bank.attempt())
            yield

    def _banks(self) -> Iterable[RestorableBank]:
        """Return the parts that restore themselves; all others are replaced when they change, never written to."""
        return ()

    @property
    def is_due(self) -> bool:
        """Whether the policy wants the current frame memorised."""
        return self.policy.keep_latest or self.frames_since_kept >= self.policy.every

    @property
    @abstractmethod
    def num_objects(self) -> int:
        """Objects known so far, one plane each."""

    @property
    @abstractmethod
    def num_frames(self) -> int:
        """Most frames any object has in memory."""

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Bytes that the memory holds on its device."""

    @abstractmethod
    def remove_objects(self, planes: Iterable[int]) -> None:
        """Forget objects; the remaining planes close up in order."""


@dataclass(frozen=True)
class MemoryCost:
    """Bytes that a clip will take in float32, known before the first frame.

    Args:
        bytes_per_frame: Bytes of one memorised frame with all its objects.
        max_frames: Memorised frames at most; None if the memory grows with the clip.
        working_bytes: Activations while one frame is processed, an estimate.
    """

    bytes_per_frame: int
    max_frames: int | None
    working_bytes: int

    @property
    def max_bytes(self) -> int | None:
        """Bytes at most; None if the memory grows with the clip."""
        return None if self.max_frames is None else self.bytes_per_frame * self.max_frames


@dataclass(frozen=True)
class Prediction:
    """What a network computed for one frame: its logits, and in subclasses what else it can use or show.

    Args:
        logits: One mask logit per object before aggregation, shape (B, O, H, W).
    """

    logits: Tensor


class View(NamedTuple):
    """Something that a network shows beside the masks of the frame segmented last.

    Attributes:
        map: Numbers of 0-1 at any resolution of the padded frame, shape (B, h, w).
        means: Means over the frame that are worth a curve over time, by what they are called.
    """

    map: Tensor
    means: dict[str, float]


class OpenSideInput(Protocol):
    """Opens what a user gives beside a video's frames and masks."""

    def __call__(self, path: str | Path, frames: Sequence[str], *, needed: Sequence[str], size: Any) -> Any:
        """Open it for one session.

        Args:
            path: What the user gave: a file or a folder.
            frames: Names of the frames that the session sees, from the first annotated one on. The sequence grows as
                the session goes.
            needed: Names of frames that must be in it; looked for now.
            size: Working size of the session: a short side, (height, width), or None.

        Raises:
            MissingFileError: If it does not exist, or has nothing for a needed frame.
            DataError: If it is damaged.
        """
        ...


class SideInput(NamedTuple):
    """Something that a network takes beside a video's frames and masks.

    Attributes:
        about: What it is, in a few words for a message.
        open: Opens it from the disk; the result goes to ``VOSNetwork.with_side_inputs``.
    """

    about: str
    open: OpenSideInput


FeaturesT = TypeVar("FeaturesT")
MemoryT = TypeVar("MemoryT", bound=ClipMemory)


class VOSNetwork(nn.Module, ABC, Generic[FeaturesT, MemoryT]):
    """A stateless network with four verbs; what belongs to one video lives in the memory it made.

    ``B`` clips run side by side in training, one in a session. ``O`` counts object planes without background.
    """

    #: Frames are padded to multiples of this.
    stride: ClassVar[int] = 16
    #: Size at which a session shows frames to the network, unless it is told another: the short side in pixels that
    #: larger frames are scaled to, or the (height, width) that all frames are scaled to, turned for upright videos.
    working_size: int | tuple[int, int] = 480
    #: Methods by the part of the network that they make up, as the paper times it; none calls another one of them.
    timed_parts: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType({})
    #: Methods and modules, by their names from here, whose results depend on nothing but what they are given: numbers,
    #: strings, and tensors by their values and sizes. A session may record what they launch and replay it. None of them
    #: reads or changes a memory, and none waits for a device, for a number of a tensor for example.
    replayable: ClassVar[tuple[str, ...]] = ("encode",)
    #: Whether zeros are padded before the image is normalised, or after it.
    pads_before_normalisation: ClassVar[bool] = False
    #: Whether the masks of a memorised frame are zero in its padding, or keep what was predicted there.
    pads_masks_with_zeros: ClassVar[bool] = False
    #: What it takes beside frames and masks, by name.
    side_inputs: ClassVar[Mapping[str, SideInput]] = MappingProxyType({})

    @property
    def views(self) -> Mapping[str, str]:
        """What this network can show beside masks: name -> what it is, in a few words."""
        return {}

    def watch(self, name: str, memory: MemoryT) -> None:
        """Compute also what costs extra for a view, from the next frame on.

        Args:
            name: One of ``views``.
            memory: The clip's memory.
        """

    def view(self, name: str, prediction: Prediction) -> View:
        """Return a view of a frame.

        Args:
            name: One of ``views``.
            prediction: What ``predict`` gave for the frame.
        """
        raise NotImplementedError

    def with_side_inputs(self, policy: MemoryPolicy, side_inputs: Mapping[str, Any]) -> MemoryPolicy:
        """Return a policy whose memories use opened side inputs.

        Args:
            policy: What is kept.
            side_inputs: What was opened, by its name among ``side_inputs``.
        """
        return policy

    @abstractmethod
    def default_policy(self) -> MemoryPolicy:
        """The paper's memory policy, bounded so that a session's memory cannot grow without end."""

    @abstractmethod
    def memory_cost(self, policy: MemoryPolicy, size: tuple[int, int], objects: int) -> MemoryCost:
        """Estimate the memory of a clip with padded frames of ``size`` = (H, W) pixels and ``objects`` objects."""

    @abstractmethod
    def encode(self, image: Tensor) -> FeaturesT:
        """Compute a frame's features, once for all objects.

        Args:
            image: ImageNet-normalised RGB, shape (B, 3, H, W), H and W multiples of ``stride``.
        """

    @abstractmethod
    def new_memory(self, policy: MemoryPolicy | None = None) -> MemoryT:
        """Make an empty memory for one clip; None means ``default_policy()``."""

    @abstractmethod
    def segment(self, features: FeaturesT, memory: MemoryT) -> Tensor:
        """Segment the current frame.

        Nothing else changes: the memory stays as it is, and a second call gives the same.

        Returns:
            One mask logit per object before aggregation, shape (B, O, H, W).

        Raises:
            EmptyMemoryError: If no frame has been memorised.
        """

    def predict(self, features: FeaturesT, memory: MemoryT) -> Prediction:
        """Segment the current frame, and return with its logits what ``memorize`` and ``view`` can use.

        As pure as ``segment``. Networks that compute more than logits override it, and let ``segment`` call it.

        Raises:
            EmptyMemoryError: If no frame has been memorised.
        """
        return Prediction(self.segment(features, memory))

    @abstractmethod
    def memorize(
        self,
        features: FeaturesT,
        probabilities: Tensor,
        memory: MemoryT,
        *,
        reference: bool | Sequence[int] = False,
        prediction: Prediction | None = None,
    ) -> None:
        """Add a frame to the memory.

        Args:
            features: What ``encode`` gave for this frame.
            probabilities: Aggregated object probabilities in [0, 1] without background, shape (B, O, H, W). Planes
                beyond the memory's objects are new objects.
            memory: The clip's memory.
            reference: Whether a user annotated this frame: True for all objects, or the planes that were annotated.
                New objects have to be among them.
            prediction: What ``predict`` gave for this frame. It saves time and changes nothing: a network that needs
                it and is not given it predicts the frame itself.
        """

    def forward(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse to be called: one frame alone has no masks to follow.

        Raises:
            UsageError: Always; the message says what to call.
        """
        raise UsageError(not_called(self))


def not_called(model: nn.Module) -> str:
    """Say what to do instead of calling a model like a function."""
    return (
        f"A {type(model).__name__} is not called like a function, because masks are followed from frame to frame. Use "
        "`segment_video(video, masks, out=folder)` for files, or a session for frames: "
        "`session = VideoSession(model)`, then `session.step(frame, mask).mask`."
    )


def reference_planes(reference: bool | Sequence[int], objects: int) -> frozenset[int]:
    """Return the annotated planes among ``objects`` planes."""
    if isinstance(reference, bool):
        return frozenset(range(objects)) if reference else frozenset()
    return frozenset(reference)
