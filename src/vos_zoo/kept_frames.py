"""Which frames a bounded memory keeps, and where: bookkeeping without tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Placement", "StoredFrame", "least_missed", "place_frame"]


@dataclass(frozen=True)
class StoredFrame:
    """What a memory knows about one of its frames.

    Attributes:
        frame: Time index in the video.
        is_reference: Annotated by the user, hence kept before all others.
        is_temporary: Gives way to the next write.
    """

    frame: int
    is_reference: bool = False
    is_temporary: bool = False


@dataclass(frozen=True)
class Placement:
    """Where a new frame goes.

    Attributes:
        slot: Its slot, which may be the next one after the last; None if it is not stored.
        stored: What to note about it.
        released: Slots that are empty afterwards.
    """

    slot: int | None
    stored: StoredFrame
    released: tuple[int, ...]


def place_frame(
    slots: Sequence[StoredFrame | None],
    frame: int,
    *,
    reference: bool = False,
    temporary: bool = False,
    max_frames: int | None = None,
) -> Placement:
    """Find a slot for a new frame; temporary frames and an older version of the same frame give way to it.

    Args:
        slots: What is held; None for empty slots.
        frame: Time index of the new frame.
        reference: Whether the user annotated it. A frame once annotated stays so.
        temporary: Whether the next frame replaces it.
        max_frames: Most frames held at once; None for no bound.

    Example:
        >>> place_frame([StoredFrame(0, is_reference=True), StoredFrame(5)], 10, max_frames=2).slot
        1
    """
    same = next((index for index, old in enumerate(slots) if old is not None and old.frame == frame), None)
    if same is not None:
        reference = reference or any(old.is_reference for old in slots if old is not None and old.frame == frame)
    released = tuple(index for index, old in enumerate(slots) if old is not None and old.is_temporary and index != same)
    new = StoredFrame(frame, reference, temporary and not reference)
    if same is not None:
        return Placement(same, new, released)
    remaining = [None if index in released else old for index, old in enumerate(slots)]
    return Placement(_slot_for(remaining, new, max_frames), new, released)


def _slot_for(slots: list[StoredFrame | None], new: StoredFrame, max_frames: int | None) -> int | None:
    if None in slots:
        return slots.index(None)
    if max_frames is None or len(slots) < max_frames:
        return len(slots)
    victim = least_missed([stored for stored in slots if stored is not None], new)
    return None if victim is new else slots.index(victim)


def least_missed(frames: Sequence[StoredFrame], newest: StoredFrame) -> StoredFrame:
    """Choose which of these frames to drop.

    The candidate with the smallest distance between its neighbours in time goes, the oldest of equals: repeated, this
    keeps the gaps as even as one removal at a time can. Annotated frames stay for as long as others are left.

    Args:
        frames: Frames held, none of them the newest.
        newest: The frame to come, which goes itself if all others are annotated and it is not.
    """
    candidates = [stored for stored in frames if not stored.is_reference]
    if not candidates and not newest.is_reference:
        return newest
    in_time = sorted([*frames, newest], key=lambda stored: stored.frame)
    if not candidates:
        # Annotated frames alone: the first stays for as long as there is another one to drop.
        candidates = [stored for stored in frames if stored is not in_time[0]] or list(frames)

    def gap(stored: StoredFrame) -> int:
        position = in_time.index(stored)
        before = stored.frame - in_time[position - 1].frame if position else None
        after = in_time[position + 1].frame - stored.frame if position + 1 < len(in_time) else None
        # At an end of the time line the one neighbour counts for both.
        return (before if before is not None else after or 0) + (after if after is not None else before or 0)

    return min(candidates, key=lambda stored: (gap(stored), stored.frame))
