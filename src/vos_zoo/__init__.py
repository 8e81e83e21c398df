"""Model zoo for semi-supervised video object segmentation.

Give a video and the masks of some objects in one of its frames; get masks for every frame.

Public names load on first use, so that ``import vos_zoo`` needs neither torch nor OpenCV:
:func:`load_model`, :func:`list_models`, :class:`VideoSession`, :func:`segment_video`, :func:`segment_frames`,
:func:`segment_many`, :func:`export_masks`, :func:`to_detections`, :func:`read_mask`, :func:`read_masks`,
:class:`MaskReading`, :func:`evaluate`, :func:`read_frames`, :func:`register`.

Example:
    >>> import vos_zoo
    >>> "rde" in vos_zoo.list_models()
    True
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vos_zoo.lazy import lazy_names
from vos_zoo.moved import redirect_moved_modules
from vos_zoo.version import __version__

if TYPE_CHECKING:
    from vos_zoo.inference.session import VideoSession as VideoSession
    from vos_zoo.interchange.detections import to_detections as to_detections
    from vos_zoo.interchange.export_masks import export_masks as export_masks
    from vos_zoo.interchange.read_masks import read_masks as read_masks
    from vos_zoo.interchange.reading import MaskReading as MaskReading
    from vos_zoo.media.masks import read_mask as read_mask
    from vos_zoo.media.reader import read_frames as read_frames
    from vos_zoo.metrics.evaluation import evaluate as evaluate
    from vos_zoo.models.load import load_model as load_model
    from vos_zoo.registry import list_models as list_models
    from vos_zoo.registry import register as register
    from vos_zoo.scale.many import segment_many as segment_many
    from vos_zoo.segmentation.frames import segment_frames as segment_frames
    from vos_zoo.segmentation.review import write_review as write_review
    from vos_zoo.segmentation.video import segment_video as segment_video

redirect_moved_modules()

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "MaskReading": "vos_zoo.interchange.reading",
        "VideoSession": "vos_zoo.inference.session",
        "evaluate": "vos_zoo.metrics.evaluation",
        "export_masks": "vos_zoo.interchange.export_masks",
        "list_models": "vos_zoo.registry",
        "load_model": "vos_zoo.models.load",
        "read_frames": "vos_zoo.media.reader",
        "read_mask": "vos_zoo.media.masks",
        "read_masks": "vos_zoo.interchange.read_masks",
        "register": "vos_zoo.registry",
        "segment_frames": "vos_zoo.segmentation.frames",
        "segment_many": "vos_zoo.scale.many",
        "segment_video": "vos_zoo.segmentation.video",
        "write_review": "vos_zoo.segmentation.review",
        "to_detections": "vos_zoo.interchange.detections",
    },
)
__all__ = [
    "MaskReading",
    "VideoSession",
    "__version__",
    "evaluate",
    "export_masks",
    "list_models",
    "load_model",
    "read_frames",
    "read_mask",
    "read_masks",
    "register",
    "segment_frames",
    "segment_many",
    "segment_video",
    "to_detections",
    "write_review",
]
