"""STM: Oh et al., "Video Object Segmentation using Space-Time Memory Networks", ICCV 2019."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vos_zoo.lazy import lazy_names

if TYPE_CHECKING:
    from vos_zoo.models.stm.config import STMConfig as STMConfig
    from vos_zoo.models.stm.lightning_module import STMModule as STMModule
    from vos_zoo.models.stm.network import STMNetwork as STMNetwork

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "STMConfig": "vos_zoo.models.stm.config",
        "STMModule": "vos_zoo.models.stm.lightning_module",
        "STMNetwork": "vos_zoo.models.stm.network",
    },
)
__all__ = ["STMConfig", "STMModule", "STMNetwork"]
