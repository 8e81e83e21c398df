"""GIEL: Ge, Lu and Shen, "Video Object Segmentation Using Global and Instance Embedding Learning", CVPR 2021."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vos_zoo.lazy import lazy_names

if TYPE_CHECKING:
    from vos_zoo.models.giel.config import GIELConfig as GIELConfig
    from vos_zoo.models.giel.lightning_module import GIELModule as GIELModule
    from vos_zoo.models.giel.network import GIELNetwork as GIELNetwork

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "GIELConfig": "vos_zoo.models.giel.config",
        "GIELModule": "vos_zoo.models.giel.lightning_module",
        "GIELNetwork": "vos_zoo.models.giel.network",
    },
)
__all__ = ["GIELConfig", "GIELModule", "GIELNetwork"]
