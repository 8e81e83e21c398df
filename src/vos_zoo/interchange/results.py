"""Masks of one video on disk, matched with the video they belong to, and checked before they are used."""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vos_zoo.errors import ConfigError, MaskError, MissingFileError, UsageError, VideoError
from vos_zoo.files import local_path, parse_json
from vos_zoo.interchange.exporter import ExportedVideo, ResultFrame
from vos_zoo.interchange.probabilities import ProbabilityReader
from vos_zoo.media.frames import FrameFolder, VideoFrame, VideoReader
from vos_zoo.media.mask_values import VoidChoice
from vos_zoo.media.masks import MaskFolder, mask_files, mask_ids
from vos_zoo.media.reader import open_video
from vos_zoo.run_file import RUN_FILE

__all__ = ["Results"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Run:
    """What ``run.json`` says about the masks beside it."""

    video: str | None
    selection: Mapping[str, Any]
    finished: int | None  # steps; None if all are
    passes: list[tuple[int, int]] | None  # first and last position of each; None for one pass forwards

    def is_done(self, count: int) -> list[bool]:
        """Say of so many frames whose masks are finished: those that no step is left for."""
        if self.finished is None:
            return [True] * count
        passes = [(0, count - 1)] if self.passes is None else self.passes
        steps = [
            position
            for first, last in passes
            for position in (range(first, last + 1) if first <= last else range(first, last - 1, -1))
        ]
        done, left = set(steps[: self.finished]), set(steps[self.finished :])
        return [position in done and position not in left for position in range(count)]


class Results:
    """A folder of masks, and the video they belong to.

    Args:
        path: A folder that ``segment_video`` wrote, or any folder of masks named like the video's frames.
        video: The video; None takes the one that the folder's ``run.json`` names, if that is still there.
        needs_video: Whether it is an error if there is no video.
        void: The value of pixels without an opinion, see :func:`vos_zoo.read_mask`. Masks that ``segment_video`` wrote
            have none.

    Attributes:
        inputs: Files and folders that are read.

    Raises:
        MissingFileError: If the folder, a mask of a finished frame, or a video that is needed is not there.
        VideoError: If the video cannot be read.
        MaskError: If the folder holds no masks, or masks that match no frame.
        ConfigError: If ``run.json`` is damaged.
    """

    def __init__(
        self, path: str | Path, *, video: str | Path | None = None, needs_video: bool = False, void: VoidChoice = "auto"
    ) -> None:
        self.path = local_path(path)
        if not self.path.is_dir():
            raise MissingFileError(
                f"`{path}` is a file. Give the folder with the masks of all frames."
                if self.path.exists()
                else f"There is no folder `{path}`. Give a folder that `vos-zoo segment` wrote, or any folder of masks."
            )
        run = _read_run(self.path / RUN_FILE)
        self._reader = _open(self.path, run, video, needs_video)
        if self._reader is None:
            names: Sequence[str] = [file.stem for file in mask_files(self.path)]
            all_names = names
        else:
            names, all_names = self._reader.names, self._reader.all_names
        total = len(names)
        if run is not None:
            names = [name for name, is_done in zip(names, run.is_done(total), strict=True) if is_done]
        if len(names) < total:
            _logger.warning(
                "The run in `%s` has stopped: %d of %d frames are finished, and these are exported.",
                self.path, len(names), total,
            )  # fmt: skip
        if not names:
            raise MaskError(f"The run in `{self.path}` has not finished any frame. Continue it with `--resume`.")
        # A void value keeps 255 an id like any other.
        self._masks = MaskFolder(self.path, names, all_names=all_names, void=void if run is None else 0)
        missing = [name for name in names if name not in self._masks] if run is not None else []
        if missing:
            raise MissingFileError(
                f"{len(missing)} masks of finished frames are missing in `{self.path}`, such as {missing[0]}.png. "
                "Segment the video again, or remove run.json to export the masks that are there."
            )
        self._names = [name for name in names if name in self._masks]
        positions = {name: position for position, name in enumerate(all_names)}
        self._indices = [positions[name] for name in self._names]
        self._every = 1 if run is None else int(run.selection["every"])
        self._size: tuple[int, int] | None = None if self._reader is None else self._reader.size
        self.inputs: list[Path] = [self.path]
        if self._reader is not None and isinstance(self._reader.path, Path):
            self.inputs.append(self._reader.path)

    @property
    def reader(self) -> VideoReader | None:
        """The frames; None if they are not needed and nothing says where they are."""
        return self._reader

    def __len__(self) -> int:
        """Count the frames that have a mask."""
        return len(self._names)

    def check(self, progress: Callable[[int], None]) -> tuple[int, ...]:
        """Read every mask once.

        Args:
            progress: Called with the number of masks that have been read.

        Returns:
            Ids of all objects, rising.

        Raises:
            MaskError: If a mask cannot be read, or its size is not that of the video and the other masks.
        """
        objects: set[int] = set()
        for number, name in enumerate(self._names, start=1):
            objects.update(mask_ids(self._mask(name)))
            progress(number)
        return tuple(sorted(objects))

    def describe(
        self,
        objects: Sequence[int],
        labels: Mapping[int, str],
        *,
        fps: float | None = None,
        name: str | None = None,
    ) -> ExportedVideo:
        """Say what is known about the video, after :meth:`check`.

        Args:
            objects: Ids of the objects that are exported, rising.
            labels: What they are called, by id.
            fps: Frames per second of a video that does not say it.
            name: What the video is called; None takes the name of its file or folder.

        Raises:
            ConfigError: If ``fps`` is given, and the video says it.
        """
        assert self._size is not None
        reader = self._reader
        rate = None if reader is None or reader.fps is None else reader.fps * self._every
        if fps is not None and rate is not None:
            raise ConfigError(
                f"`{reader.path if reader else self.path}` has {rate:g} frames per second and its own times, so that "
                f"fps={fps:g} (`--fps`) has no place. Leave it out; it is for folders of frames."
            )
        path = None if reader is None or not isinstance(reader.path, Path) else reader.path
        if name is None:
            place = (self.path if path is None else path).resolve()
            name = place.name if place.is_dir() else place.stem
        files = reader.files if isinstance(reader, FrameFolder) else None
        return ExportedVideo(
            name=name,
            size=self._size,
            frame_names=self._names,
            frame_indices=self._indices,
            frame_files=[f"{n}.jpg" for n in self._names] if files is None else [files[i].name for i in self._indices],
            objects=tuple(objects),
            labels=labels,
            fps=fps if rate is None else rate,
            pixel_aspect=Fraction(1) if reader is None else reader.pixel_aspect,
            path=path,
            sound=None if reader is None else reader.sound,
        )

    def frames(self, objects: Sequence[int], *, with_images: bool, soft: bool) -> Iterator[ResultFrame]:
        """Give every frame that has a mask, after :meth:`check`.

        Args:
            objects: Ids of the objects that are wanted; others become background.
            with_images: Whether the video is decoded.
            soft: Whether probabilities are read.

        Raises:
            VideoError: If the video gives fewer frames than there are masks, or cannot be decoded.
            MissingFileError: If probabilities are wanted and not there.
            MaskError: If probabilities are damaged.
        """
        assert self._size is not None
        probabilities = ProbabilityReader(self.path, self._size) if soft else None
        pictures = self._pictures() if with_images else itertools.repeat((None, _no_image))
        for index, name, (time, load) in zip(self._indices, self._names, pictures, strict=False):
            mask = self._mask(name)
            visible = mask_ids(mask)
            if not set(visible) <= set(objects):
                mask = np.where(np.isin(mask, objects), mask, 0).astype(mask.dtype)
            soft_edges = None if probabilities is None else probabilities.read(name, objects, visible)
            yield ResultFrame(index, name, time, mask, soft_edges, load)

    def _pictures(self) -> Iterator[tuple[Fraction | None, Callable[[], NDArray[np.uint8]]]]:
        """Give time and image of every frame that has a mask, in their order."""
        reader = self._reader
        assert reader is not None
        if isinstance(reader, FrameFolder):
            yield from ((None, functools.partial(_read, reader, index)) for index in self._indices)
            return
        wanted = iter(self._indices)
        index = next(wanted, None)
        for frame in reader:
            if frame.index == index:
                yield frame.time, functools.partial(_image, frame)
                index = next(wanted, None)
            if index is None:
                return
        raise VideoError(
            f"`{reader.path}` ended before frame {index}, which has a mask in `{self.path}`. Is this the video "
            "that was segmented? Give the right one with video=… (`--video`), or copy it again."
        )

    def _mask(self, name: str) -> NDArray[np.integer[Any]]:
        mask = self._masks.get(name)
        assert mask is not None
        self._size = self._size or (mask.shape[0], mask.shape[1])
        if mask.shape != self._size:
            other = f"those before it in `{self.path}`" if self._reader is None else f"the video `{self._reader.path}`"
            raise MaskError(
                f"Mask `{self._masks.files[name]}` is {mask.shape[1]}x{mask.shape[0]} (width x height), {other} "
                f"{self._size[1]}x{self._size[0]}. Masks of one video have the size of its frames. Give the video that "
                "was segmented, or masks of one size."
            )
        return mask


def _read_run(file: Path) -> _Run | None:
    if not file.is_file():
        return None
    try:
        content = parse_json(file.read_text(encoding="utf-8"))
        settings = content["settings"]
        finished = None if content.get("complete") is True else content.get("finished")
        video, every, levels = settings.get("video"), settings.get("every", 1), settings.get("levels")
        ends = {key: settings.get(key) for key in ("start", "end")}
        levels = tuple(levels) if isinstance(levels, list) else levels
        passes = content.get("passes")
        if not (video is None or isinstance(video, str)) or not (finished is None or _is_count(finished)):
            raise ValueError(f"video is {video!r}, finished is {finished!r}")
        if not _is_count(every) or not all(end is None or _is_count(end) for end in ends.values()):
            raise ValueError(f"every is {every!r}, {ends}")
        if passes is not None and not all(len(pair) == 2 and all(map(_is_count, pair)) for pair in passes):
            raise ValueError(f"passes are {passes!r}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"`{file}` is damaged ({error!r}), so the video of these masks is not known. Remove it, and give the video "
            "with video=… (`--video`)."
        ) from error
    return _Run(video, {**ends, "every": every, "levels": levels}, finished, passes)


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _open(folder: Path, run: _Run | None, video: str | Path | None, needs_video: bool) -> VideoReader | None:
    selection = {} if run is None else run.selection
    if video is not None:
        return open_video(video, **selection)
    noted = None if run is None else run.video
    if noted is not None and Path(noted).exists():
        return open_video(noted, **selection)
    if not needs_video:
        return None
    found = (
        f"`{folder}` does not say which video its masks belong to"
        if noted is None
        else f"The masks in `{folder}` are of `{noted}`, which is not there (any more)"
    )
    raise MissingFileError(f"{found}, and this format needs its frames. Give it with video=… (`--video`).")


def _read(reader: FrameFolder, index: int) -> NDArray[np.uint8]:
    return reader.read(index).image


def _image(frame: VideoFrame) -> NDArray[np.uint8]:
    return frame.image


def _no_image() -> NDArray[np.uint8]:
    raise UsageError("The image of a frame was asked for by an exporter whose class does not say needs_images = True.")
