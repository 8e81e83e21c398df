"""TSN: Lu et al., "Two-Stream Networks for Object Segmentation in Videos", 2022."""

from .averaging import RampedWeightAveraging
from .config import TSNConfig
from .lightning_module import TSNModule
from .network import TSNNetwork

__all__ = ["RampedWeightAveraging", "TSNConfig", "TSNModule", "TSNNetwork"]
