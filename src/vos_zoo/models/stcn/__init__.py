"""STCN: Cheng, Tai and Tang, "Rethinking Space-Time Networks with Improved Memory Coverage", NeurIPS 2021."""

from .config import STCNConfig
from .lightning_module import STCNModule
from .network import STCNNetwork

__all__ = ["STCNConfig", "STCNModule", "STCNNetwork"]
