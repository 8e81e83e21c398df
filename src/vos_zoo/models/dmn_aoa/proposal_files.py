"""Proposals on disk: one compressed NumPy archive per frame."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from vos_zoo.errors import DataError, MissingFileError
from vos_zoo.inference.geometry import FrameGeometry

from .proposals import ProposalRequest, Proposals, paste_masks, tidy_proposals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_VERSION = 1
_GRID = 28
_INDEX = "proposals.json"


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
    path.parent.mkdir(parents=True, exist_ok=True)
    order = np.argsort(-proposals.scores, kind="stable")
    arrays: dict[str, Any] = {
        "version": np.int32(_VERSION),
        "size": np.asarray(proposals.size, np.int32),
        "boxes": proposals.boxes[order].astype(np.float32),
        "scores": proposals.scores[order].astype(np.float32),
        "labels": proposals.labels[order].astype(np.int64),
        "masks": proposals.grids[order],
    }
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)
    temporary.replace(path)


def write_index(root: str | Path, *, generator: str, frames: int, settings: dict[str, Any]) -> None:
    """Write ``proposals.json``, which says how a folder of proposals was made.

    Args:
        root: Folder of the videos' folders.
        generator: Name of the source and of its weights.
        frames: Number of files.
        settings: Thresholds and the like.
    """
    content = {"format": _VERSION, "generator": generator, "frames": frames, "settings": settings}
    (Path(root) / _INDEX).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_proposals(path: str | Path) -> StoredProposals:
    """Read one frame's proposals.

    Raises:
        MissingFileError: If the file does not exist.
        DataError: If it is no proposal file, or its arrays do not fit together.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path} does not exist. Expected the proposals of a frame, one `.npz` file per frame.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is no readable NumPy archive ({error}). Write the proposals again.") from error
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
        short_side: Working size of the session, as given to it; None if frames keep their size.
        first_frame: Number of the video's first annotated frame.
        missing: Whether a frame without file is an ``error`` or has no proposals (``empty``).
        mask_threshold: See ``tidy_proposals``.
        nms_iou: See ``tidy_proposals``.
        top_k: See ``tidy_proposals``.
    """

    folder: Path
    frame_names: Sequence[str] | None = None
    short_side: int | None = 480
    first_frame: int = 0
    missing: Literal["error", "empty"] = "error"
    mask_threshold: float = 0.4
    nms_iou: float = 0.4
    top_k: int = 30

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
        geometry = FrameGeometry.fit(stored.size, self.short_side, 16)
        if geometry.padded_size != request.size:
            raise DataError(
                f"{path} is for frames of {stored.size[1]}x{stored.size[0]} pixels, which the network would see as "
                f"{geometry.padded_size[1]}x{geometry.padded_size[0]}; it sees {request.size[1]}x{request.size[0]}. "
                "Make the proposals for these frames, or set short_side to the session's size."
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


def place_proposals(stored: StoredProposals, geometry: FrameGeometry, like: torch.Tensor) -> Proposals:
    """Paste stored proposals into a padded working frame; leave out boxes without area and scores that are no number.

    Args:
        stored: Proposals in pixels of the original frame.
        geometry: From the original frame to the network's.
        like: Tensor on the device to use.
    """
    boxes = torch.from_numpy(stored.boxes).to(like.device)
    scores = torch.from_numpy(stored.scores).to(like.device)
    grids = torch.from_numpy(stored.grids).to(like.device).float() / 255
    scale = [working / own for working, own in zip(geometry.working_size, geometry.frame_size, strict=True)]
    factor = boxes.new_tensor([scale[1], scale[0], scale[1], scale[0]])
    left, _, top, _ = geometry.padding
    boxes = boxes * factor + boxes.new_tensor([left, top, left, top])
    is_valid = boxes.isfinite().all(dim=1) & scores.isfinite()
    is_valid &= (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    boxes, scores, grids = boxes[is_valid], scores[is_valid], grids[is_valid]
    masks = paste_masks(grids, boxes, geometry.padded_size)
    return Proposals(boxes, scores, masks)


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
