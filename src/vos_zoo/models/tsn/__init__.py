"""TSN: Lu et al., "Two-Stream Networks for Object Segmentation in Videos", 2022."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vos_zoo.lazy import lazy_names

if TYPE_CHECKING:
    from vos_zoo.models.tsn.averaging import RampedWeightAveraging as RampedWeightAveraging
    from vos_zoo.models.tsn.config import TSNConfig as TSNConfig
    from vos_zoo.models.tsn.lightning_module import TSNModule as TSNModule
    from vos_zoo.models.tsn.network import TSNNetwork as TSNNetwork

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "RampedWeightAveraging": "vos_zoo.models.tsn.averaging",
        "TSNConfig": "vos_zoo.models.tsn.config",
        "TSNModule": "vos_zoo.models.tsn.lightning_module",
        "TSNNetwork": "vos_zoo.models.tsn.network",
    },
)
__all__ = ["RampedWeightAveraging", "TSNConfig", "TSNModule", "TSNNetwork"]
