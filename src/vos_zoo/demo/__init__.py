"""The clip that ships with the package: sixty real frames and their true masks.

Credit and licence are in ``chair/CREDIT.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["DemoClip", "demo_clip"]


@dataclass(frozen=True)
class DemoClip:
    """Where the bundled clip lies.

    Attributes:
        name: Name of the sequence.
        frames: Folder of frames, ``00000.jpg`` onwards, 720x480 pixels.
        annotations: Folder of palette masks named like the frames; 0 is background, 1 the object.
        credit: Text file with authors, licence and changes.
    """

    name: str
    frames: Path
    annotations: Path
    credit: Path


def demo_clip() -> DemoClip:
    """Return the bundled clip.

    Example:
        >>> len(list(demo_clip().frames.glob("*.jpg")))
        60
    """
    folder = Path(__file__).parent / "chair"
    return DemoClip(name="chair", frames=folder / "frames", annotations=folder / "masks", credit=folder / "CREDIT.md")
