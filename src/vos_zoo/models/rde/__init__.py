"""RDE-VOS: Li et al., "Recurrent Dynamic Embedding for Video Object Segmentation", CVPR 2022."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vos_zoo.lazy import lazy_names

if TYPE_CHECKING:
    from vos_zoo.models.rde.config import RDEConfig as RDEConfig
    from vos_zoo.models.rde.lightning_module import RDEModule as RDEModule
    from vos_zoo.models.rde.network import RDENetwork as RDENetwork

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "RDEConfig": "vos_zoo.models.rde.config",
        "RDEModule": "vos_zoo.models.rde.lightning_module",
        "RDENetwork": "vos_zoo.models.rde.network",
    },
)
__all__ = ["RDEConfig", "RDEModule", "RDENetwork"]
