"""Proposals from disk for training clips: they follow the augmentation of their frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from vos_zoo.data.clips.dataset import FrameOrigin
from vos_zoo.data.clips.motion import source_positions
from vos_zoo.errors import DataError

from .proposal_files import index_settings, read_proposals, usable_tensors
from .proposals import ProposalRequest, Proposals, tidy_proposals


@dataclass(frozen=True)
class ClipProposals:
    """Proposals of the original frames, moved with them; boxes are tightened around the moved masks.

    Args:
        folder: Holds ``VIDEO/FRAME.npz`` for videos and ``PICTURE.npz`` for images, as ``vos-zoo proposals`` writes
            them.
        origins: Where every frame of every clip comes from.
        thresholds: Settings of ``tidy_proposals``.

    Raises:
        DataError: From a call, if a frame has no origin, or its file is for another size.
        MissingFileError: From a call, if a frame has no file.

    Source: DMM-Net, Zeng et al., ICCV 2019, and DMN-AOA, Liang et al., ICCV 2021, train on a detector's proposals.
    """

    folder: Path
    origins: Sequence[Sequence[FrameOrigin]]
    thresholds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of_batch(cls, folder: Path, origins: Sequence[Sequence[FrameOrigin]]) -> ClipProposals:
        """Open a folder with the thresholds that the index in it or beside it names."""
        return cls(folder, origins, index_settings(folder) or index_settings(folder.parent))

    def __call__(self, request: ProposalRequest) -> Proposals:
        """Return the proposals of one frame of a clip."""
        of_clip = self.origins[request.entry]
        if not of_clip:
            raise DataError(
                "A generated clip has no proposals on disk. Expected clips of images or videos; use other data, or "
                "`--model.training_proposals true`."
            )
        origin = of_clip[request.index]
        path = self.folder / f"{origin.name}.npz"
        stored = read_proposals(path)
        if stored.size != origin.size:
            raise DataError(
                f"{path} is for frames of {stored.size[1]}x{stored.size[0]} pixels, the frame has "
                f"{origin.size[1]}x{origin.size[0]}. Make the proposals from the frames that are trained on."
            )
        boxes, scores, grids = usable_tensors(stored, request.image)
        positions = source_positions(origin.matrix, request.size, origin.displacement)
        points = _mirrored(torch.from_numpy(positions).to(grids), origin.size)
        masks = sample_masks(grids, boxes, points + 0.5)
        return tidy_proposals(Proposals(boxes, scores, masks), **self.thresholds)  # type: ignore[arg-type]


def sample_masks(grids: Tensor, boxes: Tensor, points: Tensor) -> Tensor:
    """Look soft masks up at any points of their frame, as ``paste_masks`` does at the centres of its pixels.

    Args:
        grids: Soft masks on their boxes, shape (n, g, g).
        boxes: (x1, y1, x2, y2) in pixels, shape (n, 4), of positive size.
        points: Positions (x, y) in pixels, the first pixel's centre at 0.5, shape (H, W, 2).

    Returns:
        Shape (n, H, W), 0 outside of the boxes.
    """
    low, high = boxes[:, None, None, :2], boxes[:, None, None, 2:]
    place = 2 * (points - low) / (high - low) - 1
    return F.grid_sample(grids.unsqueeze(1), place, padding_mode="zeros", align_corners=False).squeeze(1)


def _mirrored(positions: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring positions beyond the border back as frames and labels are mirrored there."""
    last = positions.new_tensor([size[1] - 1, size[0] - 1]).clamp(min=1)
    return last - (positions.remainder(2 * last) - last).abs()
