"""Check of a whole data root: every file is opened and every problem named, in one pass."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vos_zoo.data.layouts.archives import FileTree
from vos_zoo.data.layouts.bl30k import Bl30kVideos, bl30k_folders
from vos_zoo.data.layouts.davis import davis_videos, image_sets, read_image_set
from vos_zoo.data.layouts.folder import FolderVideos, folder_videos
from vos_zoo.data.layouts.problems import Problem
from vos_zoo.data.layouts.videos import AnnotatedVideo, AnnotatedVideos, TreeVideos, collect_videos
from vos_zoo.data.layouts.youtube_vos import Objects, read_meta, youtube_vos_videos
from vos_zoo.errors import ConfigError, MissingFileError, VosZooError
from vos_zoo.media.image_files import DAMAGE, open_image
from vos_zoo.media.mask_values import davis_palette

FORMATS = ("davis", "youtube-vos", "folder", "bl30k")
"""Layouts that can be checked."""

_MAX_GREYS = 64  # objects; a grey mask with more levels was smoothed or is not a mask
_MAX_THREADS = 8


@dataclass(frozen=True)
class CheckReport:
    """What a check found.

    Attributes:
        videos: Number of videos with masks.
        frames: Number of their frames.
        masks: Number of their masks.
        problems: What is wrong.
    """

    videos: int
    frames: int
    masks: int
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class _Part:
    """Videos to open, and what their masks must keep to."""

    videos: AnnotatedVideos
    prefix: str = ""  # of places in messages
    palette: bool = False  # whether ids have the colours of DAVIS
    objects: Mapping[str, Objects] | None = None  # ids by video; None means any


def check_root(
    root: str | os.PathLike[str],
    data_format: str,
    *,
    resolution: str = "480p",
    image_set: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CheckReport:
    """Open every file of a data root and collect what is wrong.

    Args:
        root: The data root; of YouTube-VOS the folder of the splits or of one split.
        data_format: One of ``FORMATS``.
        resolution: Folder of a DAVIS root.
        image_set: List below ``ImageSets/`` that a DAVIS root must have, for example ``2017/train``.
        progress: Called with the number of checked videos and of all.

    Raises:
        MissingFileError: If ``root`` does not exist.
        ConfigError: If the format is unknown.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as empty:
        ...     print(check_root(empty, "bl30k").problems[0].text.partition(".")[0])
        there is no video
    """
    path = Path(root)
    if not path.exists():
        raise MissingFileError(f"Data root {str(path)!r} does not exist. Check the path.")
    if data_format == "davis":
        parts, problems = _davis(path, resolution, image_set)
    elif data_format == "youtube-vos":
        parts, problems = _youtube_vos(path)
    elif data_format == "folder":
        parts, problems = _folder(path)
    elif data_format == "bl30k":
        parts, problems = _bl30k(path)
    else:
        raise ConfigError(f"The layout is called {data_format!r}. Expected one of {', '.join(FORMATS)}.")
    jobs = [(part, video) for part in parts for video in range(len(part.videos))]
    frames = masks = 0
    with ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1)) as pool:
        results = pool.map(lambda job: _check_video(*job), jobs)
        for done, ((part, _), found) in enumerate(zip(jobs, results, strict=True), start=1):
            frames, masks = frames + found.frames, masks + found.masks
            problems += [
                problem._replace(place=f"{part.prefix}{problem.place}") if problem.place else problem
                for problem in found.problems
            ]
            if progress is not None:
                progress(done, len(jobs))
    return CheckReport(len(jobs), frames, masks, tuple(problems))


def _davis(root: Path, resolution: str, image_set: str | None) -> tuple[list[_Part], list[Problem]]:
    files = FileTree(root)
    # Without the list first: a list that is wrong must not hide what is wrong with the videos.
    videos, problems = davis_videos(files, resolution=resolution)
    known = {video.name for video in videos}
    lists = image_sets(files)
    if not lists or (image_set is not None and image_set not in lists):
        text = "is missing. Expected text files with the names of its videos."
        place = "ImageSets/" if image_set is None else f"ImageSets/{image_set}.txt"
        problems.append(Problem(place, f"{text} Lists found: {', '.join(lists) or 'none'}."))
    for name in lists:
        absent = [video for video in read_image_set(files, name) if video not in known]
        if absent:
            text = f"names {len(absent)} videos without annotated frames: {', '.join(absent)}."
            problems.append(Problem(f"ImageSets/{name}.txt", text))
    return [_Part(TreeVideos(files, videos, cache_bytes=0), palette=True)], problems


def _youtube_vos(root: Path) -> tuple[list[_Part], list[Problem]]:
    if (root / "JPEGImages").is_dir() or (root / "meta.json").is_file():
        splits = [root]
    else:
        splits = [root / name for name in ("train", "valid", "test") if (root / name).is_dir()]
    if not splits:
        text = "there is no split. Expected train/, valid/ or test/, each with JPEGImages/, Annotations/ and meta.json."
        return [], [Problem("", text, is_fatal=True)]
    parts: list[_Part] = []
    problems: list[Problem] = []
    for split in splits:
        prefix = "" if split == root else f"{split.name}/"
        files = FileTree(split)
        objects, found = read_meta(files)
        videos, _ = collect_videos(files, "JPEGImages", files, "Annotations")
        parts.append(_Part(TreeVideos(files, list(videos.values()), cache_bytes=0), prefix, objects=objects or None))
        dense = split.with_name(f"{split.name}_all_frames")
        dense_files = FileTree(dense) if dense.is_dir() else None
        if objects or not found:
            found += youtube_vos_videos(files, objects, all_frames=dense_files)[1]
        if dense_files is not None:
            dense_videos, _ = collect_videos(dense_files, "JPEGImages", files, "Annotations")
            unmasked = [video._replace(masks=(None,) * len(video.frames)) for video in dense_videos.values()]
            parts.append(_Part(TreeVideos(dense_files, unmasked, cache_bytes=0), f"{dense.name}/"))
        problems += [problem._replace(place=f"{prefix}{problem.place}") for problem in found]
    return parts, problems


def _folder(root: Path) -> tuple[list[_Part], list[Problem]]:
    found, problems = folder_videos(root)
    return [_Part(FolderVideos(root, names=list(found)))] if found else [], problems


def _bl30k(root: Path) -> tuple[list[_Part], list[Problem]]:
    folders, problems = bl30k_folders(root)
    return [_Part(Bl30kVideos(root, cache_bytes=0))] if folders else [], problems


def _check_video(part: _Part, index: int) -> CheckReport:
    videos = part.videos
    problems: list[Problem] = []
    try:
        video = videos.videos[index]
    except VosZooError as error:
        return CheckReport(1, 0, 0, (Problem("", str(error)),))
    if isinstance(videos, FolderVideos) and not videos.paths[index].is_dir():
        size, count = _check_file(videos, index, problems)
    else:
        size, count = _check_frames(videos, index, problems)
    for frame in video.annotated:
        place = str(video.masks[frame])
        problems += [Problem(place, text) for text in _mask_problems(part, video, index, frame, size)]
    return CheckReport(1, count, len(video.annotated), tuple(problems))


def _check_file(videos: FolderVideos, index: int, problems: list[Problem]) -> tuple[tuple[int, int] | None, int]:
    size, count = None, 0
    try:
        for image in videos.iterate(index):
            size, count = (image.shape[0], image.shape[1]), count + 1
    except VosZooError as error:
        problems.append(Problem("", str(error)))
    return size, count


def _check_frames(videos: AnnotatedVideos, index: int, problems: list[Problem]) -> tuple[tuple[int, int] | None, int]:
    size = None
    names = videos.videos[index].frames
    for frame, name in enumerate(names):
        try:
            height, width = videos.read_frame(index, frame).shape[:2]
        except (VosZooError, OSError) as error:
            problems.append(Problem(name, f"cannot be read: {error}"))
            continue
        size = (height, width) if size is None else size
        if (height, width) != size:
            text = f"has {width}×{height} pixels, the first frame of its video {size[1]}×{size[0]}."
            problems.append(Problem(name, text))
    return size, len(names)


def _mask_problems(
    part: _Part, video: AnnotatedVideo, index: int, frame: int, size: tuple[int, int] | None
) -> Iterator[str]:
    """Say what is wrong with one mask."""
    try:
        mask = part.videos.read_mask(index, frame)
    except (VosZooError, OSError) as error:
        yield f"cannot be read: {error}"
        return
    assert mask is not None, "an annotated frame has a mask"
    if size is not None and mask.shape != size:
        yield f"has {mask.shape[1]}×{mask.shape[0]} pixels, its video {size[1]}×{size[0]}."
    ids = [label for label in np.flatnonzero(np.bincount(mask.ravel(), minlength=256)).tolist() if label]
    if part.objects is not None and video.name in part.objects:
        known = sorted(part.objects[video.name])
        strangers = [label for label in ids if label not in known]
        if strangers:
            yield f"holds the ids {strangers}, meta.json lists {known} for its video."
    if isinstance(part.videos, TreeVideos):
        content = part.videos.mask_files.read(str(video.masks[frame]))
        yield from _palette_problems(content, ids, is_davis=part.palette)


def _palette_problems(content: bytes, ids: list[int], *, is_davis: bool) -> Iterator[str]:
    with contextlib.suppress(*DAMAGE), open_image(io.BytesIO(content)) as picture:
        if picture.mode == "L" and len(ids) > _MAX_GREYS:
            yield f"holds {len(ids)} grey levels. Expected one object id per pixel; it was smoothed, or is not a mask."
        if picture.mode != "P":
            return
        palette = picture.getpalette("RGB") or []
        colours = {label: tuple(palette[3 * label : 3 * label + 3]) for label in [0, *ids]}
        if colours[0] != (0, 0, 0):
            yield f"paints the background in the colour {colours[0]}. Expected black."
        if len(set(colours.values())) < len(colours):
            yield f"has one colour for several of its ids {ids}. Expected one colour each."
        elif is_davis and not all(label == sum(colour) / 3 for label, colour in colours.items()):
            expected = davis_palette()
            wrong = [label for label in ids if colours[label] != tuple(expected[label].tolist())]
            if wrong:
                yield (
                    f"has another palette than DAVIS: id {wrong[0]} is {colours[wrong[0]]} instead of "
                    f"{tuple(expected[wrong[0]].tolist())}. Check that its values are object ids."
                )
