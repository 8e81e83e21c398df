"""Small files that declare to be large ones."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path

NESTED = "[" * 100_000
"""JSON that no recursive reader follows to its end."""


def huge_png(side: int = 32_000, *, depth: int = 1, colour: int = 0) -> bytes:
    """Return a PNG that declares ``side`` x ``side`` pixels and holds the first row."""
    row = bytes(1 + side * depth // 8)
    header = struct.pack(">IIBBBBB", side, side, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(row)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def odd_zip(path: Path, name: str, *, size: int | None = None, method: int | None = None, flags: int = 0) -> Path:
    """Write a zip whose directory says something else about its only member than is true.

    Args:
        path: File to write.
        name: Of the member.
        size: That it declares to unpack into.
        method: Of its compression.
        flags: Such as 1 for encrypted.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, bytes(1000))
    content = bytearray(path.read_bytes())
    directory = content.index(b"PK\x01\x02")
    for start, at_flags, at_method, at_size in ((0, 6, 8, 22), (directory, 8, 10, 24)):
        struct.pack_into("<H", content, start + at_flags, flags)
        if method is not None:
            struct.pack_into("<H", content, start + at_method, method)
        if size is not None:
            struct.pack_into("<I", content, start + at_size, size)
    path.write_bytes(content)
    return path
