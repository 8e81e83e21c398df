"""What users hand to a session: frames and masks, checked before any work."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from vos_zoo.errors import ConfigError, MaskError, VideoError
from vos_zoo.inference.sizes import FrameSizes
from vos_zoo.media.mask_values import RIM_VALUE, VoidChoice, check_void, has_void_rims
from vos_zoo.media.masks import warn_of_palette_greys, warn_of_void_rims

from .arrays import check_frame, check_mask

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from numpy.typing import NDArray

    from vos_zoo.inference.objects import ObjectIds
    from vos_zoo.inference.sizes import WorkingSize

__all__ = ["Given", "SessionInputs"]

_LEAST_ID, _LARGEST_ID = -(2**31), 2**31 - 1  # the largest type of masks is int32
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
        color: str,
        void: VoidChoice,
    ) -> None:
        if color not in ("rgb", "bgr"):
            raise ConfigError(f"The order of colours is {color!r}. Expected 'rgb', or 'bgr' for frames of OpenCV.")
        check_void(void)
        self._fit = fit
        self._working_size = working_size
        self._color = color
        self._void: VoidChoice = void
        self._small: set[int] = set()  # objects that were said to be too small
        self.sizes: SizesT | None = None
        self.next_index = 0
