"""``session.json``: everything about exported graphs that a session without torch has to know."""

from __future__ import annotations

import hashlib
import json
import reprlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vos_zoo.configs import config_from_dict, config_to_dict
from vos_zoo.errors import CheckpointError, ConfigError, MissingFileError
from vos_zoo.files import parse_json

__all__ = ["FORMAT_VERSION", "MANIFEST_FILE", "Array", "GraphFile", "Manifest", "MemoryRules", "read_manifest"]

MANIFEST_FILE = "session.json"
FORMAT_VERSION = 1

VERBS = ("encode", "segment", "memorize")
STATE, CARRIED, NEXT = "state_", "carried_", "next_"
"""How names begin in graphs: of the state, of what ``segment`` leaves for ``memorize``, of the state after it."""

LEAST_CELLS = 4
"""Cells of ``stride`` pixels that either side of a frame has at least; smaller frames are padded."""

Precision = Literal["fp32", "fp16", "int8"]
Kind = Literal["onnx", "pt2", "aoti"]
_CHUNK = 2**20


@dataclass(frozen=True)
class Array:
    """An input or output of a graph, or an array of the state; all are float32.

    Attributes:
        name: As the graphs call it.
        shape: Numbers and formulas: ``objects``, ``frames``, ``height`` and ``width`` (padded, in pixels), and
            ``height/16`` or ``width/16`` with any whole number. ``frames`` stands in the state only.
    """

    name: str
    shape: tuple[int | str, ...]

    def resolve(self, *, height: int, width: int, objects: int, frames: int = 1) -> tuple[int, ...]:
        """Return the shape in numbers.

        Args:
            height: Of padded frames.
            width: Of padded frames.
            objects: Objects of the group.
            frames: Remembered frames.

        Example:
            >>> Array("keys", (3, "height/16", "width/16", 64)).resolve(height=480, width=864, objects=1)
            (3, 30, 54, 64)
        """
        sizes = {"height": height, "width": width, "objects": objects, "frames": frames}
        return tuple(part if isinstance(part, int) else _evaluate(part, sizes) for part in self.shape)

    def axis(self, word: str) -> int | None:
        """Return the axis of a word such as ``objects``, or None."""
        return self.shape.index(word) if word in self.shape else None


def _evaluate(formula: str, sizes: dict[str, int]) -> int:
    word, _, divisor = formula.partition("/")
    return sizes[word] // int(divisor or 1)


@dataclass(frozen=True)
class GraphFile:
    """A file beside ``session.json``.

    Attributes:
        file: Its name.
        num_bytes: Its size.
        sha256: Its checksum, hexadecimal.
        inputs: What the graph takes, in order; empty for files that are not graphs.
        outputs: What it gives, in order.
    """

    file: str
    num_bytes: int
    sha256: str
    inputs: tuple[Array, ...] = ()
    outputs: tuple[Array, ...] = ()


@dataclass(frozen=True)
class MemoryRules:
    """What a session does around the verb ``memorize``.

    Attributes:
        kind: ``recurrent``: ``memorize`` maps a state to the next one. ``frames``: it gives one frame's arrays; the
            session keeps several of them.
        state: The arrays of the state of a group of objects.
        every: Frames between two memorised frames.
        max_frames: Most frames that a group keeps, for ``frames``.
        keep_latest: Whether the previous frame is also kept, replaced on every frame.
        carries: Outputs of ``segment`` that ``memorize`` takes.
        splits_on_correction: Whether a corrected object leaves its group.
    """

    kind: Literal["recurrent", "frames"]
    state: tuple[Array, ...]
    every: int
    max_frames: int | None
    keep_latest: bool
    carries: tuple[str, ...]
    splits_on_correction: bool


@dataclass(frozen=True)
class Manifest:
    """Exported graphs and how to run them.

    Attributes:
        format_version: Of this file.
        vos_zoo_version: That exported.
        model: What was exported, as the user called it.
        network: Class of its network.
        kind: ``onnx``; ``pt2`` for archives of ``torch.export``; ``aoti`` for compiled packages, which run on machines
            of this kind only.
        precision: Of weights and arithmetic.
        opset: Version of the ONNX operators; None for other kinds.
        graphs: Files by verb: ``encode``, ``segment`` and ``memorize``.
        weights: The weights of all graphs; None where they are inside the graphs.
        stride: Frames are padded to multiples of this, in pixels.
        working_size: Short side, or (height, width), that frames are scaled to.
        size: The one padded (height, width) that the graphs take; None if any.
        objects: The one number of objects of a group that the graphs take; None if any.
        mean: Subtracted from RGB of 0-1.
        std: Divided by.
        pads_before_normalisation: Whether frames are padded with zeros before they are normalised.
        pads_masks_with_zeros: Whether masks of a memorised frame are zero in its padding.
        memory: What the session does around ``memorize``.
        palette: RGB colours of the ids 0-255, for whoever writes masks.
    """

    format_version: int
    vos_zoo_version: str
    model: str
    network: str
    kind: Kind
    precision: Precision
    opset: int | None
    graphs: dict[str, GraphFile]
    weights: GraphFile | None
    stride: int
    working_size: int | tuple[int, int]
    size: tuple[int, int] | None
    objects: int | None
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    pads_before_normalisation: bool
    pads_masks_with_zeros: bool
    memory: MemoryRules
    palette: tuple[tuple[int, int, int], ...]

    def __post_init__(self) -> None:
        if sorted(self.graphs) != sorted(VERBS):
            raise ConfigError(f"The session has the graphs {', '.join(self.graphs)}. Expected {', '.join(VERBS)}.")

    @property
    def files(self) -> tuple[GraphFile, ...]:
        """All files beside this one."""
        return (*self.graphs.values(), *(() if self.weights is None else (self.weights,)))

    @property
    def num_bytes(self) -> int:
        """Bytes of all files but this one."""
        return sum(entry.num_bytes for entry in self.files)

    def to_json(self) -> str:
        """Return the content of the file."""
        return json.dumps(config_to_dict(self), indent=1) + "\n"


def read_manifest(folder: str | Path) -> Manifest:
    """Read ``session.json`` and check that the files beside it are whole.

    Args:
        folder: What the export wrote.

    Raises:
        MissingFileError: If the folder or one of its files does not exist.
        CheckpointError: If a file was cut or changed, or the graphs are of another version.
        ConfigError: If ``session.json`` is damaged.
    """
    folder = Path(folder)
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise MissingFileError(
            f"{path} does not exist. Expected a folder that `vos-zoo export-onnx` wrote. Check the path."
        )
    try:
        data = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}. Export the model again.") from error
    version = data.get("format_version") if isinstance(data, dict) else None
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format_version {reprlib.repr(version)}; this runtime reads {FORMAT_VERSION}. Export the model "
            "again with the vos_zoo of this runtime, or install the runtime of the vos_zoo that exported it "
            f"({reprlib.repr(data.get('vos_zoo_version')) if isinstance(data, dict) else 'unknown'})."
        )
    manifest = config_from_dict(Manifest, data, where=str(path))
    for entry in manifest.files:
        _check_file(folder, entry)
    return manifest


def file_entry(path: Path, inputs: tuple[Array, ...] = (), outputs: tuple[Array, ...] = ()) -> GraphFile:
    """Describe a file that was just written."""
    return GraphFile(path.name, path.stat().st_size, _sha256(path), inputs, outputs)


def _check_file(folder: Path, entry: GraphFile) -> None:
    path = folder / entry.file
    if Path(entry.file).name != entry.file:
        raise ConfigError(f"{folder / MANIFEST_FILE} names the file {entry.file!r}. Expected a name without folders.")
    if not path.is_file():
        raise MissingFileError(f"{path} does not exist, but {MANIFEST_FILE} names it. Copy the whole folder.")
    found = path.stat().st_size
    if found != entry.num_bytes:
        what = "was cut" if found < entry.num_bytes else "was changed"
        raise CheckpointError(
            f"{path} has {found:,} bytes instead of {entry.num_bytes:,}: it {what}. Copy it again, or export the model "
            "again."
        )
    if _sha256(path) != entry.sha256:
        raise CheckpointError(
            f"{path} has another checksum than {MANIFEST_FILE} says: it was changed or damaged. Copy the whole folder "
            "again, or export the model again."
        )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
