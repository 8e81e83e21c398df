"""Blending a forward and a backward pass between annotated frames, the backward one kept on the disk meanwhile."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from vos_zoo.files import atomic_path, is_leftover, parse_json
from vos_zoo.inference.objects import id_type
from vos_zoo.inference.result import FrameResult, label_pixels
from vos_zoo.media.mask_values import VOID
from vos_zoo.segmentation.passes import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

    from vos_zoo.media.annotations import Annotations
    from vos_zoo.media.mask_decoding import Mask

__all__ = ["Blender", "KeptPass", "blend"]

_SUFFIX = ".pass"
_FAST = 1  # of zlib's levels: soft masks are mostly 0 and 255, which every level packs well


class KeptPass:
    """Soft masks of a pass on the disk: 8 bits per pixel of the working size and object, packed.

    Args:
        folder: Where they are written; made with the first one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __contains__(self, name: str) -> bool:
        """Tell whether a frame is kept."""
        return self._path(name).is_file()

    def write(self, result: FrameResult) -> None:
        """Keep the result of a frame under its name; the file appears whole or not at all."""
        planes = (result.probabilities[1:] * 255).round().to(torch.uint8).cpu().numpy()
        head = json.dumps({"ids": result.object_ids, "shape": planes.shape}).encode()
        with atomic_path(self._path(result.name)) as partial:
            partial.write_bytes(head + b"\n" + zlib.compress(planes.tobytes(), _FAST))

    def read(self, name: str) -> tuple[tuple[int, ...], Tensor]:
        """Return the objects of a frame and their probabilities, float32 (O, h, w) on the CPU."""
        head, packed = self._path(name).read_bytes().split(b"\n", 1)
        entry = parse_json(head)
        planes = np.frombuffer(bytearray(zlib.decompress(packed)), np.uint8).reshape(entry["shape"])
        return tuple(entry["ids"]), torch.from_numpy(planes).float() / 255

    def mask(self, name: str, size: tuple[int, int]) -> Mask:
        """Return the mask (H, W) that the kept probabilities of a frame make."""
        ids, planes = self.read(name)
        return label_pixels(torch.cat([1 - planes.sum(dim=0, keepdim=True), planes]), ids, size)

    def remove(self) -> None:
        """Remove all that was kept, and the folder if nothing else is in it."""
        if not self.folder.is_dir():
            return
        for path in list(self.folder.iterdir()):
            if path.suffix == _SUFFIX or is_leftover(path.name):
                path.unlink()
        if not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}{_SUFFIX}"


@dataclass(frozen=True)
class Blender:
    """Blends the results of a forward pass with those that the backward pass left.

    An object's weight moves linearly from the pass that comes from its last annotation to the one that comes from its
    next. An annotation is a mask that shows the object, or an absence of it.

    Attributes:
        kept: Results of the backward pass.
        annotations: What the user gave.
        positions: Position of every frame, by name.
        annotated: Positions of each object's annotations, rising.
    """

    kept: KeptPass
    annotations: Annotations
    positions: Mapping[str, int]
    annotated: Mapping[int, Sequence[int]]

    @classmethod
    def between(cls, kept: KeptPass, annotations: Annotations, names: Sequence[str]) -> Blender:
        """Read all given masks once, to know where every object was annotated.

        Args:
            kept: Results of the backward pass.
            annotations: What the user gave.
            names: Names of all frames, in their order.
        """
        positions = {name: position for position, name in enumerate(names)}
        annotated: dict[int, set[int]] = {}
        for name in {*annotations.frames, *annotations.absences} & positions.keys():
            for object_id in annotations.ids(name):
                annotated.setdefault(object_id, set()).add(positions[name])
        return cls(kept, annotations, positions, {key: sorted(found) for key, found in annotated.items()})

    def forward_weight(self, object_id: int, name: str) -> float:
        """Say how much the forward pass counts for an object that both passes know."""
        position = self.positions[name]
        before, after = nearest(self.annotated.get(object_id, ()), position)
        if before is None or after is None:
            return 0.5 if before is after else float(after is None)
        return 0.5 if before == after else (after - position) / (after - before)

    def blend(self, result: FrameResult) -> FrameResult:
        """Blend the result of the forward pass with the one that was kept of the same frame.

        Args:
            result: Result of the forward pass.

        Returns:
            The result of both; what the user gave for the frame stays exactly as given.
        """
        ids, backward = self.kept.read(result.name)
        weights = {object_id: self.forward_weight(object_id, result.name) for object_id in ids}
        all_ids, probabilities = blend(
            (result.object_ids, result.probabilities), (ids, backward.to(result.probabilities.device)), weights
        )
        given = self.annotations.get(result.name)
        is_open = None if given is None or not (given == VOID).any() else given == VOID
        mask = label_pixels(
            probabilities,
            all_ids,
            (result.mask.shape[0], result.mask.shape[1]),
            given=given,
            is_open=is_open,
            annotated=self.annotations.ids(result.name),
            dtype=np.promote_types(result.mask.dtype, id_type(all_ids)),
        )
        return replace(result, mask=mask, object_ids=all_ids, probabilities=probabilities)


def blend(
    forward: tuple[tuple[int, ...], Tensor], backward: tuple[tuple[int, ...], Tensor], weights: Mapping[int, float]
) -> tuple[tuple[int, ...], Tensor]:
    """Blend the probabilities of two passes, object by object.

    An object that only one pass knows keeps its probabilities there. Background is what all objects leave; where they
    claim more than everything, they share it.

    Args:
        forward: Ids, and probabilities (1 + O, h, w), background first.
        backward: Ids, and probabilities (O, h, w) without background.
        weights: Of the forward pass, 0-1, for each object of the backward pass.

    Returns:
        Ids, those of the forward pass first, and probabilities (1 + O, h, w), which sum to 1.

    Example:
        >>> forward = (1,), torch.tensor([[[0.2]], [[0.8]]])
        >>> backward = (1, 2), torch.tensor([[[0.4]], [[0.1]]])
        >>> ids, mixed = blend(forward, backward, {1: 0.5})
        >>> ids, [round(value, 2) for value in mixed.flatten().tolist()]
        ((1, 2), [0.3, 0.6, 0.1])
    """
    ids = (*forward[0], *(object_id for object_id in backward[0] if object_id not in forward[0]))
    mixed = forward[1].new_zeros(1 + len(ids), *forward[1].shape[1:])
    mixed[1 : len(forward[1])] = forward[1][1:]
    for object_id, plane in zip(*backward, strict=True):
        place = 1 + ids.index(object_id)
        if object_id in forward[0]:
            mixed[place].mul_(weights[object_id]).add_(plane, alpha=1 - weights[object_id])
        else:
            mixed[place] = plane
    claimed = mixed[1:].sum(dim=0)
    mixed[1:] /= claimed.clamp(min=1)
    mixed[0] = (1 - claimed).clamp(min=0)
    return ids, mixed
