"""Data: masks in and out, training clips, data modules.

Names load on first use, so that reading a mask needs neither torch nor Lightning.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vos_zoo.data.base import ClipDataModule as ClipDataModule
    from vos_zoo.data.curriculum import GapCurriculum as GapCurriculum
    from vos_zoo.data.module import BL30KDataModule as BL30KDataModule
    from vos_zoo.data.module import DAVISDataModule as DAVISDataModule
    from vos_zoo.data.module import FolderDataModule as FolderDataModule
    from vos_zoo.data.module import MixedDataModule as MixedDataModule
    from vos_zoo.data.module import StaticImagesDataModule as StaticImagesDataModule
    from vos_zoo.data.module import SyntheticDataModule as SyntheticDataModule
    from vos_zoo.data.module import YouTubeVOSDataModule as YouTubeVOSDataModule
    from vos_zoo.data.perturbation import perturb_mask as perturb_mask
    from vos_zoo.data.synthetic import moving_shapes as moving_shapes

# Public name -> module that defines it.
_LAZY = {
    "BL30KDataModule": "vos_zoo.data.module",
    "ClipDataModule": "vos_zoo.data.base",
    "DAVISDataModule": "vos_zoo.data.module",
    "FolderDataModule": "vos_zoo.data.module",
    "GapCurriculum": "vos_zoo.data.curriculum",
    "MixedDataModule": "vos_zoo.data.module",
    "StaticImagesDataModule": "vos_zoo.data.module",
    "SyntheticDataModule": "vos_zoo.data.module",
    "YouTubeVOSDataModule": "vos_zoo.data.module",
    "moving_shapes": "vos_zoo.data.synthetic",
    "perturb_mask": "vos_zoo.data.perturbation",
}
__all__ = sorted(_LAZY)


def __getattr__(name: str) -> Any:
    """Load a public name on first use."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(sorted(_LAZY))}")
    return getattr(importlib.import_module(_LAZY[name]), name)
