"""HS2S: Azimi et al., "Hybrid-S2S: Video Object Segmentation with Recurrent Networks and Matching", 2020."""

from .config import HS2SConfig
from .lightning_module import HS2SModule
from .network import HS2SNetwork

__all__ = ["HS2SConfig", "HS2SModule", "HS2SNetwork"]
