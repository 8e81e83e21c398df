"""Kinds of video that can be written: codec, container, pixels, and the encoders that make them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vos_zoo.errors import VideoError

try:
    import av
except ImportError:  # an optional extra; who writes videos has it
    av = None

__all__ = ["H264", "PRORES_4444", "VP9_ALPHA", "VideoEncoding", "find_encoder"]


@dataclass(frozen=True)
class VideoEncoding:
    """A kind of video.

    Attributes:
        name: What messages call it.
        suffixes: Endings that its files may have.
        container: FFmpeg's name of the file format.
        encoders: FFmpeg's names of encoders, the best first; ``options`` are those of the first.
        pixels: FFmpeg's name of the pixel format.
        has_alpha: Whether frames come with opacity, as RGBA.
        needs_even_size: Whether height and width must be even, because colours are stored for blocks of 2x2 pixels.
        quality: Constant rate factor, lower is better; None if the codec has none.
        worst_quality: Largest constant rate factor.
        options: What the encoder is told beside its quality.
        stream_metadata: What the container notes about the stream.
        sound_encoder: FFmpeg's encoder for sound that the container cannot hold as it is; None leaves such sound out.
    """

    name: str
    suffixes: tuple[str, ...]
    container: str
    encoders: tuple[str, ...]
    pixels: str
    has_alpha: bool = False
    needs_even_size: bool = False
    quality: int | None = None
    worst_quality: int = 63
    options: Mapping[str, str] = field(default_factory=dict)
    stream_metadata: dict[str, str] = field(default_factory=dict)
    sound_encoder: str | None = None


H264 = VideoEncoding(
    "H.264",
    (".mp4", ".m4v", ".mov"),
    "mp4",
    # PyAV's own wheels bring the first, conda's the second, and macOS has the third.
    ("libx264", "libopenh264", "h264_videotoolbox"),
    "yuv420p",
    needs_even_size=True,
    quality=20,
    worst_quality=51,
    options={"preset": "veryfast"},
)
"""What browsers and phones play; opaque."""

VP9_ALPHA = VideoEncoding(
    "VP9 with alpha",
    (".webm",),
    "webm",
    ("libvpx-vp9",),
    "yuva420p",
    has_alpha=True,
    quality=18,
    # Colours and opacity are two streams inside, which hidden reference frames would take out of step.
    options={"b": "0", "deadline": "good", "cpu-used": "5", "row-mt": "1", "auto-alt-ref": "0"},
    stream_metadata={"alpha_mode": "1"},
    sound_encoder="libopus",
)
"""What browsers show transparently over a page."""

PRORES_4444 = VideoEncoding(
    "ProRes 4444",
    (".mov",),
    "mov",
    ("prores_ks", "prores", "prores_videotoolbox"),
    "yuva444p10le",
    has_alpha=True,
    # Opacity is stored without loss; 16 bits are what the format is specified for and every editor reads.
    options={"profile": "4444", "alpha_bits": "16", "vendor": "apl0"},
    sound_encoder="pcm_s16le",
)
"""What video editors take with transparency; large."""

_ALL = (H264, VP9_ALPHA, PRORES_4444)


def find_encoder(encoding: VideoEncoding) -> str:
    """Name the encoder that makes a kind of video here.

    Args:
        encoding: The kind.

    Raises:
        VideoError: If the installed PyAV has none for it; the message lists the kinds that it has encoders for.
    """
    found = _available(encoding)
    if found is not None:
        return found
    others = [f"{other.name} ({encoder})" for other in _ALL if (encoder := _available(other)) is not None]
    raise VideoError(
        f"The installed PyAV {av.__version__} has no {encoding.name} encoder (looked for "
        f"{', '.join(encoding.encoders)}). It can write {', '.join(others) or 'none of the videos known here'}. Choose "
        "one of these, or install PyAV's official wheel with `pip install --force-reinstall av`."
    )


def _available(encoding: VideoEncoding) -> str | None:
    for name in encoding.encoders:
        try:
            av.codec.Codec(name, "w")
        except ValueError:  # PyAV's UnknownCodecError
            continue
        return name
    return None
