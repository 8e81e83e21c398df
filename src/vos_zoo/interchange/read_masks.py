"""``read_masks``: the masks of a video out of whatever file holds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from vos_zoo.interchange.opening import open_masks
from vos_zoo.media.annotations import Annotations
from vos_zoo.media.in_memory import open_frames

if TYPE_CHECKING:
    from vos_zoo.interchange.reading import MaskReading
    from vos_zoo.media.given_masks import MaskSource
    from vos_zoo.media.in_memory import FrameSource
    from vos_zoo.media.mask_decoding import Mask
    from vos_zoo.media.mask_values import VoidChoice

__all__ = ["read_masks"]


def read_masks(
    masks: MaskSource,
    video: FrameSource,
    *,
    mask_reading: MaskReading | None = None,
    resize_mask: bool = False,
    void: VoidChoice = "auto",
) -> Mapping[str, Mask]:
    """Read the masks of a video: COCO, labelme, CVAT, YOLO and Label Studio files, images, and NumPy files.

    Args:
        masks: As :func:`vos_zoo.segment_video` takes them.
        video: The video that they belong to, which knows the names, the number and the size of the frames.
        mask_reading: What decides where masks can be read in two ways; an error names both then.
        resize_mask: Resample masks of another size than the frames.
        void: The value of pixels without an opinion in images of ids; they become -1.

    Returns:
        Object ids, shape (H, W), by the names of their frames, in the order of the frames. A mask is read when it is
        asked for.

    Raises:
        MissingFileError: If the masks or the video do not exist.
        VideoError: If the video cannot be read.
        MaskError: If there are no masks, they are damaged, belong to another video, or can be read in two ways.

    Example:
        >>> from vos_zoo.demo import demo_clip
        >>> clip = demo_clip()
        >>> [(name, mask.shape, int(mask.max())) for name, mask in read_masks(clip.first_mask, clip.video).items()]
        [('00000', (480, 854), 1)]
    """
    reader = open_frames(video)
    given = open_masks(
        masks,
        reader.names,
        reader.size,
        all_names=reader.all_names,
        void=void,
        resize=resize_mask,
        reading=mask_reading,
    )
    return _MasksByFrame(Annotations(given, reader.size, resize_mask))


class _MasksByFrame(Mapping[str, "Mask"]):
    def __init__(self, annotations: Annotations) -> None:
        self._annotations = annotations

    def __getitem__(self, frame_name: str) -> Mask:
        mask = self._annotations.get(frame_name)
        if mask is None:
            raise KeyError(frame_name)
        return mask

    def __iter__(self) -> Iterator[str]:
        return iter(self._annotations.frames)

    def __len__(self) -> int:
        return len(self._annotations.frames)
