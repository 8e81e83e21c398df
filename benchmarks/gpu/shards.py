"""Packed training videos for the steps that read some: those that the user has, or generated ones."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common import Run

from vos_zoo.data.clips.shapes import moving_shapes
from vos_zoo.data.layouts.davis import DavisVideos
from vos_zoo.data.layouts.packed import pack_videos
from vos_zoo.data.modules.packed import PackedDataModule
from vos_zoo.media.masks import write_mask
from vos_zoo.media.overlay import write_image

WORKERS = 15
_VIDEOS, _FRAMES, _SIZE = 24, 8, (480, 854)  # about 40 MiB


@contextmanager
def shards(run: Run) -> Iterator[Path]:
    """Give a folder of shards."""
    if run.shards is not None:
        yield run.shards
        return
    with tempfile.TemporaryDirectory() as name:
        videos, frames, size = (2, 4, (48, 64)) if run.is_dry else (_VIDEOS, _FRAMES, _SIZE)
        source, packed = Path(name) / "davis", Path(name) / "shards"
        for number in range(videos):
            video = moving_shapes(frames, *size, num_objects=2, rng=number)
            for index, (image, mask) in enumerate(zip(video.frames, video.masks, strict=True)):
                file = f"{number:03d}/{index:05d}"
                write_image(source / "JPEGImages" / "480p" / f"{file}.jpg", image)
                write_mask(source / "Annotations" / "480p" / f"{file}.png", mask)
        pack_videos(DavisVideos(source), packed, source=source)
        yield packed


def clips(run: Run, folder: Path, batch: int) -> PackedDataModule:
    """Make clips of five frames from shards, in processes that read ahead."""
    data = PackedDataModule(
        str(folder), batch_size=batch, crop_size=48 if run.is_dry else 384, num_frames=3 if run.is_dry else 5,
        samples_per_epoch=1000 * batch, num_workers=0 if run.is_dry else WORKERS,
    )  # fmt: skip
    data.setup("fit")
    return data
