"""The clip that ships with the package: a short video and the mask of its first frame.

Credit and licence are in ``bird/CREDIT.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["DemoClip", "demo_clip"]


@dataclass(frozen=True)
class DemoClip:
    """Where the bundled clip lies.

    Attributes:
        name: Name of the clip.
        video: H.264 file of 106 frames, 854x480 pixels, 24 frames per second.
        first_mask: Palette PNG of the first frame; 0 is background, 1 the object.
        credit: Text file with authors, licence and changes.
    """

    name: str
    video: Path
    first_mask: Path
    credit: Path


def demo_clip() -> DemoClip:
    """Return the bundled clip.

    Example:
        >>> demo_clip().video.name
        'bird.mp4'
    """
    folder = Path(__file__).parent / "bird"
    return DemoClip("bird", folder / "bird.mp4", folder / "first.png", folder / "CREDIT.md")
