"""Annotation files for the tests of ``interchange``: samples of tools, exports of masks, and random masks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from vos_zoo.errors import MaskError
from vos_zoo.interchange.exporter import ExportedVideo, ResultFrame
from vos_zoo.interchange.opening import open_masks
from vos_zoo.interchange.reading import MaskReading

SAMPLES = Path(__file__).parent.parent / "interchange" / "samples"
SIZE = (24, 40)
TRUTH = [np.asarray(Image.open(SAMPLES / f"truth_{number:05d}.png")) for number in range(3)]


def names(count: int) -> list[str]:
    return [f"{number:05d}" for number in range(count)]


def opened(path, count: int = 3, size=SIZE, *, all_names=None, resize: bool = False, **reading):
    """Open masks of a video of some frames."""
    frames = all_names or names(count)
    return open_masks(path, frames, size, resize=resize, reading=MaskReading(**reading) if reading else None)


def masks_in(path, count: int = 3, size=SIZE, **options) -> dict[str, np.ndarray]:
    """Read all masks, by the names of their frames."""
    given = opened(path, count, size, **options)
    return {name: given.get(name) for name in given.frames}


def export(exporter, path: Path, masks, *, labels=None) -> ExportedVideo:
    """Write masks of the frames 0, 1, …; objects are those that are there."""
    frames = names(len(masks))
    objects = tuple(sorted({int(value) for mask in masks for value in np.unique(mask)} - {0}))
    files = [f"{name}.jpg" for name in frames]
    video = ExportedVideo("clip", masks[0].shape, frames, list(range(len(masks))), files, objects, labels or {})
    with exporter(path, video) as opened_exporter:
        for number, (name, mask) in enumerate(zip(frames, masks, strict=True)):
            opened_exporter.write(ResultFrame(number, name, None, mask, None, lambda: None))
    return video


def random_clips(highest: int = 4):
    """Clips of one to three masks of one size, from noise to plain."""
    shapes = st.tuples(st.integers(1, 3), st.integers(1, 12), st.integers(1, 12))
    return shapes.flatmap(lambda shape: arrays(np.uint8, shape, elements=st.integers(0, highest))).filter(np.any)


@contextlib.contextmanager
def named_errors(word: str, kind: type[Exception] = MaskError) -> Iterator[None]:
    """Allow errors of a kind whose message holds a word; nothing else."""
    try:
        yield
    except kind as error:
        if word not in str(error):
            raise AssertionError(f"no {word!r} in {error}") from error


def assert_survives(exporter, path: Path, masks, **options) -> None:
    """Check that reading gives what was written, pixel by pixel; a frame without objects has no mask."""
    masks = list(masks)
    export(exporter, path, masks)
    found = masks_in(path, len(masks), masks[0].shape, **options)
    assert list(found) == [name for name, mask in zip(names(len(masks)), masks, strict=True) if mask.any()]
    for name, mask in found.items():
        np.testing.assert_array_equal(mask, masks[int(name)])
