"""From a frame's own size to the size that graphs take and back, in NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vos_zoo.inference.sizes import FrameSizes
from vos_zoo.runtime.manifest import LEAST_CELLS
from vos_zoo.runtime.resize import nearest, resize_frame, resize_plane

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vos_zoo.inference.sizes import WorkingSize
    from vos_zoo.runtime.manifest import Manifest

__all__ = ["ArrayGeometry"]


class ArrayGeometry(FrameSizes):
    """Sizes of one video, and what arrays they make of its frames and masks."""

    @classmethod
    def of(cls, frame_size: tuple[int, int], size: WorkingSize, manifest: Manifest) -> ArrayGeometry:
        """Fit frames into what the graphs take.

        Graphs of a fixed size show a smaller frame in the middle of a larger area; a frame that does not fit is scaled
        down, its shape kept.

        Args:
            frame_size: (height, width) of the user's frames.
            size: Short side, or (height, width), that frames are scaled to, or None.
            manifest: What the graphs are fixed to.
        """
        stride = manifest.stride
        fitted = cls.fit(frame_size, size, stride)
        if manifest.size is None:
            least = LEAST_CELLS * stride
            height, width = fitted.padded_size
            return fitted._padded_to((max(height, least), max(width, least)))
        if any(side > full for side, full in zip(fitted.working_size, manifest.size, strict=True)):
            scale = min(full / side for full, side in zip(manifest.size, frame_size, strict=True))
            height, width = (
                min(full, max(1, round(side * scale))) for side, full in zip(frame_size, manifest.size, strict=True)
            )
            fitted = cls.fit(frame_size, (height, width), stride)
        return fitted._padded_to(manifest.size)

    def _padded_to(self, size: tuple[int, int]) -> ArrayGeometry:
        vertical, horizontal = (full - side for full, side in zip(size, self.working_size, strict=True))
        left, top = horizontal // 2, vertical // 2
        return ArrayGeometry(self.frame_size, self.working_size, (left, horizontal - left, top, vertical - top))

    def to_image(self, frame: NDArray[np.uint8], manifest: Manifest) -> NDArray[np.float32]:
        """Turn an RGB frame (H, W, 3) into a normalised, padded image (1, 3, h, w)."""
        if frame.shape[:2] != self.working_size:
            frame = resize_frame(frame, self.working_size)
        mean, std = (np.array(values, np.float32).reshape(3, 1, 1) for values in (manifest.mean, manifest.std))
        image = np.empty((1, 3, *self.padded_size), np.float32)
        image[:] = -mean / std if manifest.pads_before_normalisation else 0
        inside = self.crop(image)
        np.divide(frame.transpose(2, 0, 1), np.float32(255), out=inside[0], dtype=np.float32)
        inside -= mean
        inside /= std
        return image

    def to_planes(self, mask: NDArray[Any], ids: Sequence[int]) -> NDArray[np.float32]:
        """Turn a mask (H, W) of ids into padded planes (len(ids), h, w) of 0 and 1, by nearest neighbour."""
        if self.frame_size != self.working_size:
            rows, columns = (nearest(*pair) for pair in zip(self.frame_size, self.working_size, strict=True))
            mask = mask[rows[:, None], columns[None, :]]
        planes = np.zeros((len(ids), *self.padded_size), np.float32)
        for plane, object_id in zip(self.crop(planes), ids, strict=True):
            plane[:] = mask == object_id
        return planes

    def crop(self, planes: NDArray[Any]) -> NDArray[Any]:
        """Remove the padding of (..., h, w), as a view."""
        left, _, top, _ = self.padding
        height, width = self.working_size
        return planes[..., top : top + height, left : left + width]

    def blank_padding(self, planes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (..., h, w) with zeros in the padding."""
        blank = np.zeros_like(planes)
        self.crop(blank)[:] = self.crop(planes)
        return blank

    def to_frame(self, plane: NDArray[np.float32]) -> NDArray[np.float32]:
        """Enlarge one plane (h, w) without padding to the frame's size (H, W), bilinearly."""
        return resize_plane(plane, self.frame_size)
