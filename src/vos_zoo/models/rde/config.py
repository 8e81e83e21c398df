"""Hyper-parameters of RDE-VOS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vos_zoo.models.stcn.config import STCNConfig

MemoryEntry = Literal["all", "first", "latest", "rde"]
MEMORY_ENTRIES: tuple[MemoryEntry, ...] = ("all", "first", "latest", "rde")


@dataclass(frozen=True)
class RDEConfig(STCNConfig):
    """STCN's sizes plus the aggregation module and the constant memory; the defaults are the paper's."""

    #: paper, Section 4.1: top-k with k = 40
    top_k: int | None = 40
    #: theta of paper Table 5 on DAVIS (4 on YouTube-VOS)
    mem_every: int = 3
    #: bound of the growing memory, which only ``memory_entries`` with ``all`` uses
    max_memory_frames: int | None = 64
    #: which memories are read, with multiplicity (paper Table 5, last row)
    memory_entries: tuple[MemoryEntry, ...] = ("rde", "latest", "first", "first")
    #: dilations of the three spatial branches of the aggregation module's ASPP (released code)
    aggregation_dilations: tuple[int, int, int] = (2, 4, 6)
