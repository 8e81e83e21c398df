"""DMN-AOA: Liang et al., "VOS with Dynamic Memory Networks and Adaptive Object Alignment", ICCV 2021."""

from .config import DMNAOAConfig
from .lightning_module import DMNAOAModule
from .network import DMNAOANetwork

__all__ = ["DMNAOAConfig", "DMNAOAModule", "DMNAOANetwork"]
