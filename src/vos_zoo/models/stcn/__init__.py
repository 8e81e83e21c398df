"""STCN: Cheng, Tai and Tang, "Rethinking Space-Time Networks with Improved Memory Coverage", NeurIPS 2021."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vos_zoo.lazy import lazy_names

if TYPE_CHECKING:
    from vos_zoo.models.stcn.config import STCNConfig as STCNConfig
    from vos_zoo.models.stcn.lightning_module import STCNModule as STCNModule
    from vos_zoo.models.stcn.network import STCNNetwork as STCNNetwork

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "STCNConfig": "vos_zoo.models.stcn.config",
        "STCNModule": "vos_zoo.models.stcn.lightning_module",
        "STCNNetwork": "vos_zoo.models.stcn.network",
    },
)
__all__ = ["STCNConfig", "STCNModule", "STCNNetwork"]
