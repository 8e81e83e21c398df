"""GIEL's memory: processed frames, from which a few are chosen to support the next one."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch

from vos_zoo.errors import EmptyMemoryError, MemoryBudgetError, ShapeError
from vos_zoo.network import ClipMemory

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor

    from vos_zoo.network import MemoryPolicy

_LOGGER = logging.getLogger(__name__)
_LEAST_FRAMES = 2  # the first and the previous one


@dataclass(frozen=True)
class SupportFrame:
    """One processed frame.

    ``G`` is 1: keys and values do not depend on the object. Without instance embedding (ablation) every object has its
    own, ``G`` equals ``O`` and there is nothing gated.

    Args:
        frame: Time index.
        keys: Shape (B, G, hw, Ck).
        values: Shape (B, G, hw, Cv).
        gated: Values times each object's gates, shape (B, O, hw, Cv); None without instance embedding.
        background: Background probability, shape (B, 1, H, W); the gates of objects that join later need it.
        is_reference: Whether a user annotated an object on it.
        is_temporary: Whether the next frame takes its place.
        has_object: For each object, whether keys and values know it; always so with ``gated``.
    """

    frame: int
    keys: Tensor
    values: Tensor
    gated: Tensor | None
    background: Tensor | None
    is_reference: bool
    is_temporary: bool
    has_object: list[bool]

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        parts = (self.keys, self.values, self.gated, self.background)
        return sum(part.numel() * part.element_size() for part in parts if part is not None)

    def select_objects(self, planes: list[int]) -> SupportFrame:
        """Return the frame with these objects only."""
        has_object = [self.has_object[plane] for plane in planes]
        if self.gated is not None:
            return replace(self, gated=self.gated[:, planes], has_object=has_object)
        return replace(self, keys=self.keys[:, planes], values=self.values[:, planes], has_object=has_object)


def choose_support(
    times: Sequence[int], references: Sequence[bool], size: int, *, keep_previous: bool = True
) -> list[int]:
    """Choose the frames that support the next one.

    All frames while there are at most ``size``. Then the first, the previous one, all annotated ones, and for the
    remaining places the middles of equal segments between first and previous (or the frames nearest to them, if not all
    frames were kept). Annotated frames are never left out, so that they may exceed ``size``.

    Args:
        times: Time indices of the processed frames, rising; the first is the first annotated one.
        references: Which of them were annotated.
        size: Support frames wanted, at least 2.
        keep_previous: Whether the last of ``times`` is always chosen.

    Returns:
        Positions in ``times``, rising.

    Source: GIEL, Section 3.4; segments as in temporal segment networks, Wang et al., ECCV 2016.

    Example:
        >>> choose_support(range(20), [True] + [False] * 19, 5)
        [0, 4, 10, 16, 19]
    """
    if len(times) <= size:
        return list(range(len(times)))
    chosen = {0, *(position for position, is_reference in enumerate(references) if is_reference)}
    if keep_previous:
        chosen.add(len(times) - 1)
    room = size - len(chosen)
    span = times[-1] - times[0] - keep_previous
    for index in range(room):
        middle = times[0] + 1 + (2 * index + 1) * span // (2 * room)
        free = [position for position in range(len(times)) if position not in chosen]
        chosen.add(min(free, key=lambda position: (abs(times[position] - middle), position)))
    return sorted(chosen)


class GIELMemory(ClipMemory):
    """Processed frames of one clip.

    When the policy bounds their number, the frame goes whose removal leaves the most even gaps in time; the first and
    the newest frame stay, and annotated ones for as long as others are left.

    Args:
        policy: What is kept.
        support: Which frames support the next one.
        support_size: How many at most.
        keep_previous: Whether the previous frame is always among them.
        trained_objects: Most objects that training clips had.
        differentiable: Whether the graph is kept, as in training.

    Attributes:
        frames: Rising in time.
        present: In training, which planes hold an object, shape (B, O); None means all.
    """

    def __init__(
        self,
        policy: MemoryPolicy,
        *,
        support: Literal["sampled", "first", "previous"],
        support_size: int,
        keep_previous: bool,
        trained_objects: int,
        differentiable: bool,
    ) -> None:
        super().__init__(policy)
        self.frames: list[SupportFrame] = []
        self.present: Tensor | None = None
        self.differentiable = differentiable
        self._support = support
        self._support_size = support_size
        self._keep_previous = keep_previous
        self._trained_objects = trained_objects
        self._objects = 0

    @property
    def is_due(self) -> bool:
        """Whether the current frame has to be memorised; never when annotated frames alone support the others."""
        return self._support != "first" and super().is_due

    @property
    def num_objects(self) -> int:
        """Objects known so far."""
        return self._objects

    @property
    def num_frames(self) -> int:
        """Processed frames kept."""
        return len(self.frames)

    @property
    def nbytes(self) -> int:
        """Bytes of all kept frames."""
        return sum(frame.nbytes for frame in self.frames)

    def remove_objects(self, planes: Iterable[int]) -> None:
        """Forget objects; the remaining planes close up in order.

        Keys and values do not depend on the object, so they still saw the removed ones as foreground. With the last
        object everything goes.
        """
        gone = set(planes)
        kept = [plane for plane in range(self._objects) if plane not in gone]
        self._objects = len(kept)
        if not kept:
            self.frames = []
        self.frames = [frame.select_objects(kept) for frame in self.frames]

    def support_frames(self) -> list[SupportFrame]:
        """Return the frames that support the current one.

        Raises:
            EmptyMemoryError: If nothing has been memorised.
        """
        if not self.frames:
            raise EmptyMemoryError(
                "The memory is empty. Memorise a reference frame with its masks before segmenting another frame."
            )
        if self._support != "sampled":
            return self.frames
        times, references = ([getattr(f, name) for f in self.frames] for name in ("frame", "is_reference"))
        chosen = choose_support(times, references, self._support_size, keep_previous=self._keep_previous)
        return [self.frames[position] for position in chosen]

    def check_planes(self, objects: int, reference: frozenset[int]) -> range:
        """Return the new planes of a frame with ``objects`` planes.

        Raises:
            ShapeError: If planes are missing, or a new plane is not annotated.
        """
        newcomers = range(self._objects, objects)
        if objects < max(self._objects, 1):
            raise ShapeError(
                f"Memorising {objects} object planes, but the memory knows {self._objects}. Give one plane per known "
                "object; remove objects with remove_objects."
            )
        if not reference.issuperset(newcomers):
            raise ShapeError(
                f"Planes {list(newcomers)} are new, but only {sorted(reference)} are annotated on this frame."
            )
        return newcomers

    def write(self, new: SupportFrame, extended: Sequence[SupportFrame]) -> None:
        """Memorise a frame.

        Args:
            new: The frame, at the current time.
            extended: The frames kept so far, each with as many objects as the new one.

        Raises:
            MemoryBudgetError: If the byte budget cannot hold two frames.
        """
        cap = self._cap(new.nbytes)
        objects = len(new.has_object)
        if objects > self._trained_objects >= self._objects:
            _LOGGER.warning(
                "%d objects; GIEL's training clips have at most %d. All are segmented.", objects, self._trained_objects
            )
        self._objects = objects
        is_temporary = self.policy.keep_latest and not new.is_reference and self.frames_since_kept < self.policy.every
        same = [frame for frame in extended if frame.frame == new.frame]
        is_reference = new.is_reference or any(frame.is_reference for frame in same)
        new = replace(new, is_reference=is_reference, is_temporary=is_temporary)
        self.frames = [frame for frame in extended if frame.frame != new.frame and not frame.is_temporary]
        if self._support == "previous":
            self.frames = []
        if self._support != "first" or new.is_reference or not self.frames:
            self.frames.append(new)
        while cap is not None and len(self.frames) > cap:
            del self.frames[self._least_missed()]
        if not new.is_temporary:
            self.frames_since_kept = 0

    def _cap(self, frame_bytes: int) -> int | None:
        if self.policy.max_bytes is None:
            return self.policy.max_frames
        affordable = self.policy.max_bytes // frame_bytes
        if affordable < _LEAST_FRAMES and self._support != "previous":
            raise MemoryBudgetError(
                f"The memory budget is {self.policy.max_bytes / 2**20:.3g} MiB, but one frame of these objects takes "
                f"{frame_bytes / 2**20:.3g} MiB and {_LEAST_FRAMES} frames are the least. Raise the budget, lower the "
                "working size, or segment fewer objects at a time."
            )
        return affordable if self.policy.max_frames is None else min(affordable, self.policy.max_frames)

    def _least_missed(self) -> int:
        """Return the position between first and newest whose removal leaves the most even gaps."""
        inner = range(1, len(self.frames) - 1)
        candidates = [position for position in inner if not self.frames[position].is_reference] or list(inner)
        return min(candidates, key=lambda at: (self.frames[at + 1].frame - self.frames[at - 1].frame, at))


def stack_tokens(frames: Sequence[SupportFrame], planes: slice, *, with_shared: bool) -> Tensor:
    """Lay values out for a read: (B, T*hw, D), the shared values first if asked for, then those of some objects."""
    rows = []
    for frame in frames:
        assert frame.gated is not None
        parts = [frame.values] if with_shared else []
        parts.append(frame.gated[:, planes])
        rows.append(torch.cat(parts, dim=1).transpose(1, 2).flatten(2))
    return torch.cat(rows, dim=1)
