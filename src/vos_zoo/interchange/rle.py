"""Run lengths of masks: COCO's counts and their text, CVAT's counts, and Label Studio's stream of bits.

Convention: counts are the lengths of runs of equal pixels, the first of background (0 if the first pixel is set).
COCO goes down the columns, CVAT along the rows of a box.

Sources: the mask API of the COCO data set (counts, and their text with six bits per character); CVAT's documentation
of its XML format 1.1; the description of the rle-pack format, which Label Studio stores brush strokes in.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["counts_from_text", "counts_to_mask", "mask_to_counts", "pack_brush", "text_from_counts", "unpack_brush"]

_MOST_CHARACTERS = 7  # of one count: 35 bits, more than any mask has pixels
_BRUSH_CHANNELS = 4  # a brush stroke is an RGBA image whose alpha channel is the mask
_BRUSH_LENGTHS = (3, 4, 8, 16)  # bits of the four sizes of run lengths that we write
_OPAQUE = 128  # half-transparent rims of a brush stroke belong to it from here on


def mask_to_counts(mask: NDArray[Any]) -> NDArray[np.int64]:
    """Count the runs of a mask along its rows; for COCO's counts, hand in ``mask.T``.

    Args:
        mask: What belongs to the object, shape (H, W).

    Returns:
        Lengths of runs, the first of background; their sum is H * W.

    Example:
        >>> mask_to_counts(np.array([[1, 1, 0], [0, 0, 1]])).tolist()
        [0, 2, 3, 1]
    """
    flat = np.asarray(mask).astype(bool, copy=False).ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    ends = np.concatenate([[0], changes, [flat.size]] if flat.size and flat[0] else [changes, [flat.size]])
    return np.diff(ends, prepend=0).astype(np.int64)


def counts_to_mask(counts: NDArray[np.integer[Any]], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Paint the runs of a mask along its rows; for COCO's counts, ask for (W, H) and transpose.

    Args:
        counts: Lengths of runs, the first of background.
        shape: Rows and columns of the mask.

    Returns:
        What belongs to the object.

    Raises:
        ValueError: If a length is negative, or their sum is not the number of pixels. The message is a clause.

    Example:
        >>> counts_to_mask(np.array([1, 2, 3]), (2, 3)).astype(int).tolist()
        [[0, 1, 1], [0, 0, 0]]
    """
    counts = np.asarray(counts, dtype=np.int64)
    if counts.size and counts.min() < 0:
        raise ValueError("one of its run lengths is negative")
    pixels = shape[0] * shape[1]
    # Summed as Python integers where int64 could overflow.
    total = sum(counts.tolist()) if counts.size and counts.max() > pixels else int(counts.sum())
    if total != pixels:
        raise ValueError(f"its run lengths add up to {total:,} pixels instead of {pixels:,}")
    is_set = np.arange(counts.size) % 2 == 1
    return np.repeat(is_set, counts).reshape(shape)


def counts_from_text(text: str) -> NDArray[np.int64]:
    """Read the text that COCO stores counts as ("compressed RLE").

    Every count from the fourth on is the difference to the one two before. A number is stored in groups of five bits,
    lowest first, in characters from "0" on; 32 says that more follow, and 16 in the last one is the sign.

    Args:
        text: As it stands in the file.

    Returns:
        Lengths of runs.

    Raises:
        ValueError: If it is no such text. The message is a clause.

    Example:
        >>> counts_from_text("52203").tolist()
        [5, 2, 2, 2, 5]
    """
    if not text.isascii():
        raise ValueError("its run lengths hold characters that are not ASCII")
    codes = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - ord("0")
    if not codes.size:
        return np.zeros(0, np.int64)
    if codes.min() < 0 or codes.max() >= 64:
        wrong = text[int(np.flatnonzero((codes < 0) | (codes >= 64))[0])]
        raise ValueError(f"its run lengths hold {wrong!r}, a character that compressed RLE does not have")
    is_last = (codes & 32) == 0
    if not is_last[-1]:
        raise ValueError("its run lengths are cut off in the middle of a number")
    ends = np.flatnonzero(is_last)
    starts = np.concatenate([[0], ends[:-1] + 1])
    if (ends - starts).max() >= _MOST_CHARACTERS:
        raise ValueError("one of its run lengths has more than 35 bits")
    place = np.arange(codes.size) - np.repeat(starts, ends - starts + 1)
    values = np.add.reduceat((codes & 31) << (5 * place), starts)
    values -= np.where(codes[ends] & 16, np.int64(1) << (5 * (ends - starts + 1)), 0)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def text_from_counts(counts: NDArray[np.integer[Any]]) -> str:
    """Write counts as COCO's text; see :func:`counts_from_text`.

    Args:
        counts: Lengths of runs.

    Example:
        >>> text_from_counts(np.array([5, 2, 2, 2, 5]))
        '52203'
    """
    values = np.asarray(counts, dtype=np.int64).copy()
    values[3:] -= np.asarray(counts, dtype=np.int64)[1:-2]
    digits = np.ones(values.size, np.int64)
    for more in range(1, _MOST_CHARACTERS):
        half = np.int64(1) << (5 * more - 1)
        digits[(values < -half) | (values >= half)] = more + 1
    starts = np.cumsum(digits) - digits
    place = np.arange(int(digits.sum())) - np.repeat(starts, digits)
    codes = (np.repeat(values, digits) >> (5 * place)) & 31
    codes[place < np.repeat(digits, digits) - 1] |= 32
    return (codes + ord("0")).astype(np.uint8).tobytes().decode("ascii")


def unpack_brush(data: bytes, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Read a brush stroke of Label Studio.

    The stream begins with the number of values (32 bits), the bits of a value less one (5), and the bits of the four
    sizes of lengths, each less one (4 times 4). Blocks follow: a bit that says whether it is a run of one value or a
    list, the size of its length (2), its length less one, and its value or values. The values are those of an RGBA
    image, row by row.

    Args:
        data: The bytes.
        size: (H, W) of the image.

    Returns:
        What is at least half opaque.

    Raises:
        ValueError: If the stream holds another number of values, or ends too early. The message is a clause.
    """
    bits = _Bits(data)
    count, pixels = bits.read(32), size[0] * size[1]
    if count != _BRUSH_CHANNELS * pixels:
        raise ValueError(f"it holds {count:,} values instead of {_BRUSH_CHANNELS} for each of {pixels:,} pixels")
    width = bits.read(5) + 1
    lengths = [bits.read(4) + 1 for _ in range(4)]
    values = np.empty(count, np.uint8)
    done, most = 0, (1 << width) - 1
    while done < count:
        is_run = bits.read(1)
        length = bits.read(lengths[bits.read(2)]) + 1
        if done + length > count:
            raise ValueError(f"its runs hold more than the {count:,} values that it announces")
        if is_run:
            values[done : done + length] = bits.read(width) * 255 // most
        else:
            values[done : done + length] = bits.read_many(length, width) * 255 // most
        done += length
    alpha = values[_BRUSH_CHANNELS - 1 :: _BRUSH_CHANNELS]
    return (alpha >= _OPAQUE).reshape(size)


def pack_brush(mask: NDArray[np.bool_]) -> bytes:
    """Write a mask as a brush stroke of Label Studio; see :func:`unpack_brush`.

    Args:
        mask: What belongs to the object, shape (H, W).

    Returns:
        The bytes: runs of 0 and 255 only.
    """
    counts = mask_to_counts(mask) * _BRUSH_CHANNELS
    longest = 1 << _BRUSH_LENGTHS[-1]
    pieces = -(-counts // longest)  # of every run; none of an empty first one
    values = np.repeat(np.arange(counts.size) % 2 * 255, pieces)
    lengths = np.full(values.size, longest, np.int64)
    is_last = np.cumsum(pieces)[pieces > 0] - 1
    lengths[is_last] = (counts - (pieces - 1) * longest)[pieces > 0]
    sizes = np.searchsorted(np.array([1 << bits for bits in _BRUSH_LENGTHS]), lengths)
    bits_of_length = np.array(_BRUSH_LENGTHS)[sizes]
    words = (((1 << 2 | sizes) << bits_of_length | lengths - 1) << 8) | values
    head = [(_BRUSH_CHANNELS * mask.size, 32), (8 - 1, 5), *((bits - 1, 4) for bits in _BRUSH_LENGTHS)]
    numbers = np.concatenate([[number for number, _ in head], words]).astype(np.int64)
    widths = np.concatenate([[bits for _, bits in head], 3 + bits_of_length + 8]).astype(np.int64)
    place = np.repeat(np.cumsum(widths), widths) - 1 - np.arange(int(widths.sum()))
    return np.packbits((np.repeat(numbers, widths) >> place & 1).astype(np.uint8)).tobytes()


class _Bits:
    """Reads numbers from a stream, highest bit first."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def read(self, width: int) -> int:
        start, end = self._position, self._position + width
        if end > 8 * len(self._data):
            raise ValueError(f"it ends after {len(self._data):,} bytes, in the middle of a run")
        self._position = end
        chunk = int.from_bytes(self._data[start >> 3 : (end + 7) >> 3], "big")
        return chunk >> (-end % 8) & ((1 << width) - 1)

    def read_many(self, count: int, width: int) -> NDArray[np.int64]:
        start, end = self._position, self._position + count * width
        if end > 8 * len(self._data):
            raise ValueError(f"it ends after {len(self._data):,} bytes, in the middle of a run")
        self._position = end
        data = np.frombuffer(self._data, np.uint8)[start >> 3 : (end + 7) >> 3]
        bits = np.unpackbits(data)[start % 8 : start % 8 + count * width].reshape(count, width)
        return bits @ (np.int64(1) << np.arange(width - 1, -1, -1))
