"""The memory read shared by every matching network, and the banks that it reads from. Knows no model."""

from vos_zoo.kept_frames import StoredFrame
from vos_zoo.memory.backends.backend import Backend, BackendStatus
from vos_zoo.memory.backends.choice import BACKEND_VARIABLE, BackendChoice, available_backends, choose_backend
from vos_zoo.memory.bank import MemoryBank
from vos_zoo.memory.read import MemoryReadout, read_memory
from vos_zoo.memory.tokens import MemoryTokens, Similarity, similarity_terms, tokens_from_frames

__all__ = [
    "BACKEND_VARIABLE",
    "Backend",
    "BackendChoice",
    "BackendStatus",
    "MemoryBank",
    "MemoryReadout",
    "MemoryTokens",
    "Similarity",
    "StoredFrame",
    "available_backends",
    "choose_backend",
    "read_memory",
    "similarity_terms",
    "tokens_from_frames",
]
