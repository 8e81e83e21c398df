"""Where the weights of a model came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vos_zoo.registry import WEIGHTS

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Origin:
    """Where the weights of a model came from, to the byte.

    Attributes:
        name: Registry name (``rde.small``), ``hf-hub:owner/name``, or the folder.
        revision: Commit of the Hub, 40 hexadecimal digits; None for weights that came from no Hub.
        sha256: Checksum of the file with the tensors, hexadecimal.
        path: That file.
    """

    name: str
    revision: str | None
    sha256: str
    path: Path

    @property
    def is_public(self) -> bool:
        """Whether the name means something elsewhere; a folder's path may tell what a published card must not."""
        return self.revision is not None or self.name in WEIGHTS

    def __str__(self) -> str:
        """Return the name with its revision, as ``load_model`` takes it."""
        return self.name if self.revision is None else f"{self.name}@{self.revision}"
