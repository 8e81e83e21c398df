"""The sound of a video, copied into another one, without decoding it wherever the container can hold it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from vos_zoo.media.containers import open_container

try:
    import av
except ImportError:  # an optional extra; who writes videos has it
    av = None

__all__ = ["SoundCopy"]

_logger = logging.getLogger(__name__)
_CONTAINERS = {"mp4": "an MP4", "mov": "a QuickTime", "webm": "a WebM"}
_ENCODED_RATE = 48_000  # samples per second; the rate of videos, and the only one of Opus


class SoundCopy:
    """Copies the sound that goes with some frames of a video, as the frames are written.

    Args:
        path: The video with the sound.
        output: The open PyAV container to copy to, before anything is written into it.
        begin: Time of the first frame that is written, in seconds on the clock of ``path``; it becomes 0.
        encoder: FFmpeg's encoder for sound that the output cannot hold as it is; None leaves such sound out.
        may_copy: Whether sound that the output says it can hold is copied; else it is encoded.

    Attributes:
        is_copied: Whether there is sound, and the output can hold it. If it cannot, that is logged.
    """

    def __init__(
        self, path: Path, output: Any, begin: Fraction, *, encoder: str | None = None, may_copy: bool = True
    ) -> None:
        self._source: Any = open_container(path)
        self._output = output
        self._begin = begin
        self._waiting: Any = None
        self._last = -1  # time of the packet that was copied last, in ticks
        stream = self._source.streams.best("audio")
        name = None if stream is None or stream.codec_context is None else stream.codec_context.name
        fits = may_copy and name in output.supported_codecs
        self.is_copied = fits or (name is not None and encoder is not None)
        self._is_encoded = self.is_copied and not fits
        if self.is_copied:
            self._packets: Iterator[Any] = self._source.demux(stream)
            self._stream = (
                output.add_stream_from_template(stream)
                if encoder is None or fits
                else output.add_stream(encoder, rate=_ENCODED_RATE, layout=_layout(stream))
            )
        else:
            if stream is not None:
                _logger.warning(
                    "The sound of `%s` (%s) does not fit into %s video and is left out.",
                    path, name, _CONTAINERS.get(output.format.name, "such a"),
                )  # fmt: skip
            self.close()

    def write_until(self, time: Fraction) -> None:
        """Copy what is heard before a time, in seconds of the output.

        Args:
            time: Where to stop; must not fall.
        """
        while self.is_copied and self._source is not None:
            packet, self._waiting = self._waiting or self._next(), None
            if packet is None:
                self.close()
            elif packet.pts * packet.time_base - self._begin >= time:
                self._waiting = packet
                return
            else:
                try:
                    self._encode(packet) if self._is_encoded else self._copy(packet)
                except av.error.FFmpegError as error:
                    _logger.warning(
                        "The sound cannot be copied any further (%s); the rest is left out.", error.strerror
                    )
                    self.close()

    def close(self) -> None:
        """Finish the sound and close the source. Closing twice does no harm."""
        if self._source is None:
            return
        self._source.close()
        self._source = None
        if self._is_encoded:
            self._output.mux(self._stream.encode())

    def _next(self) -> Any:
        """Return the next packet that begins when the first frame is shown, or later; None at the end."""
        try:
            for packet in self._packets:
                if packet.size and packet.pts is not None and packet.pts * packet.time_base >= self._begin:
                    return packet
        except av.error.FFmpegError as error:
            _logger.warning("The sound broke off (%s); the rest is left out.", error.strerror)
        return None

    def _copy(self, packet: Any) -> None:
        shift = round(self._begin / packet.time_base)
        packet.pts -= shift
        packet.dts = packet.pts if packet.dts is None else packet.dts - shift
        if packet.dts <= self._last:  # times that fall or repeat, as damaged files have them
            return
        self._last = packet.dts
        packet.stream = self._stream
        self._output.mux(packet)

    def _encode(self, packet: Any) -> None:
        for frame in packet.decode():
            if frame.pts is None:
                continue
            frame.pts -= round(self._begin / frame.time_base)
            if frame.pts <= self._last:
                continue
            self._last = frame.pts
            self._output.mux(self._stream.encode(frame))


def _layout(stream: Any) -> str:
    return "mono" if stream.codec_context.layout.nb_channels == 1 else "stereo"
