"""HS2S: Azimi et al., "Hybrid-S2S: Video Object Segmentation with Recurrent Networks and Matching", 2020."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vos_zoo.lazy import lazy_names

if TYPE_CHECKING:
    from vos_zoo.models.hs2s.config import HS2SConfig as HS2SConfig
    from vos_zoo.models.hs2s.lightning_module import HS2SModule as HS2SModule
    from vos_zoo.models.hs2s.network import HS2SNetwork as HS2SNetwork

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "HS2SConfig": "vos_zoo.models.hs2s.config",
        "HS2SModule": "vos_zoo.models.hs2s.lightning_module",
        "HS2SNetwork": "vos_zoo.models.hs2s.network",
    },
)
__all__ = ["HS2SConfig", "HS2SModule", "HS2SNetwork"]
