"""Building blocks that two or more papers share."""

from .aggregation import soft_aggregate
from .blocks import ResidualBlock, UpsampleBlock
from .cbam import CBAM
from .fusion import FusionBlock
from .key_value import KeyValue, KeyValueFeatures
from .mask_decoder import MaskDecoder
from .mask_input import object_channels
from .refine_block import RefineBlock
from .resnet import ResNetTrunk, TrunkFeatures

__all__ = [
    "CBAM",
    "FusionBlock",
    "KeyValue",
    "KeyValueFeatures",
    "MaskDecoder",
    "RefineBlock",
    "ResNetTrunk",
    "ResidualBlock",
    "TrunkFeatures",
    "UpsampleBlock",
    "object_channels",
    "soft_aggregate",
]
