"""STM: Oh et al., "Video Object Segmentation using Space-Time Memory Networks", ICCV 2019."""

from .config import STMConfig
from .lightning_module import STMModule
from .network import STMNetwork

__all__ = ["STMConfig", "STMModule", "STMNetwork"]
