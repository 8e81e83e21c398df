"""What users hand to a session: frames and masks, checked before any work."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from vos_zoo.errors import MaskError, VideoError
from vos_zoo.inference.sizes import FrameSizes
from vos_zoo.media.arrays import check_color, to_frame, to_mask
from vos_zoo.media.mask_notes import warn_of_palette_greys, warn_of_void_rims
from vos_zoo.media.mask_values import RIM_VALUE, check_void, has_void_rims

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from numpy.typing import NDArray

    from vos_zoo.inference.objects import ObjectIds
    from vos_zoo.inference.sizes import WorkingSize
    from vos_zoo.media.arrays import ColorOrder
    from vos_zoo.media.mask_values import VoidChoice

__all__ = ["Given", "SessionInputs"]

_LARGEST_ID = 2**31 - 1  # the largest type of masks is int32
_logger = logging.getLogger(__name__)

SizesT = TypeVar("SizesT", bound=FrameSizes)


@dataclass(frozen=True)
class Given(Generic[SizesT]):
    """One frame as it was given.

    Args:
        frame: RGB, uint8 (H, W, 3).
        mask: Object ids (H, W); None if the frame was not annotated and no object said to be absent.
        annotated: Ids in the mask, and ids said to be absent.
        is_open: Where the mask has no opinion, (H, W); None means nowhere.
        sizes: Of the video.
    """

    frame: NDArray[np.uint8]
    mask: NDArray[Any] | None
    annotated: list[int]
    is_open: NDArray[np.bool_] | None
    sizes: SizesT


class SessionInputs(Generic[SizesT]):
    """Checks the frames and masks of one video.

    Args:
        fit: Gives the sizes of a video with frames of (height, width).
        working_size: Gives the size that frames of (height, width) are scaled to.
        color: Order of the frames' colours: "rgb" or "bgr".
        void: Value of pixels without an opinion in given masks, "auto", or None.

    Raises:
        ConfigError: If an argument is out of range.
    """

    def __init__(
        self,
        fit: Callable[[tuple[int, int]], SizesT],
        working_size: Callable[[tuple[int, int]], WorkingSize],
        *,
        color: ColorOrder,
        void: VoidChoice,
    ) -> None:
        check_color(color)
        check_void(void)
        self._fit = fit
        self._working_size = working_size
        self._color: ColorOrder = color
        self._void: VoidChoice = void
        self._small: set[int] = set()  # objects that were said to be too small
        self.sizes: SizesT | None = None
        self.next_index = 0

    def take(self, frame: Any, mask: Any, absent: Collection[int], tracked: ObjectIds) -> Given[SizesT]:
        """Check the next frame; nothing changes until :meth:`accept`.

        Args:
            frame: See :func:`vos_zoo.media.arrays.to_frame`.
            mask: See :func:`vos_zoo.media.arrays.to_mask`, or None.
            absent: Objects that the frame does not show.
            tracked: Objects tracked so far.

        Raises:
            VideoError: If the frame is not an RGB image or has another size than the frames before.
            MaskError: If the mask holds no ids or has another size than the frame, or an absent object is not tracked
                or in the mask.
        """
        pixels = to_frame(frame, f"Frame {self.next_index}", color=self._color)
        sizes = self._check_frame(pixels)
        ids = None if mask is None else to_mask(mask, f"The mask of frame {self.next_index}", void=self._void)
        annotated, is_open = self._check_mask(ids, sizes.frame_size)
        self._say_what_is_small(ids, annotated, sizes)
        if absent:
            annotated = [*annotated, *self._check_absent(absent, annotated, tracked)]
            ids = np.zeros(sizes.frame_size, np.uint8) if ids is None else ids
        return Given(pixels, ids, annotated, is_open, sizes)

    def accept(self, given: Given[SizesT]) -> None:
        """Go on to the next frame once this one is segmented."""
        self.sizes = given.sizes
        self.next_index += 1

    def _check_frame(self, frame: NDArray[np.uint8]) -> SizesT:
        size = (frame.shape[0], frame.shape[1])
        if 0 in size:
            raise VideoError(f"Frame {self.next_index} is {size[1]}x{size[0]} pixels. Expected at least one pixel.")
        if self.sizes is not None and self.sizes.frame_size != size:
            raise VideoError(
                f"Frame {self.next_index} is {size[1]}x{size[0]} pixels, the frames before were "
                f"{self.sizes.frame_size[1]}x{self.sizes.frame_size[0]}. Use one session per video size."
            )
        return self.sizes or self._fit(size)

    def _check_mask(
        self, mask: NDArray[Any] | None, size: tuple[int, int]
    ) -> tuple[list[int], NDArray[np.bool_] | None]:
        """Return the mask's ids, and where it has no opinion; None instead of nowhere."""
        if mask is None:
            return [], None
        if mask.shape != size:
            raise MaskError(
                f"The mask of frame {self.next_index} is {mask.shape[1]}x{mask.shape[0]} pixels, its frame "
                f"{size[1]}x{size[0]}. Give a mask of the frame's size (or resize it, nearest neighbour)."
            )
        void = self._void
        if void == "auto":
            void = RIM_VALUE if has_void_rims(mask) else None
            if void is not None:
                warn_of_void_rims(f"The mask of frame {self.next_index}")
        ids = [int(object_id) for object_id in np.unique(mask) if object_id != 0 and object_id != void]
        outside = [object_id for object_id in ids if object_id > _LARGEST_ID]
        if outside:
            raise MaskError(
                f"The mask of frame {self.next_index} holds object id {outside[0]}. Expected ids that fit 32 bits, "
                f"up to {_LARGEST_ID}; renumber the objects."
            )
        is_open = None if void is None else mask == void
        return ids, is_open if is_open is not None and is_open.any() else None

    def _check_absent(self, absent: Collection[int], annotated: list[int], tracked: ObjectIds) -> list[int]:
        wrong = [object_id for object_id in absent if object_id not in tracked or object_id in annotated]
        if wrong:
            why = "in the mask of this frame" if wrong[0] in annotated else "not tracked"
            raise MaskError(
                f"Object {wrong[0]} is declared absent from frame {self.next_index}, but it is {why}. Expected "
                f"tracked objects ({', '.join(map(str, tracked.ids)) or 'none so far'}) that the mask leaves out."
            )
        return list(dict.fromkeys(absent))

    def _say_what_is_small(self, mask: NDArray[Any] | None, annotated: list[int], sizes: SizesT) -> None:
        """Log shapes and objects that the network will hardly see, before it works on them."""
        if self.sizes is None:
            bound = sizes.describe_bound(self._working_size(sizes.frame_size))
            if bound:
                _logger.warning("%s", bound)
        if mask is None:
            return
        warn_of_palette_greys(annotated, f"The mask of frame {self.next_index}")
        for object_id in set(annotated) - self._small:
            loss = sizes.describe_loss(int((mask == object_id).sum()))
            if loss:
                self._small.add(object_id)
                _logger.warning("Object %d in the mask of frame %d %s", object_id, self.next_index, loss)
