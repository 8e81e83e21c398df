"""RDE-VOS: Li et al., "Recurrent Dynamic Embedding for Video Object Segmentation", CVPR 2022."""

from .config import RDEConfig
from .lightning_module import RDEModule
from .network import RDENetwork

__all__ = ["RDEConfig", "RDEModule", "RDENetwork"]
