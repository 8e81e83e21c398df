"""What a user gives of a video's objects, whatever it comes in: files named like frames, or masks in memory."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from vos_zoo.errors import MaskError, UsageError
from vos_zoo.media.arrays import is_mask, to_mask
from vos_zoo.media.frame_names import FrameNames, some_names
from vos_zoo.media.mask_notes import warn_of_void_rims
from vos_zoo.media.mask_values import RIM_VALUE, VOID, VoidChoice, check_void, has_void_rims
from vos_zoo.media.masks import MaskFolder, read_mask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vos_zoo.media.mask_decoding import Mask

__all__ = ["GivenMasks", "MaskSource", "MasksInMemory", "mask_with_void", "open_given_masks"]

_logger = logging.getLogger(__name__)

MaskSource = Any
"""A path; one mask as :func:`vos_zoo.media.arrays.to_mask` takes it, which belongs to the first frame; or a mapping
from frames (their number in the whole video, or their name) to such masks or their paths."""


class GivenMasks(Protocol):
    """The masks that a user gives of one video, each under the name of its frame.

    Masks hold object ids, and ``VOID`` where they have no opinion. They have not been compared with their frames' size
    yet; :class:`vos_zoo.media.annotations.Annotations` does that for every source.
    """

    @property
    def frames(self) -> tuple[str, ...]:
        """Names of the frames that have a mask, at least one, in the order of the frames."""

    @property
    def absences(self) -> Mapping[str, frozenset[int]]:
        """Objects that are declared absent from a frame, by its name; that ends no track."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """Files and folders that are read, which results must not replace; empty for masks in memory."""

    def get(self, frame_name: str) -> Mask | None:
        """Return the mask of a frame, shape (H, W); None if it has none.

        Raises:
            MaskError: If what is there is no mask.
        """

    def source(self, frame_name: str) -> str:
        """Say what messages call the mask of a frame that has one, such as "Mask `masks/00000.png`"."""


class MasksInMemory:
    """Masks that a program hands over.

    Args:
        masks: One mask, which belongs to the first frame, or a mapping from frames to masks; see :data:`MaskSource`.
        frame_names: Names of the frames to segment, in their order.
        all_names: Names of all frames of the video, where only some of them are segmented; None means ``frame_names``.
            Numbers of frames count in these.
        void: The value of pixels without an opinion.

    Raises:
        MaskError: If there is no mask, one belongs to no frame to segment, or two belong to one frame.
        UsageError: If a frame is neither a number nor a name.
    """

    def __init__(
        self,
        masks: MaskSource,
        frame_names: Sequence[str],
        *,
        all_names: Sequence[str] | None = None,
        void: VoidChoice = "auto",
    ) -> None:
        check_void(void)
        self._void: VoidChoice = void
        all_names = frame_names if all_names is None else all_names
        by_frame = masks if isinstance(masks, Mapping) else {frame_names[0]: masks}
        if not by_frame:
            raise MaskError("No mask was given. Give at least one, such as {0: mask} for the first frame.")
        names, matched = FrameNames(all_names), dict[str, Any]()
        for key, mask in by_frame.items():
            name = names.find_key(key, "A mask")
            if name in matched:
                raise MaskError(f"Frame {name} has two masks, one of them given for {key!r}. Give one for each frame.")
            matched[name] = mask
        self._masks = {name: matched[name] for name in frame_names if name in matched}
        left_out = [name for name in matched if name not in self._masks]
        if not self._masks:
            raise MaskError(
                f"The masks belong to frames that are not segmented: {some_names(left_out)}. The frames to segment are "
                f"{some_names(frame_names)}; start at a frame with a mask, or segment all."
            )
        if left_out:
            _logger.warning("%d masks belong to frames that are left out: %s.", len(left_out), some_names(left_out))

    @property
    def frames(self) -> tuple[str, ...]:
        """Names of the frames that have a mask, in the order of the frames."""
        return tuple(self._masks)

    @property
    def absences(self) -> Mapping[str, frozenset[int]]:
        """None: the argument ``absent`` of :func:`vos_zoo.segment_frames` names them."""
        return {}

    @property
    def paths(self) -> tuple[Path, ...]:
        """Mask files among the given masks."""
        return tuple(Path(mask) for mask in self._masks.values() if isinstance(mask, (str, os.PathLike)))

    def get(self, frame_name: str) -> Mask | None:
        """Return the ids of a frame's mask; None if it has none.

        Args:
            frame_name: The name of a frame.

        Raises:
            MaskError: If it is not a mask.
        """
        mask = self._masks.get(frame_name)
        if mask is None:
            return None
        if isinstance(mask, (str, os.PathLike)):
            return read_mask(Path(mask), void=self._void, void_as=VOID)
        return mask_with_void(mask, self.source(frame_name), self._void)

    def source(self, frame_name: str) -> str:
        """Say what messages call the mask of a frame.

        Args:
            frame_name: The name of a frame that has one.
        """
        mask = self._masks[frame_name]
        return f"Mask `{mask}`" if isinstance(mask, (str, os.PathLike)) else f"The mask of frame {frame_name}"


def mask_with_void(mask: Any, name: str, void: VoidChoice) -> Mask:
    """Turn what was handed over as the mask of one frame into ids, with ``VOID`` where it has no opinion.

    Args:
        mask: See :func:`vos_zoo.media.arrays.to_mask`.
        name: What messages call it.
        void: The value of pixels without an opinion.

    Raises:
        MaskError: If it is not a mask.
    """
    ids = to_mask(mask, name, void=void)
    if void == "auto":
        void = RIM_VALUE if has_void_rims(ids) else None
        if void is not None:
            warn_of_void_rims(name)
    if void is None or not (ids == void).any():
        return ids
    return np.where(ids == void, VOID, ids.astype(np.int32))


def open_given_masks(
    masks: MaskSource,
    frame_names: Sequence[str],
    *,
    all_names: Sequence[str] | None = None,
    void: VoidChoice = "auto",
    first_number: int | None = None,
) -> GivenMasks:
    """Open images of ids, or masks in memory; ``vos_zoo.interchange.opening`` also opens files of other tools.

    Args:
        masks: See :data:`MaskSource`.
        frame_names: Names of the frames to segment, in their order.
        all_names: Names of all frames of the video; None means ``frame_names``.
        void: The value of pixels without an opinion, see :func:`vos_zoo.read_mask`.
        first_number: The number by which files call the first frame of the video; None detects it.

    Raises:
        MissingFileError: If a path leads to nothing.
        MaskError: If there is no mask, or one belongs to no frame.
        UsageError: If ``masks`` is nothing of this.
    """
    if isinstance(masks, (str, os.PathLike)):
        return MaskFolder(
            Path(masks), frame_names, all_names=all_names, void=void, void_as=VOID, first_number=first_number
        )
    if isinstance(masks, Mapping) or is_mask(masks):
        return MasksInMemory(masks, frame_names, all_names=all_names, void=void)
    raise UsageError(
        f"masks is {'None' if masks is None else 'a ' + type(masks).__name__}. Expected a path; a mask of the first "
        "frame as array, tensor or image; or masks by frame, such as {0: mask, 40: other_mask}."
    )
