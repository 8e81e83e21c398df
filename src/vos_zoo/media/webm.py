"""The shape of pixels in WebM files, which PyAV cannot tell FFmpeg's muxer."""

from __future__ import annotations

from pathlib import Path

__all__ = ["PLACEHOLDER", "note_display_size"]

PLACEHOLDER = "DisplaySize"
"""Title of the video track of a file that is going to be noted in; as long as what replaces it."""

_NAME, _VIDEO, _DISPLAY_WIDTH, _DISPLAY_HEIGHT = b"\x53\x6e", b"\xe0", b"\x54\xb0", b"\x54\xba"
_HEAD_BYTES = 4096


def note_display_size(path: Path, size: tuple[int, int]) -> None:
    """Note the size at which players show the video, in the place of the track's title.

    Args:
        path: A finished file whose video track has the title :data:`PLACEHOLDER`.
        size: (H, W) in square pixels.

    Raises:
        ValueError: If the file has no such track.

    Source: RFC 9559, sections 5.1.4.1.28.13 and 5.1.4.1.28.14; RFC 8794 on sizes.
    """
    height, width = size
    with path.open("r+b") as file:
        head = file.read(_HEAD_BYTES)
        title = _element(_NAME, PLACEHOLDER.encode())
        begin = head.index(title)
        place = begin + len(title)
        while not head.startswith(_VIDEO, place):  # elements of the track between its title and its image
            identifier = 9 - head[place].bit_length()
            place += identifier + 1 + _short_size(head, place + identifier)
        end = place + 2 + _short_size(head, place + 1)
        display = _element(_DISPLAY_WIDTH, width.to_bytes(4, "big")) + _element(
            _DISPLAY_HEIGHT, height.to_bytes(4, "big")
        )
        video = _element(_VIDEO, head[place + 2 : end] + display)
        changed = head[begin + len(title) : place] + video
        if len(changed) != end - begin:
            raise ValueError(f"{len(changed)} bytes in the place of {end - begin}")
        file.seek(begin)
        file.write(changed)


def _element(identifier: bytes, content: bytes) -> bytes:
    return identifier + bytes([0x80 | len(content)]) + content


def _short_size(head: bytes, place: int) -> int:
    """Read a size of one byte, as all elements of this part have."""
    if not 0x80 <= head[place] < 0xFF:
        raise ValueError(f"the size of an element starts with {head[place]:#x}")
    return head[place] & 0x7F
