"""DMN-AOA: Liang et al., "VOS with Dynamic Memory Networks and Adaptive Object Alignment", ICCV 2021."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vos_zoo.lazy import lazy_names

if TYPE_CHECKING:
    from vos_zoo.models.dmn_aoa.config import DMNAOAConfig as DMNAOAConfig
    from vos_zoo.models.dmn_aoa.lightning_module import DMNAOAModule as DMNAOAModule
    from vos_zoo.models.dmn_aoa.network import DMNAOANetwork as DMNAOANetwork

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "DMNAOAConfig": "vos_zoo.models.dmn_aoa.config",
        "DMNAOAModule": "vos_zoo.models.dmn_aoa.lightning_module",
        "DMNAOANetwork": "vos_zoo.models.dmn_aoa.network",
    },
)
__all__ = ["DMNAOAConfig", "DMNAOAModule", "DMNAOANetwork"]
