"""GIEL: Ge, Lu and Shen, "Video Object Segmentation Using Global and Instance Embedding Learning", CVPR 2021."""

from .config import GIELConfig
from .lightning_module import GIELModule
from .network import GIELNetwork

__all__ = ["GIELConfig", "GIELModule", "GIELNetwork"]
