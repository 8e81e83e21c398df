"""Proposals on disk: one compressed NumPy archive per frame."""

from __future__ import annotations

import json
import math
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from vos_zoo.configs import check_choice
from vos_zoo.errors import DataError, MissingFileError
from vos_zoo.files import atomic_path, parse_json
from vos_zoo.inference.geometry import FrameGeometry
from vos_zoo.limits import byte_excess

from .features import pool_masks
from .proposals import ProposalRequest, Proposals, paste_masks, tidy_proposals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vos_zoo.inference.geometry import WorkingSize

Missing = Literal["error", "empty"]

_VERSION = 1
_GRID = 28
# What NumPy and zipfile raise for damaged, encrypted or oddly packed archives.
_DAMAGE = (
    ValueError,
    TypeError,
    SyntaxError,
    OSError,
    EOFError,
    RuntimeError,
    OverflowError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
)
_THRESHOLDS = ("mask_threshold", "nms_iou", "top_k")

INDEX_FILE = "proposals.json"
"""Says how the proposals in the folders beside it were made, and which thresholds they are read with."""


@dataclass(frozen=True)
class StoredProposals:
    """Proposals of one frame as they lie on disk, in pixels of the original frame.

    Args:
        size: Height and width of the frame.
        boxes: The detector's boxes, the frames of the mask grids, float32 (n, 4).
        scores: Confidence, float32 (n,).
        labels: Category, 0 if there is none, int64 (n,).
        grids: Soft masks on the boxes' grids, ``round(255 p)``, uint8 (n, 28, 28).
    """

    size: tuple[int, int]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    grids: NDArray[np.uint8]


def write_proposals(path: str | Path, proposals: StoredProposals) -> None:
    """Write one frame's proposals, through a temporary file so that an interruption leaves none half written.

    Args:
        path: ``<root>/<video>/<frame>.npz``; folders are made.
        proposals: Any number of them, 0 included.

    Raises:
        DataError: If the arrays do not fit together.
    """
    path = Path(path)
    _check(proposals, str(path))
    # Scores that are not numbers go last; readers leave them out.
    order = np.argsort(-np.nan_to_num(proposals.scores, nan=-np.inf), kind="stable")
    arrays: dict[str, Any] = {
        "version": np.int32(_VERSION),
        "size": np.asarray(proposals.size, np.int32),
        "boxes": proposals.boxes[order].astype(np.float32),
        "scores": proposals.scores[order].astype(np.float32),
        "labels": proposals.labels[order].astype(np.int64),
        "masks": proposals.grids[order],
    }
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)


def write_index(root: str | Path, *, generator: str, frames: int, settings: dict[str, Any]) -> None:
    """Write ``proposals.json``, which says how a folder of proposals was made.

    Args:
        root: Folder of the videos' folders.
        generator: Name of the source and of its weights.
        frames: Number of files.
        settings: Thresholds and the like.
    """
    content = {"format": _VERSION, "generator": generator, "frames": frames, "settings": settings}
    with atomic_path(Path(root) / INDEX_FILE) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_index(root: str | Path) -> dict[str, Any] | None:
    """Read ``proposals.json``, or None.

    Raises:
        DataError: If it is damaged or of another version.
    """
    path = Path(root) / INDEX_FILE
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = parse_json(path.read_text(encoding="utf-8"))
        is_known = content["format"] == _VERSION and isinstance(content["settings"], dict)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error!r}). Write the proposals again, or remove it.") from error
    if not is_known:
        raise DataError(f"{path} has another version. Expected version {_VERSION}; write the proposals again.")
    return content


def index_settings(root: str | Path) -> dict[str, Any]:
    """Return the thresholds that ``proposals.json`` names; none if there is no such file.

    Raises:
        DataError: If it is damaged or of another version.
    """
    index = read_index(root)
    settings = {} if index is None else index["settings"]
    return {name: settings[name] for name in _THRESHOLDS if name in settings}


def read_proposals(path: str | Path) -> StoredProposals:
    """Read one frame's proposals.

    Raises:
        MissingFileError: If the file does not exist.
        DataError: If it is not a proposal file, or its arrays do not fit together.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path} does not exist. Expected the proposals of a frame, one `.npz` file per frame.")
    try:
        _check_members(path)
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except _DAMAGE as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} is not a readable NumPy archive ({error}). Write the proposals again.") from error
    missing = {"version", "size", "boxes", "scores", "labels", "masks"} - arrays.keys()
    if missing:
        raise DataError(f"{path} lacks {', '.join(sorted(missing))}. Expected a proposal file of version {_VERSION}.")
    if arrays["version"].shape != () or int(arrays["version"]) != _VERSION or arrays["size"].shape != (2,):
        raise DataError(f"{path} has another version or no frame size. Expected version {_VERSION}; write it again.")
    size = (int(arrays["size"][0]), int(arrays["size"][1]))
    stored = StoredProposals(size, arrays["boxes"], arrays["scores"], arrays["labels"], arrays["masks"])
    _check(stored, str(path))
    return stored


@dataclass(frozen=True)
class FolderProposals:
    """Proposals of one video from files.

    Args:
        folder: The video's folder of ``.npz`` files.
        frame_names: Names of the video's frames without ending, in order; None takes the files in order of name.
        size: Working size of the session, as given to it; None if frames keep their size.
        first_frame: Place of the video's first annotated frame among the names.
        missing: Whether a frame without file is an ``error`` or has no proposals (``empty``).
        mask_threshold: See ``tidy_proposals``.
        nms_iou: See ``tidy_proposals``.
        top_k: See ``tidy_proposals``.

    Example:
        >>> FolderProposals(Path("proposals/clip"), size=(256, 448)).nms_iou
        0.4
    """

    folder: Path
    frame_names: Sequence[str] | None = None
    size: WorkingSize = 480
    first_frame: int = 0
    missing: Missing = "error"
    mask_threshold: float = 0.4
    nms_iou: float | None = 0.4
    top_k: int = 30

    def __post_init__(self) -> None:
        check_choice("missing", self.missing, Missing)

    @classmethod
    def open(
        cls, folder: str | Path, frame_names: Sequence[str] | None = None, size: WorkingSize = 480
    ) -> FolderProposals:
        """Open a video's folder with the thresholds that the index beside it names.

        Raises:
            MissingFileError: If there is no such folder.
            DataError: If the index is damaged.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise MissingFileError(
                f"There is no folder `{folder}`. Give a video's folder, as `vos-zoo proposals` makes it."
            )
        return cls(folder, frame_names, size, **index_settings(folder.parent))

    def __call__(self, request: ProposalRequest) -> Proposals:
        """Return the proposals of one frame in the network's pixels.

        Raises:
            MissingFileError: If the frame has no file.
            DataError: If the file is damaged, or made for frames of another size.
        """
        number = self.first_frame + request.index
        path = self._path(number)
        if path is None or not path.is_file():
            if self.missing == "empty":
                return Proposals.none(request.size, request.image)
            where = self.folder if path is None else path
            raise MissingFileError(
                f"{where} has no proposals for frame {number}. Make them for every frame, or set missing='empty'."
            )
        stored = read_proposals(path)
        geometry = FrameGeometry.fit(stored.size, self.size, 16)
        if geometry.padded_size != request.size:
            raise DataError(
                f"{path} is for frames of {stored.size[1]}x{stored.size[0]} pixels, which the network would see as "
                f"{geometry.padded_size[1]}x{geometry.padded_size[0]}; it sees {request.size[1]}x{request.size[0]}. "
                "Make the proposals for these frames, or set size to the session's working size."
            )
        return tidy_proposals(
            place_proposals(stored, geometry, request.image),
            mask_threshold=self.mask_threshold,
            nms_iou=self.nms_iou,
            top_k=self.top_k,
        )

    def _path(self, index: int) -> Path | None:
        folder = Path(self.folder)
        if self.frame_names is None:
            files = sorted(folder.glob("*.npz"))
            return files[index] if index < len(files) else None
        return folder / f"{self.frame_names[index]}.npz" if index < len(self.frame_names) else None


def open_proposals(
    path: str | Path, frames: Sequence[str], *, needed: Sequence[str], size: WorkingSize
) -> FolderProposals:
    """Open a video's folder of proposals for a session; see ``vos_zoo.network.OpenSideInput``.

    Args:
        path: Folder that holds one ``.npz`` per frame, see ``vos-zoo proposals``.
        frames: Names of the frames that the session sees, from the first annotated one on.
        needed: Names of frames that must have a file; looked for now.
        size: Working size of the session.

    Raises:
        MissingFileError: If there is no such folder, or a needed file is missing.
        DataError: If the folder's index is damaged.
    """
    source = FolderProposals.open(path, frames, size)
    missing = [name for name in needed if not (source.folder / f"{name}.npz").is_file()]
    if missing:
        raise MissingFileError(
            f"{source.folder} has no proposals for {len(missing)} of {len(needed)} frames, the first of them "
            f"{missing[0]}.npz. Make them for every frame with `vos-zoo proposals`."
        )
    return source


def usable_tensors(stored: StoredProposals, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return boxes (n, 4), scores (n,) and grids (n, 28, 28) in [0, 1] on the device of ``like``.

    Boxes without area and scores that are not numbers are left out.
    """
    boxes = torch.from_numpy(stored.boxes).to(like.device)
    scores = torch.from_numpy(stored.scores).to(like.device)
    grids = torch.from_numpy(stored.grids).to(like.device).float() / 255
    is_valid = boxes.isfinite().all(dim=1) & scores.isfinite()
    is_valid &= (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return boxes[is_valid], scores[is_valid], grids[is_valid]


def place_proposals(stored: StoredProposals, geometry: FrameGeometry, like: torch.Tensor) -> Proposals:
    """Paste stored proposals into a padded working frame; leave out boxes without area and scores that are not numbers.

    Args:
        stored: Proposals in pixels of the original frame.
        geometry: From the original frame to the network's.
        like: Tensor on the device to use.
    """
    boxes, scores, grids = usable_tensors(stored, like)
    scale = [working / own for working, own in zip(geometry.working_size, geometry.frame_size, strict=True)]
    factor = boxes.new_tensor([scale[1], scale[0], scale[1], scale[0]])
    left, _, top, _ = geometry.padding
    boxes = boxes * factor + boxes.new_tensor([left, top, left, top])
    masks = paste_masks(grids, boxes, geometry.padded_size)
    return Proposals(boxes, scores, masks)


def store_proposals(proposals: Proposals, geometry: FrameGeometry) -> StoredProposals:
    """Turn proposals in a working frame into what lies on disk: the way back of ``place_proposals``.

    Args:
        proposals: In pixels of the network's input.
        geometry: From the original frame to the network's.
    """
    left, _, top, _ = geometry.padding
    scale = [own / working for working, own in zip(geometry.working_size, geometry.frame_size, strict=True)]
    boxes = proposals.boxes - proposals.boxes.new_tensor([left, top, left, top])
    boxes = boxes * boxes.new_tensor([scale[1], scale[0], scale[1], scale[0]])
    grids = pool_masks(proposals.masks, proposals.boxes, _GRID).squeeze(1).clamp(0, 1)
    return StoredProposals(
        geometry.frame_size,
        boxes.float().cpu().numpy(),
        proposals.scores.float().cpu().numpy(),
        np.zeros(len(proposals), np.int64),
        (grids * 255).round().to(torch.uint8).cpu().numpy(),
    )


def _check_members(path: Path) -> None:
    """Refuse arrays that are larger than proposals can be, before any of them is read."""
    with zipfile.ZipFile(path) as archive:
        excess = byte_excess(sum(member.file_size for member in archive.infolist()))
        if excess is not None:
            raise DataError(f"{path} is not a proposal file: {excess}.")
        for member in archive.infolist():
            with archive.open(member) as file:
                version = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(file)
            # NumPy would make room for the shape that the header declares, whatever follows it.
            if math.prod(shape) * dtype.itemsize > member.file_size:
                raise ValueError(f"{member.filename} declares the shape {shape} and is shorter")


def _check(stored: StoredProposals, where: str) -> None:
    count = len(stored.scores)
    expected: dict[str, tuple[NDArray[Any], tuple[int, ...], type[np.generic]]] = {
        "boxes": (stored.boxes, (count, 4), np.floating),
        "scores": (stored.scores, (count,), np.floating),
        "labels": (stored.labels, (count,), np.integer),
        "masks": (stored.grids, (count, _GRID, _GRID), np.uint8),
    }
    for name, (array, shape, kind) in expected.items():
        if array.shape != shape or not np.issubdtype(array.dtype, kind):
            raise DataError(
                f"{where} has {name} of shape {array.shape} and type {array.dtype}. Expected shape {shape} and "
                f"{kind.__name__}. Write the proposals again."
            )
    if min(stored.size) < 1:
        raise DataError(f"{where} is for frames of {stored.size[1]}x{stored.size[0]} pixels. Write it again.")
