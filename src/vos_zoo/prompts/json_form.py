"""Prompts as JSON, for project files and for ``--prompts FILE.json``."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vos_zoo.configs import config_to_dict
from vos_zoo.errors import MissingFileError, PromptError
from vos_zoo.files import parse_json

from .prompt import Box, Brush, Points, Polygon, Prompt, Scribbles

__all__ = ["prompts_from_json", "prompts_to_json", "read_prompts"]

VERSION = 1

_KINDS: dict[str, type[Prompt]] = {
    "box": Box,
    "polygon": Polygon,
    "points": Points,
    "scribbles": Scribbles,
    "brush": Brush,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def prompts_to_json(prompts: Mapping[int, Sequence[Prompt]]) -> dict[str, Any]:
    """Turn prompts into plain JSON data.

    Args:
        prompts: Number of a frame, from 0 -> its prompts.

    Returns:
        An object with ``version`` and ``frames``; ``frames`` has a list of prompts for each number, written as text.

    Example:
        >>> prompts_to_json({30: [Points(1, positive=[(200, 180)])]})["frames"]
        {'30': [{'kind': 'points', 'object_id': 1, 'positive': [[200.0, 180.0]], 'negative': []}]}
    """
    return {
        "version": VERSION,
        "frames": {
            str(frame): [{"kind": _NAMES[type(prompt)], **config_to_dict(prompt)} for prompt in of_frame]
            for frame, of_frame in sorted(prompts.items())
        },
    }


def prompts_from_json(data: Any, *, where: str = "prompts") -> dict[int, list[Prompt]]:
    """Read what :func:`prompts_to_json` gave, strictly: unknown keys and kinds are refused.

    Args:
        data: JSON data, or the text of it.
        where: How messages name the place, for example the file.

    Returns:
        Number of a frame -> its prompts, frames in ascending order.

    Raises:
        PromptError: If it is not JSON of prompts; the message names the place inside it.

    Example:
        >>> prompts_from_json('{"version": 1, "frames": {"0": [{"kind": "box", "object_id": 1, "left": 1, "top": 2,'
        ...                   ' "right": 3, "bottom": 4}]}}')
        {0: [Box(object_id=1, left=1.0, top=2.0, right=3.0, bottom=4.0)]}
    """
    if isinstance(data, (str, bytes)):
        try:
            data = parse_json(data)
        except ValueError as error:
            raise PromptError(f"{where} is not JSON: {error}. Expected what `prompts_to_json` writes.") from error
    if not isinstance(data, Mapping) or not isinstance(data.get("frames"), Mapping):
        raise PromptError(
            f'{where} has no object \'frames\'. Expected {{"version": {VERSION}, "frames": {{"0": [...]}}}}.'
        )
    unknown = sorted(str(key) for key in data if key not in {"version", "frames"})
    if unknown:
        raise PromptError(f"{where} has the unknown key {unknown[0]!r}. Expected 'version' and 'frames'.")
    version = data.get("version")
    if type(version) is not int or version != VERSION:
        newer = " Update vos_zoo." if type(version) is int and version > VERSION else ""
        raise PromptError(f"{where} has version {version!r}. Expected {VERSION}.{newer}")
    prompts: dict[int, list[Prompt]] = {}
    for name, of_frame in data["frames"].items():
        place = f"{where}, frame {name!r}"
        # Exactly as they are written: "07" and "7" would be one frame twice.
        if not isinstance(name, str) or re.fullmatch(r"0|[1-9][0-9]{0,8}", name) is None:
            raise PromptError(f'{place} is not a frame. Expected its number from 0, written as text such as "30".')
        if not isinstance(of_frame, (list, tuple)):
            raise PromptError(f"{place} is not a list of prompts. Expected a list.")
        prompts[int(name)] = [
            _read_prompt(entry, f"{place}, prompt {number}") for number, entry in enumerate(of_frame, start=1)
        ]
    return dict(sorted(prompts.items()))


def read_prompts(path: str | Path) -> dict[int, list[Prompt]]:
    """Read a JSON file of prompts.

    Raises:
        MissingFileError: If there is no such file.
        PromptError: If it holds no prompts; the message names the place inside it.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"There is no file of prompts `{path}`. Check the path.")
    return prompts_from_json(path.read_bytes(), where=f"`{path}`")


def _read_prompt(entry: Any, where: str) -> Prompt:
    kind = entry.get("kind") if isinstance(entry, Mapping) else None
    if not isinstance(kind, str) or kind not in _KINDS:
        raise PromptError(f"{where} has the kind {kind!r}. Expected one of {', '.join(_KINDS)}.")
    values = {str(key): value for key, value in entry.items() if key != "kind"}
    fields = dataclasses.fields(_KINDS[kind])
    needed = [field.name for field in fields if field.default is dataclasses.MISSING]
    wrong = [f"lacks {name!r}" for name in needed if name not in values]
    wrong += [f"has the unknown key {key!r}" for key in values if key not in {field.name for field in fields}]
    if wrong:
        raise PromptError(f"{where} {wrong[0]}. Expected for a {kind}: {', '.join(field.name for field in fields)}.")
    try:
        return _KINDS[kind](**values)
    except PromptError as error:
        raise PromptError(f"{where}: {error}") from error
