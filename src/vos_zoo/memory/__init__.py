"""The memory read shared by every matching network, and the banks that it reads from. Knows no model."""

from vos_zoo.memory.api import MemoryReadout, read_memory
from vos_zoo.memory.bank import MemoryBank, StoredFrame
from vos_zoo.memory.tokens import MemoryTokens, Similarity, similarity_terms, tokens_from_frames

__all__ = [
    "MemoryBank",
    "MemoryReadout",
    "MemoryTokens",
    "Similarity",
    "StoredFrame",
    "read_memory",
    "similarity_terms",
    "tokens_from_frames",
]
