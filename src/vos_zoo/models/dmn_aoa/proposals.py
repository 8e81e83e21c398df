"""Proposals: where objects may be in a frame, and sources that need nothing but the video itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import nms

from vos_zoo.errors import ShapeError

from .features import tight_boxes


@dataclass(frozen=True)
class Proposals:
    """Possible objects of one frame; n may be 0.

    Args:
        boxes: (x1, y1, x2, y2) in pixels, right and bottom exclusive, float32 (n, 4).
        scores: Confidence, float32 (n,).
        masks: Soft masks in [0, 1], float32 (n, H, W).

    Raises:
        ShapeError: If the numbers of boxes, scores and masks differ.
    """

    boxes: Tensor
    scores: Tensor
    masks: Tensor

    def __post_init__(self) -> None:
        count = len(self.scores)
        if self.boxes.shape != (count, 4) or self.scores.ndim != 1 or self.masks.ndim != 3 or len(self.masks) != count:
            raise ShapeError(
                f"Proposals have boxes {tuple(self.boxes.shape)}, scores {tuple(self.scores.shape)} and masks "
                f"{tuple(self.masks.shape)}. Expected (n, 4), (n,) and (n, H, W)."
            )

    def __len__(self) -> int:
        """Number of proposals."""
        return len(self.scores)

    @classmethod
    def none(cls, size: tuple[int, int], like: Tensor) -> Proposals:
        """Return no proposals for a frame of ``size`` = (H, W), on the device of ``like``."""
        return cls(like.new_zeros(0, 4), like.new_zeros(0), like.new_zeros(0, *size))


@dataclass(frozen=True)
class ProposalRequest:
    """What a source may look at.

    Args:
        index: Frames since the first annotated one.
        entry: Which clip of the batch it belongs to, 0 in a session.
        image: The frame as the network sees it, ImageNet-normalised and padded, float32 (3, H, W).
        previous: Object probabilities of the frame before, float32 (O, H, W).
        boxes: Last box of every object in pixels, float32 (O, 4).
    """

    index: int
    entry: int
    image: Tensor
    previous: Tensor
    boxes: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frame in pixels."""
        return self.image.shape[1], self.image.shape[2]


class ProposalSource(Protocol):
    """Proposes objects of a frame, in pixels of the network's input."""

    def __call__(self, request: ProposalRequest) -> Proposals:
        """Return the frame's proposals."""


def tidy_proposals(
    proposals: Proposals, *, mask_threshold: float = 0.4, nms_iou: float | None = 0.4, top_k: int = 30
) -> Proposals:
    """Tighten boxes around masks, drop what is degenerate or double, keep the best.

    Boxes become the tight boxes of mask pixels above ``mask_threshold``; a proposal without such a pixel, or with a
    score or mask that is not a finite number, goes. Of proposals whose boxes overlap more than ``nms_iou`` the best one
    stays, whatever its category.

    Args:
        proposals: Any proposals.
        mask_threshold: Least probability of a pixel of the object.
        nms_iou: Overlap of boxes; None keeps overlapping proposals.
        top_k: Most proposals.

    Returns:
        Proposals by falling score.

    Source: DMN-AOA, Liang et al., ICCV 2021, Section 4.1 (top 30, 0.4); steps as in DMM-Net, Zeng et al., ICCV 2019.
    """
    boxes, is_valid = tight_boxes(proposals.masks > mask_threshold)
    is_valid = is_valid & proposals.scores.isfinite() & proposals.masks.isfinite().flatten(1).all(dim=1)
    chosen = is_valid.nonzero().squeeze(1)
    boxes, scores = boxes[chosen].to(proposals.boxes.dtype), proposals.scores[chosen]
    if nms_iou is None:
        order = scores.argsort(descending=True, stable=True)
    else:
        order = nms(boxes.float(), scores.float(), nms_iou)
    order = order[:top_k]
    return Proposals(boxes[order], scores[order], proposals.masks[chosen[order]])


def paste_masks(grids: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Paste mask grids into their boxes.

    The value at a pixel's centre is the bilinear interpolation of the grid stretched over the box, whose values lie at
    the centres of its cells; outside of the grid it is zero.

    Args:
        grids: Soft masks, shape (n, g, g).
        boxes: (x1, y1, x2, y2) in pixels, shape (n, 4), of positive size.
        size: Height and width of the frame.

    Returns:
        Shape (n, H, W).

    Example:
        >>> paste_masks(torch.ones(1, 2, 2), torch.tensor([[1.0, 0.0, 3.0, 2.0]]), (2, 4))[0].tolist()
        [[0.0, 1.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0]]
    """
    x1, y1, x2, y2 = boxes.to(grids.dtype).unbind(dim=1)
    rows = _interpolation(y1, y2, size[0], grids.shape[1])
    columns = _interpolation(x1, x2, size[1], grids.shape[2])
    return rows @ grids @ columns.mT


def _interpolation(low: Tensor, high: Tensor, pixels: int, cells: int) -> Tensor:
    """Return weights (n, pixels, cells) of linear interpolation along one side."""
    centres = torch.arange(pixels, device=low.device, dtype=low.dtype) + 0.5
    extent = (high - low).clamp(min=torch.finfo(low.dtype).eps).unsqueeze(1)
    position = (centres - low.unsqueeze(1)) / extent * cells - 0.5
    nodes = torch.arange(cells, device=low.device, dtype=low.dtype)
    return (1 - (position.unsqueeze(2) - nodes).abs()).clamp(min=0)


@dataclass(frozen=True)
class PropagatedProposals:
    """Propose the previous masks, their parts, and moved and resized copies; needs no detector and no file.

    Proposals are class-agnostic and shared by all objects. An object that was not seen in the previous frame is
    proposed as the ellipse in its last box, so that it can be found again where it left.

    Args:
        shift: Distance by which copies are moved, as share of the box's sides.
        zoom: Factor by which a copy is larger, and another one smaller.
        least_part: Least share of a mask's pixels that a connected component must have.
        max_parts: Most components proposed for each object.
    """

    shift: float = 0.15
    zoom: float = 1.15
    least_part: float = 0.1
    max_parts: int = 3

    def __call__(self, request: ProposalRequest) -> Proposals:
        """Return the proposals of one frame, ordered by score."""
        masks, scores = [], []
        previous = request.previous.detach().float()
        boxes, is_seen = tight_boxes(previous > 0.5)
        for plane, (mask, box) in enumerate(zip(previous, boxes, strict=True)):
            if is_seen[plane]:
                variants = [(mask, 1.0), *((part, 0.9) for part in self._parts(mask)), *self._copies(mask, box)]
            elif _area(request.boxes[plane]) > 0:
                variants = [(_ellipse(request.boxes[plane].float(), request.size), 0.5)]
            else:
                continue
            masks += [variant for variant, _ in variants]
            scores += [score for _, score in variants]
        if not masks:
            return Proposals.none(request.size, previous)
        stacked = torch.stack(masks)
        found = Proposals(previous.new_zeros(len(masks), 4), previous.new_tensor(scores), stacked)
        return tidy_proposals(found, nms_iou=None, top_k=len(masks))

    def _parts(self, mask: Tensor) -> list[Tensor]:
        """Return connected components of a mask that has several."""
        import cv2

        binary = (mask > 0.5).to(torch.uint8).cpu().numpy()
        count, labels, statistics, _ = cv2.connectedComponentsWithStats(binary)
        areas = [(int(statistics[index, cv2.CC_STAT_AREA]), index) for index in range(1, count)]
        least = self.least_part * sum(area for area, _ in areas)
        large = sorted((entry for entry in areas if entry[0] >= least), reverse=True)[: self.max_parts]
        if len(areas) < 2:
            return []
        on_device = torch.from_numpy(labels).to(mask.device)
        return [mask * (on_device == index) for _, index in large]

    def _copies(self, mask: Tensor, box: Tensor) -> list[tuple[Tensor, float]]:
        """Return copies of a mask, moved in four directions and resized about the box's centre."""
        size = mask.shape
        x1, y1, x2, y2 = box.tolist()
        right, down = self.shift * (x2 - x1), self.shift * (y2 - y1)
        centre = ((x1 + x2) / 2, (y1 + y2) / 2)
        moves = [(1.0, right, 0.0), (1.0, -right, 0.0), (1.0, 0.0, down), (1.0, 0.0, -down)]
        moves += [(self.zoom, 0.0, 0.0), (1 / self.zoom, 0.0, 0.0)]
        thetas = torch.stack([_inverse_motion(move, centre, (size[0], size[1])) for move in moves]).to(mask)
        grid = F.affine_grid(thetas, [len(moves), 1, *size], align_corners=False)
        source = mask.expand(len(moves), 1, *size)
        moved = F.grid_sample(source, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        return [(copy[0], 0.8) for copy in moved]


@dataclass(frozen=True)
class TrueProposals:
    """Proposals made from true masks, as a good detector would find them: for training and tests.

    Every object is proposed as it is and as moved copies; boxes elsewhere stand for other things in the frame.

    Args:
        masks: True object masks (B, T, O, H, W), 0 or 1.
        copies: Moved copies of every object.
        distractors: Random ellipses per frame.
        seed: Seed of the copies and distractors.
    """

    masks: Tensor
    copies: int = 2
    distractors: int = 4
    seed: int = 0

    def __call__(self, request: ProposalRequest) -> Proposals:
        """Return the proposals of one frame."""
        height, width = request.size
        generator = torch.Generator().manual_seed(self.seed * 7919 + request.index * 101 + request.entry)
        truth = self.masks[request.entry, request.index].float()
        found = [truth]
        for _ in range(self.copies):
            down, right = (
                int(v)
                for v in torch.randint(-max(height, width) // 8, max(height, width) // 8 + 1, (2,), generator=generator)
            )
            found.append(truth.roll((down, right), dims=(1, 2)))
        corners = torch.rand(self.distractors, 4, generator=generator)
        centre, half = corners[:, :2], 0.05 + 0.15 * corners[:, 2:]
        scale = torch.tensor([width, height], dtype=torch.float32)
        boxes = torch.cat([(centre - half) * scale, (centre + half) * scale], dim=1).to(truth.device)
        ellipses = [_ellipse(box, request.size) for box in boxes]
        masks = torch.cat([*found, torch.stack(ellipses)]) if ellipses else torch.cat(found)
        scores = torch.rand(len(masks), generator=generator).to(truth.device)
        return tidy_proposals(Proposals(truth.new_zeros(len(masks), 4), scores, masks), nms_iou=None, top_k=len(masks))


@dataclass(frozen=True)
class JoinedProposals:
    """The proposals of several sources together."""

    sources: tuple[ProposalSource, ...]

    def __call__(self, request: ProposalRequest) -> Proposals:
        """Return all proposals, source after source."""
        found = [source(request) for source in self.sources]
        return Proposals(
            torch.cat([part.boxes for part in found]),
            torch.cat([part.scores for part in found]),
            torch.cat([part.masks for part in found]),
        )


def _area(box: Tensor) -> float:
    x1, y1, x2, y2 = box.tolist()
    return float(max(0.0, x2 - x1) * max(0.0, y2 - y1))


def _ellipse(box: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the ellipse that fills a box as a mask (H, W)."""
    x1, y1, x2, y2 = box.unbind()
    rows = torch.arange(size[0], device=box.device, dtype=box.dtype).unsqueeze(1) + 0.5
    columns = torch.arange(size[1], device=box.device, dtype=box.dtype) + 0.5
    vertical = (rows - (y1 + y2) / 2) / ((y2 - y1) / 2).clamp(min=0.5)
    horizontal = (columns - (x1 + x2) / 2) / ((x2 - x1) / 2).clamp(min=0.5)
    return (vertical.square() + horizontal.square() <= 1).float()


def _inverse_motion(move: tuple[float, float, float], centre: tuple[float, float], size: tuple[int, int]) -> Tensor:
    """Return affine_grid's matrix for zooming about ``centre`` and moving by pixels (right, down)."""
    zoom, right, down = move
    # Output pixel p shows input pixel centre + (p - centre - move) / zoom, here in coordinates from -1 to 1.
    rows = []
    for axis, (offset, middle, side) in enumerate(((right, centre[0], size[1]), (down, centre[1], size[0]))):
        origin = 2 * middle / side - 1
        row = [0.0, 0.0, origin - (origin + 2 * offset / side) / zoom]
        row[axis] = 1 / zoom
        rows.append(row)
    return torch.tensor(rows)
