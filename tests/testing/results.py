"""Results as a run leaves them, and videos with transparency as a browser or an editor reads them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from scipy.ndimage import distance_transform_edt

from vos_zoo.media.masks import write_mask
from vos_zoo.segmentation.journal import Journal
from vos_zoo.segmentation.passes import plan_passes

SIZE = (48, 64)


def moving_masks(frames: int = 8, size: tuple[int, int] = SIZE, ids: tuple[int, ...] = (1, 2)) -> list[np.ndarray]:
    """Make masks of blocks, one below the other, that move a pixel to the right per frame."""
    height, width = size
    kind = np.uint8 if max(ids) < 256 else np.int32
    masks = [np.zeros(size, kind) for _ in range(frames)]
    rows = height // len(ids)
    for number, mask in enumerate(masks):
        for place, object_id in enumerate(ids):
            mask[place * rows + 2 : (place + 1) * rows - 2, number + 2 : number + width // 2] = object_id
    return masks


def write_results(folder: Path, masks, video: Path | str, *, names=None, finished=None, **selection) -> Path:
    """Write masks and the ``run.json`` of a run that made them; ``selection`` is start, end, every, levels."""
    settings = {"video": str(video), "start": None, "end": None, "every": 1, "levels": None, **selection}
    names = names or [f"{number:05d}" for number in range(len(masks))]
    folder.mkdir(parents=True)
    journal = Journal(folder, settings)
    journal.begin(plan_passes("forward", [0], len(names)))
    for number, (name, mask) in enumerate(zip(names, masks, strict=True)):
        write_mask(folder / f"{name}.png", mask)
        if finished is None or number < finished:
            journal.note(name, None)
    if finished is None:
        journal.complete()
    return folder


def read_transparent(path: Path) -> tuple[list[np.ndarray], list[Fraction]]:
    """Decode a video with its opacity: RGBA frames and their times. FFmpeg's own VP9 decoder would drop it."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        decoder = stream.codec_context
        if decoder.name == "vp9":
            decoder = av.codec.CodecContext.create("libvpx-vp9", "r")
        packets = list(container.demux(stream))
        frames = [frame for packet in packets for frame in decoder.decode(packet)]
        # One thread: FFmpeg 8 leaves wrong pixels in formats of 10 bits with more.
        pictures = [frame.reformat(format="rgba", src_colorspace="itu709", threads=1).to_ndarray() for frame in frames]
        return pictures, [frame.pts * stream.time_base for frame in frames]


def over_chequers(rgba: np.ndarray) -> np.ndarray:
    """Lay a transparent picture over a chequered ground of squares of 4 pixels."""
    rows, columns = np.mgrid[: rgba.shape[0], : rgba.shape[1]]
    ground = np.where((rows // 4 + columns // 4) % 2, 200, 100)[..., None]
    opacity = rgba[..., 3:].astype(float) / 255
    return opacity * rgba[..., :3] + (1 - opacity) * ground


def expected_opacity(level: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The opacity that soft edges have in frames of up to 250 pixels, where they reach two pixels far."""
    depth, height = distance_transform_edt(inside), distance_transform_edt(~inside)
    ramp = np.where(inside, np.maximum(level, 255 * (depth - 1) / 2), np.minimum(level, 255 * (3 - height) / 2))
    return np.rint(np.clip(ramp, 0, 255)).astype(np.uint8)
