"""Training and evaluation data: layouts on disk, training clips, data modules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vos_zoo.lazy import lazy_names

if TYPE_CHECKING:
    from vos_zoo.data.clips.perturbation import perturb_mask as perturb_mask
    from vos_zoo.data.clips.shapes import moving_shapes as moving_shapes
    from vos_zoo.data.modules.base import ClipDataModule as ClipDataModule
    from vos_zoo.data.modules.bl30k import BL30KDataModule as BL30KDataModule
    from vos_zoo.data.modules.curriculum import GapCurriculum as GapCurriculum
    from vos_zoo.data.modules.davis import DAVISDataModule as DAVISDataModule
    from vos_zoo.data.modules.folder import FolderDataModule as FolderDataModule
    from vos_zoo.data.modules.mixed import MixedDataModule as MixedDataModule
    from vos_zoo.data.modules.objects import ObjectsDataModule as ObjectsDataModule
    from vos_zoo.data.modules.packed import PackedDataModule as PackedDataModule
    from vos_zoo.data.modules.prediction import PredictionDataModule as PredictionDataModule
    from vos_zoo.data.modules.static_images import StaticImagesDataModule as StaticImagesDataModule
    from vos_zoo.data.modules.synthetic import SyntheticDataModule as SyntheticDataModule
    from vos_zoo.data.modules.youtube_vos import YouTubeVOSDataModule as YouTubeVOSDataModule

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "BL30KDataModule": "vos_zoo.data.modules.bl30k",
        "ClipDataModule": "vos_zoo.data.modules.base",
        "DAVISDataModule": "vos_zoo.data.modules.davis",
        "FolderDataModule": "vos_zoo.data.modules.folder",
        "GapCurriculum": "vos_zoo.data.modules.curriculum",
        "MixedDataModule": "vos_zoo.data.modules.mixed",
        "ObjectsDataModule": "vos_zoo.data.modules.objects",
        "PackedDataModule": "vos_zoo.data.modules.packed",
        "PredictionDataModule": "vos_zoo.data.modules.prediction",
        "StaticImagesDataModule": "vos_zoo.data.modules.static_images",
        "SyntheticDataModule": "vos_zoo.data.modules.synthetic",
        "YouTubeVOSDataModule": "vos_zoo.data.modules.youtube_vos",
        "moving_shapes": "vos_zoo.data.clips.shapes",
        "perturb_mask": "vos_zoo.data.clips.perturbation",
    },
)
__all__ = [
    "BL30KDataModule",
    "ClipDataModule",
    "DAVISDataModule",
    "FolderDataModule",
    "GapCurriculum",
    "MixedDataModule",
    "ObjectsDataModule",
    "PackedDataModule",
    "PredictionDataModule",
    "StaticImagesDataModule",
    "SyntheticDataModule",
    "YouTubeVOSDataModule",
    "moving_shapes",
    "perturb_mask",
]
