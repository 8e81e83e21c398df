"""Videos in the layout of YouTube-VOS 2018 and 2019."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from vos_zoo.data.layouts.archives import FileTree
from vos_zoo.data.layouts.problems import Problem, refuse_fatal
from vos_zoo.data.layouts.videos import AnnotatedVideo, Image, TreeVideos, choose_videos, collect_videos
from vos_zoo.files import parse_json

_logger = logging.getLogger(__name__)
_ANNOTATED_EVERY = 5  # filmed frames, Xu et al., arXiv 1809.03327, Section 3

Objects = Mapping[int, Sequence[str]]
"""Frames (by stem) in which each object of a video is annotated."""


class YouTubeVosVideos(TreeVideos):
    """Videos of one split: ``<split>/JPEGImages/<video>/*.jpg``, ``<split>/Annotations/<video>/*.png``, ``meta.json``.

    Every fifth filmed frame is there. In the training split all of them have masks; in the others a mask stands where
    an object appears, which may be late. With ``all_frames`` the frames come from ``<split>_all_frames``, and results
    are expected for every fifth of them.

    Ids that ``meta.json`` does not know are background; this is logged once per video.

    Args:
        root: Folder that holds the split's folder.
        split: Folder of the split: ``train``, ``valid`` or ``test``.
        all_frames: Whether all filmed frames are used instead of every fifth.
        names: Videos to use, in this order; None means all.
        without: Videos to leave out of all.
        min_frames: Videos with fewer annotated frames are left out.
        cache_bytes: Limit of the frame cache in bytes.
        files: The files of the split, or those of the named videos; None lists all of them.
        all_files: Likewise of ``<split>_all_frames``.
        objects: What ``meta.json`` says of the videos, as :func:`read_meta` gives it; None reads it.

    Raises:
        MissingFileError: If a folder does not exist.
        DataError: If no video is left, a named one is missing, or ``meta.json`` is missing or lacks required keys.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        split: str = "train",
        all_frames: bool = False,
        names: Sequence[str] | None = None,
        without: Sequence[str] = (),
        min_frames: int = 3,
        cache_bytes: int = 512 * 2**20,
        files: FileTree | None = None,
        all_files: FileTree | None = None,
        objects: Mapping[str, Objects] | None = None,
    ) -> None:
        masks = FileTree(Path(root, split)) if files is None else files
        if all_frames:
            files = FileTree(Path(root, f"{split}_all_frames")) if all_files is None else all_files
        else:
            files = masks
        meta_problems: list[Problem] = []
        if objects is None:
            objects, meta_problems = read_meta(masks)
        videos, problems = youtube_vos_videos(
            masks,
            objects,
            all_frames=files if all_frames else None,
            names=names,
            without=without,
            min_frames=min_frames,
        )
        refuse_fatal(Path(root, split), meta_problems + problems, "youtube-vos")
        super().__init__(files, videos, masks=masks, cache_bytes=cache_bytes)
        self._tables = [_known_ids(objects[video.name]) for video in videos]
        self._objects = objects
        self._warned: set[int] = set()

    @property
    def changes_masks(self) -> bool:
        """Whether ids differ from those in the files: some may be unknown to ``meta.json``."""
        return True

    def read_mask(self, video: int, frame: int) -> Image | None:
        """Decode the mask of one frame; ids that ``meta.json`` does not list are background."""
        mask = super().read_mask(video, frame)
        if mask is None:
            return None
        known: Image = self._tables[video][mask]
        if video not in self._warned and (known != mask).any():
            self._warned.add(video)
            _logger.warning(
                "Mask %r holds ids that meta.json does not list for its video; they count as background.",
                self.videos[video].masks[frame],
            )
        return known

    def listed_frames(self, video: int) -> dict[int, list[int]]:
        """Return indices of the annotated frames that ``meta.json`` lists for each object of a video, rising."""
        entry = self.videos[video]
        stems = {Path(entry.frames[index]).stem: index for index in entry.annotated}
        return {
            label: sorted(stems[stem] for stem in frames if stem in stems)
            for label, frames in self._objects[entry.name].items()
        }


def youtube_vos_videos(
    files: FileTree,
    objects: Mapping[str, Objects],
    *,
    all_frames: FileTree | None = None,
    names: Sequence[str] | None = None,
    without: Sequence[str] = (),
    min_frames: int = 1,
) -> tuple[list[AnnotatedVideo], list[Problem]]:
    """List the videos of a split and what is wrong with them, given the content of its ``meta.json``.

    Args:
        files: Folder of the split.
        objects: As :func:`read_meta` gives it.
        all_frames: Folder of the split with all filmed frames, to use those.
        names: Videos to use; None means all of ``meta.json``.
        without: Videos to leave out of all.
        min_frames: Videos with fewer annotated frames are left out.
    """
    found, problems = collect_videos(files, "JPEGImages", files, "Annotations")
    dense = found
    if all_frames is not None:
        dense, more = collect_videos(all_frames, "JPEGImages", files, "Annotations")
        problems += [Problem(f"(all frames) {problem.place}", problem.text) for problem in more]
    problems += [
        Problem("meta.json", f"does not know video {name!r} of JPEGImages.") for name in sorted(found.keys() - objects)
    ]
    for name, video in found.items():
        problems += _unannotated(video, objects.get(name, {}))
    missing = sorted(objects.keys() - found)
    if missing:
        shown = ", ".join(missing[:5])
        problems.append(Problem("meta.json", f"names {len(missing)} videos without frames: {shown}.", is_fatal=True))
    videos = {name: _with_steps(dense[name], found[name]) for name in found if name in dense and name in objects}
    expected = "JPEGImages/<video>/*.jpg, Annotations/<video>/*.png and meta.json"
    chosen, obstacles = choose_videos(videos, names, without=without, min_frames=min_frames, expected=expected)
    return chosen, problems + obstacles


def read_meta(files: FileTree) -> tuple[dict[str, Objects], list[Problem]]:
    """Read ``meta.json``: objects of every video with the frames in which they are annotated, and what is wrong."""
    if "meta.json" not in files:
        return {}, [Problem("meta.json", "is missing. Expected it beside JPEGImages and Annotations.", is_fatal=True)]
    try:
        content = parse_json(files.read("meta.json"))
    except ValueError as error:
        return {}, [Problem("meta.json", f"is not JSON ({error}). Copy it again.", is_fatal=True)]
    entries = content.get("videos") if isinstance(content, dict) else None
    if not isinstance(entries, dict):
        return {}, [Problem("meta.json", "has no key 'videos' with an entry per video.", is_fatal=True)]
    videos: dict[str, Objects] = {}
    problems = []
    for name, entry in entries.items():
        listed = entry.get("objects") if isinstance(entry, dict) else None
        if not isinstance(listed, dict):
            problems.append(Problem("meta.json", f"video {name!r} has no key 'objects'.", is_fatal=True))
            continue
        objects: dict[int, Sequence[str]] = {}
        for label, described in listed.items():
            frames = described.get("frames") if isinstance(described, dict) else None
            if not re.fullmatch("[0-9]+", label) or not 0 < int(label) < 255:
                text = f"video {name!r} has an object {label!r}. Expected ids from 1 to 254."
                problems.append(Problem("meta.json", text, is_fatal=True))
            elif not _is_list_of_names(frames):
                text = f"object {label} of video {name!r} has no list 'frames' of frame names."
                problems.append(Problem("meta.json", text, is_fatal=True))
            else:
                objects[int(label)] = frames
        videos[name] = objects
    return videos, problems


def _is_list_of_names(value: Any) -> TypeGuard[list[str]]:
    return isinstance(value, list) and bool(value) and all(isinstance(name, str) for name in value)


def _unannotated(video: AnnotatedVideo, objects: Objects) -> list[Problem]:
    """Frames that ``meta.json`` lists without a mask; of test videos only the first mask of every object is given."""
    stems = [Path(frame).stem for frame in video.frames]
    annotated = {stems[index] for index in video.annotated}
    given = {frames[0] for frames in objects.values()}
    wanted = given if annotated <= given else given.union(*objects.values())
    missing = sorted(wanted - annotated)
    return [
        Problem(
            f"Annotations/{video.name}/{stem}.png",
            "is missing, though meta.json lists an object in it."
            if stem in stems
            else "is missing, and so is its frame, though meta.json lists an object in it.",
        )
        for stem in missing
    ]


def _with_steps(video: AnnotatedVideo, sparse: AnnotatedVideo) -> AnnotatedVideo:
    """Note the distance of annotated frames, and the frames that results are expected for."""
    stems = {Path(frame).stem for frame in sparse.frames}
    written = None
    if video is not sparse:
        written = tuple(index for index, frame in enumerate(video.frames) if Path(frame).stem in stems)
    numbers = [int(stem) for stem in sorted(stems) if stem.isdecimal()]
    steps = np.diff(numbers)
    step = int(np.median(steps)) if len(steps) else _ANNOTATED_EVERY
    return video._replace(frame_step=max(1, step), written=written)


def _known_ids(objects: Objects) -> Image:
    table = np.zeros(256, np.uint8)
    for label in objects:
        table[label] = label
    return table
