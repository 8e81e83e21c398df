"""Settings as people write them: on command lines and in lists of videos."""

from __future__ import annotations

import argparse
import re
from typing import Literal

__all__ = ["absent_objects", "byte_count", "frame_size", "levels", "object_ids", "object_label", "truth", "void_value"]

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def byte_count(text: str) -> int:
    """Read a number of bytes such as ``800M`` or ``2.5GiB``; units are powers of 1024.

    Raises:
        argparse.ArgumentTypeError: If it is no such number.

    Example:
        >>> byte_count("2GiB")
        2147483648
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), flags=re.IGNORECASE)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of bytes; write it like 800M or 2GiB")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def frame_size(text: str) -> int | tuple[int, int] | Literal["native"]:
    """Read a working size: a short side such as ``480``, height and width such as ``256x448``, or ``native``.

    Raises:
        argparse.ArgumentTypeError: If it is no such size.

    Example:
        >>> frame_size("480"), frame_size("256x448")
        (480, (256, 448))
    """
    if text == "native":
        return "native"
    match = re.fullmatch(r"(\d+)(?:\s*[x×]\s*(\d+))?", text.strip(), flags=re.IGNORECASE)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; write it like 480 or 256x448 (height x width)")
    return int(match[1]) if match[2] is None else (int(match[1]), int(match[2]))


def levels(text: str) -> Literal["clip", "type"] | tuple[float, float]:
    """Read which values become black and white: ``clip``, ``type``, or both values such as ``200:3800``.

    Raises:
        argparse.ArgumentTypeError: If it is no such choice.

    Example:
        >>> levels("200:3800")
        (200.0, 3800.0)
    """
    if text in ("clip", "type"):
        return "clip" if text == "clip" else "type"
    low, colon, high = text.partition(":")
    try:
        if colon and float(low) < float(high):
            return float(low), float(high)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} are not levels; write clip, type, or LOW:HIGH like 200:3800")


def void_value(text: str) -> int | Literal["auto"] | None:
    """Read the value of pixels without an opinion: a number, ``auto`` or ``none``.

    Raises:
        argparse.ArgumentTypeError: If it is no such value.

    Example:
        >>> void_value("255"), void_value("none")
        (255, None)
    """
    if text in ("auto", "none"):
        return "auto" if text == "auto" else None
    if re.fullmatch(r"-?[0-9]+", text):
        return int(text)
    raise argparse.ArgumentTypeError(
        f"{text!r} is not a value of mask pixels; write a number such as 255, auto, or none"
    )


def absent_objects(text: str) -> tuple[str, list[int]]:
    """Read the name of a frame and the objects that it does not show.

    Raises:
        argparse.ArgumentTypeError: If one of the two is missing, or the objects are not numbers.

    Example:
        >>> absent_objects("00012:3,5")
        ('00012', [3, 5])
    """
    name, _, ids = text.rpartition(":")
    try:
        numbers = [int(part) for part in ids.split(",")]
    except ValueError:
        numbers = []
    if not name or not numbers:
        raise argparse.ArgumentTypeError(f"{text!r} names no frame and objects; write it like 00012:3 or 00012:3,5")
    return name, numbers


def truth(text: str) -> bool:
    """Read ``true`` or ``false``, also as ``yes`` and ``no`` or ``1`` and ``0``.

    Raises:
        argparse.ArgumentTypeError: If it is neither.

    Example:
        >>> truth("yes"), truth("False")
        (True, False)
    """
    try:
        return _TRUTHS[text.strip().lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false; write true or false") from None


def object_ids(text: str) -> list[int]:
    """Read ids of objects such as ``1,3``.

    Raises:
        argparse.ArgumentTypeError: If they are not whole numbers above 0.

    Example:
        >>> object_ids("1,3")
        [1, 3]
    """
    parts = text.split(",")
    if not all(re.fullmatch(r"\s*0*[1-9][0-9]*\s*", part) for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} are not ids of objects; write them like 1,3")
    return [int(part) for part in parts]


def object_label(text: str) -> tuple[int, str]:
    """Read the id of an object and what it is called, such as ``1=bird``.

    Raises:
        argparse.ArgumentTypeError: If there is no id or no name.

    Example:
        >>> object_label("1=bird")
        (1, 'bird')
    """
    number, _, name = text.partition("=")
    if not re.fullmatch(r"0*[1-9][0-9]*", number) or not name.strip():
        raise argparse.ArgumentTypeError(f"{text!r} names no object; write it like 1=bird")
    return int(number), name.strip()
