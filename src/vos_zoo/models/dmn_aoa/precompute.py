"""Proposals of a whole video, made once and kept on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from vos_zoo.devices import find_device
from vos_zoo.errors import ConfigError, DataError, OutputExistsError
from vos_zoo.files import check_outputs, folder_lock
from vos_zoo.inference.geometry import FrameGeometry
from vos_zoo.media.annotations import Annotations
from vos_zoo.media.frames import FrameFolder
from vos_zoo.media.masks import MaskFolder
from vos_zoo.media.reader import open_video
from vos_zoo.models.load import load_model
from vos_zoo.weights.find import local_folder

from .detector import MaskRCNNProposals
from .features import fit_boxes, label_masks, tight_boxes
from .proposal_files import INDEX_FILE, StoredProposals, read_index, store_proposals, write_index, write_proposals
from .proposals import PropagatedProposals, ProposalRequest, Proposals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from vos_zoo.inference.geometry import WorkingSize
    from vos_zoo.media.frames import VideoFrame, VideoReader

__all__ = ["SOURCES", "ProposalReport", "propose_video"]

SOURCES = ("builtin", "maskrcnn")
"""Names of the sources; see :func:`propose_video`."""

_SUFFIX = ".npz"
_SETTINGS: dict[str, dict[str, Any]] = {
    # Copies of a mask overlap on purpose, so nothing is suppressed; they are ten per object at most.
    "builtin": {"mask_threshold": 0.4, "nms_iou": None, "top_k": 300},
    "maskrcnn": {"mask_threshold": 0.4, "nms_iou": 0.4, "top_k": 30},  # paper, Section 4.1
}


@dataclass(frozen=True)
class ProposalReport:
    """What a run did.

    Attributes:
        folder: The video's folder, one ``.npz`` per frame.
        frames: Frames that have a file now.
        proposals: Proposals that this run wrote.
    """

    folder: Path
    frames: int
    proposals: int


class Pictures(FrameFolder):
    """A folder of images of any sizes: a detector looks at each on its own."""

    def _check_size(self, image: NDArray[np.uint8], where: str) -> None:
        """Accept all."""


def propose_video(
    video: str | Path,
    out: str | Path,
    *,
    source: Literal["builtin", "maskrcnn"] = "builtin",
    masks: str | Path | None = None,
    model: str | Path = "rde",
    weights: str | Path = "COCO_V1",
    device: str | torch.device = "auto",
    size: WorkingSize | Literal["native"] = "native",
    resume: bool = False,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> ProposalReport:
    """Write the proposals of every frame of a video, for DMN-AOA.

    Args:
        video: A video file, or a folder of frames; for ``"maskrcnn"`` also a folder of unrelated images, such as
            COCO's, whose sizes may differ.
        out: Folder of proposals; the video gets a folder of its own name in it.
        source: ``"builtin"`` follows the objects of ``masks`` with a model of the zoo and proposes around the masks of
            the frame before, their parts and moved copies. ``"maskrcnn"`` finds instances with torchvision's detector.
        masks: For ``"builtin"``: one mask for the first frame, or a folder of masks named like frames.
        model: For ``"builtin"``: which model follows the objects.
        weights: For ``"maskrcnn"``: ``"COCO_V1"`` downloads torchvision's, a path reads a file.
        device: Where it runs.
        size: For ``"builtin"``: working size of the model, see ``vos_zoo.VideoSession``.
        resume: Keep files that exist; the built-in source follows the objects again all the same.
        overwrite: Replace files that exist.
        progress: Called with the number of finished frames and the number of all frames, after every frame.

    Raises:
        MissingFileError: If the video, the masks or the weights do not exist.
        VideoError: If the video cannot be read.
        MaskError: If a mask is not a map of ids or does not fit its frame.
        OutputExistsError: If the video has proposals in ``out`` and neither ``resume`` nor ``overwrite`` is given, or
            if they would lie among what is read.
        OutputInUseError: If another run writes the proposals of this video at this moment.
        DataError: If ``out`` holds proposals of another source.
        ConfigError: If arguments contradict each other.
        CheckpointError: If weights do not fit or cannot be downloaded.
    """
    if source not in SOURCES:
        raise ConfigError(f"Source is {source!r}. Expected one of {', '.join(SOURCES)}.")
    if resume and overwrite:
        raise ConfigError("Both resume and overwrite were given. Resume keeps finished files, overwrite replaces them.")
    if (masks is None) == (source == "builtin"):
        raise ConfigError(
            "The built-in source proposes around objects that it follows: give the mask of the first frame, or take a "
            "detector (`--source maskrcnn`)."
            if masks is None
            else f"Masks were given, but the source {source!r} looks at frames alone. Leave the masks out."
        )
    reader = Pictures(video) if source == "maskrcnn" and Path(video).is_dir() else open_video(video)
    root = Path(out)
    name = Path(video).resolve()
    folder = root / (name.name if name.is_dir() else name.stem)
    inputs = [path for path in (video, weights, masks, local_folder(model)) if path is not None]
    check_outputs([root, folder, *(folder / f"{frame}{_SUFFIX}" for frame in reader.names)], inputs)
    with folder_lock(folder):
        done = {path.stem for path in folder.glob(f"*{_SUFFIX}")}
        if done and not (resume or overwrite):
            raise OutputExistsError(
                f"{folder} holds proposals of {len(done)} frames. Choose another folder, continue with resume=True "
                "(`--resume`), or replace them with overwrite=True (`--overwrite`)."
            )
        generators = {
            "builtin": f"propagated masks of {model}",
            "maskrcnn": f"torchvision maskrcnn_resnet50_fpn_v2, {weights}",
        }
        generator, settings = generators[source], _SETTINGS[source]
        _check_index(root, generator, settings)
        found: Iterator[tuple[VideoFrame, StoredProposals | None]]
        if masks is not None:
            found = _follow(reader, masks, model, device, size)
        else:
            detector = MaskRCNNProposals(weights, device=find_device(device))
            skipped = done if resume else set()
            found = ((frame, None if frame.name in skipped else detector.detect(frame.image)) for frame in reader)
        root.mkdir(parents=True, exist_ok=True)
        # First, since files without their index are read with other thresholds.
        write_index(root, generator=generator, frames=_count(root), settings=settings)
        written = finished = 0
        for frame, stored in found:
            finished += 1
            if stored is not None and not (resume and frame.name in done):
                write_proposals(folder / f"{frame.name}{_SUFFIX}", stored)
                written += len(stored.scores)
            if progress is not None:
                progress(finished, len(reader))
        write_index(root, generator=generator, frames=_count(root), settings=settings)
        return ProposalReport(folder=folder, frames=finished, proposals=written)


def _follow(
    reader: VideoReader,
    masks: str | Path,
    model: str | Path,
    device: str | torch.device,
    size: WorkingSize | Literal["native"],
) -> Iterator[tuple[VideoFrame, StoredProposals]]:
    """Segment a video, and propose in every frame around the masks of the one before."""
    given = MaskFolder(masks, reader.names, all_names=reader.all_names)
    annotations = Annotations(given, reader.size, resize=False)
    annotations.check_first()
    session = load_model(model, device=device).session(size=size)
    return _propose(reader, annotations.get, session.step)


def _propose(
    reader: VideoReader, given: Callable[[str], NDArray[Any] | None], step: Callable[..., Any]
) -> Iterator[tuple[VideoFrame, StoredProposals]]:
    source = PropagatedProposals()
    previous = boxes = None
    for index, frame in enumerate(reader):
        found = None
        if previous is not None and boxes is not None:
            height, width = previous.shape[1:]
            request = ProposalRequest(index, 0, previous.new_zeros(3, 1, 1).expand(3, height, width), previous, boxes)
            found = source(request)
        if found is None:
            found, working = Proposals.none(reader.size, torch.zeros(0)), reader.size
        else:
            working = (found.masks.shape[1], found.masks.shape[2])
        yield frame, store_proposals(found, FrameGeometry(reader.size, working, (0, 0, 0, 0)))
        probabilities = step(frame.image, given(frame.name)).probabilities[1:].float()
        if len(probabilities):
            previous, boxes = probabilities, _move_boxes(boxes, probabilities)


def _move_boxes(last: Tensor | None, probabilities: Tensor) -> Tensor:
    """Return the box (O, 4) of every object: of its mask (O, h, w), or its last one where it is not seen."""
    boxes, is_seen = tight_boxes(label_masks(probabilities[None])[0])
    boxes = fit_boxes(boxes, (probabilities.shape[1], probabilities.shape[2]))
    kept = torch.zeros_like(boxes)
    if last is not None:
        kept[: len(last)] = last
    return torch.where(is_seen.unsqueeze(1), boxes, kept)


def _check_index(root: Path, generator: str, settings: dict[str, Any]) -> None:
    """Refuse to mix proposals that were made in different ways."""
    index = read_index(root) if root.is_dir() else None
    if index is not None and (index["generator"], index["settings"]) != (generator, settings):
        raise DataError(
            f"{root / INDEX_FILE} says that the proposals there come from {index['generator']!r}, these from "
            f"{generator!r}. Choose another folder for them."
        )


def _count(root: Path) -> int:
    return sum(1 for _ in root.glob(f"*/*{_SUFFIX}"))
