"""The rendered videos of BL30K."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import overload

from vos_zoo.data.layouts.archives import PICTURE_SUFFIXES, decode_mask, decode_picture
from vos_zoo.data.layouts.last_read import note_reading
from vos_zoo.data.layouts.problems import Problem, refuse_fatal
from vos_zoo.data.layouts.videos import AnnotatedVideo, AnnotatedVideos, Image
from vos_zoo.errors import DataError
from vos_zoo.files import natural_key

_DEPTH = 3  # folders above JPEGImages at most; the archives unpack to a/BL30K/JPEGImages or the like


class Bl30kVideos(AnnotatedVideos):
    """Videos of all ``JPEGImages/<video>`` folders below a root that have an ``Annotations/<video>`` beside them.

    There are about 30,000 videos of 160 frames: their folders are listed at once, the files of a video when it is
    asked for.

    Args:
        root: Folder into which the archives (all or some of the parts a to f) were unpacked.
        cache_bytes: Limit of the frame cache in bytes.

    Raises:
        DataError: If there is no such video.
    """

    def __init__(self, root: str | os.PathLike[str], *, cache_bytes: int = 512 * 2**20) -> None:
        folders, problems = bl30k_folders(Path(root))
        refuse_fatal(root, problems, "bl30k")
        super().__init__(_VideosOnDemand(folders), cache_bytes=cache_bytes)

    def read_frame(self, video: int, frame: int) -> Image:
        """Decode one frame."""
        path = self.videos[video].frames[frame]
        note_reading(path)
        return decode_picture(Path(path).read_bytes(), repr(path))

    def read_mask(self, video: int, frame: int) -> Image | None:
        """Decode the mask of one frame."""
        path = self.videos[video].masks[frame]
        if path is None:
            return None
        note_reading(path)
        return decode_mask(Path(path).read_bytes(), repr(path))


def bl30k_folders(root: Path) -> tuple[list[tuple[Path, Path]], list[Problem]]:
    """List the folders of frames and masks of all videos, and what is wrong with the root."""
    folders: list[tuple[Path, Path]] = []
    problems: list[Problem] = []
    for pictures in _picture_folders(root, _DEPTH):
        masks = pictures.with_name("Annotations")
        place = pictures.relative_to(root).as_posix()
        if not masks.is_dir():
            problems.append(Problem(place, "has no Annotations beside it."))
            continue
        # One listing of each instead of a question per video: there are tens of thousands.
        found, annotated = _folder_names(pictures), _folder_names(masks)
        problems += [Problem(f"{place}/{name}", "has no masks.") for name in sorted(found - annotated)]
        folders += [(pictures / name, masks / name) for name in sorted(found & annotated)]
    if not folders:
        text = "there is no video. Expected JPEGImages/<video>/*.jpg and Annotations/<video>/*.png, as unpacked."
        problems.append(Problem("", text, is_fatal=True))
    return folders, problems


class _VideosOnDemand(Sequence[AnnotatedVideo]):
    def __init__(self, folders: Sequence[tuple[Path, Path]]) -> None:
        self._folders = folders

    def __len__(self) -> int:
        return len(self._folders)

    @overload
    def __getitem__(self, index: int) -> AnnotatedVideo: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[AnnotatedVideo]: ...

    def __getitem__(self, index: int | slice) -> AnnotatedVideo | Sequence[AnnotatedVideo]:
        if isinstance(index, slice):
            return _VideosOnDemand(self._folders[index])
        return _list_video(*self._folders[index])


@lru_cache(maxsize=64)
def _list_video(pictures: Path, masks: Path) -> AnnotatedVideo:
    frames = {path.stem: path for path in pictures.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES}
    annotations = {path.stem: path for path in masks.iterdir() if path.suffix == ".png"}
    common = sorted(frames.keys() & annotations.keys(), key=natural_key)
    if not common:
        raise DataError(
            f"Video {str(pictures)!r} has {len(frames)} frames and {len(annotations)} masks, none of the same name. "
            "Expected a mask for every frame. Unpack the archive again, or remove the video."
        )
    return AnnotatedVideo(
        pictures.name, tuple(str(frames[stem]) for stem in common), tuple(str(annotations[stem]) for stem in common)
    )


def _picture_folders(folder: Path, depth: int) -> Iterator[Path]:
    if (folder / "JPEGImages").is_dir():
        yield folder / "JPEGImages"
    elif depth > 0:
        for name in sorted(_folder_names(folder)):
            yield from _picture_folders(folder / name, depth - 1)


def _folder_names(folder: Path) -> set[str]:
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries if entry.is_dir()}
