"""Own videos: files or frame folders in ``videos/``, masks of any of their frames in ``masks/``."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage
from tqdm import tqdm

from vos_zoo.data.layouts.last_read import note_reading
from vos_zoo.data.layouts.problems import Problem, refuse_fatal
from vos_zoo.data.layouts.videos import AnnotatedVideo, AnnotatedVideos, Image, choose_videos
from vos_zoo.errors import DataError, MissingFileError, VosZooError
from vos_zoo.files import atomic_path, natural_key
from vos_zoo.media.frames import FrameFolder, frame_files, read_image
from vos_zoo.media.masks import MaskFolder
from vos_zoo.media.reader import open_video

_EXPECTED = "videos/NAME.mp4 (or a folder videos/NAME with frames) and masks/NAME/*.png"
_MAX_ID = 255


class FolderVideos(AnnotatedVideos):
    """Own videos: ``videos/NAME.mp4`` or frames in ``videos/NAME/``, and masks in ``masks/NAME/``.

    Masks are named like their frames: like the files of a frame folder, or by the position in a video file, from 0
    (``00012.png``, leading zeros do not matter). A single file ``masks/NAME.png`` belongs to the first frame. Not every
    frame needs a mask.

    Training jumps between annotated frames, which video files are bad at; their annotated frames are therefore written
    as PNG files once, below ``frames_folder``.

    Args:
        root: Folder that holds ``videos`` and ``masks``.
        names: Videos to use, in this order; None means all that have a mask.
        without: Videos to leave out of all.
        frames_folder: Where frames of video files are kept; None means ``.frames`` in ``root``.
        min_frames: Videos with fewer annotated frames are left out.
        cache_bytes: Limit of the frame cache in bytes.
        files: File or frame folder of every video, by name; None looks into ``videos``.

    Attributes:
        paths: File or frame folder of every video.

    Raises:
        MissingFileError: If ``root`` does not exist.
        DataError: If no video is left, or a video, its masks or a named video cannot be used.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        names: Sequence[str] | None = None,
        without: Sequence[str] = (),
        frames_folder: str | os.PathLike[str] | None = None,
        min_frames: int = 1,
        cache_bytes: int = 512 * 2**20,
        files: Mapping[str, Path] | None = None,
    ) -> None:
        self.root = Path(root)
        found, problems = folder_videos(self.root, names, files)
        videos, obstacles = choose_videos(found, names, without=without, min_frames=min_frames, expected=_EXPECTED)
        refuse_fatal(root, problems + obstacles, "folder")
        super().__init__(videos, cache_bytes=cache_bytes)
        files = video_files(self.root) if files is None else files
        self.paths = [files[video.name] for video in videos]
        self._frames_folder = self.root / ".frames" if frames_folder is None else Path(frames_folder)
        self._folders: dict[int, FrameFolder] = {}
        self._masks = [
            MaskFolder(masks_of(self.root, video.name), [Path(frame).stem for frame in video.frames])
            for video in videos
        ]

    def read_frame(self, video: int, frame: int) -> Image:
        """Decode one frame; of a video file, annotated ones are fast, others decoded from the start."""
        if self.paths[video].is_dir():
            note_reading(self.root / self.videos[video].frames[frame])
            # A folder scales frames of more than 8 bits alike.
            if video not in self._folders:
                self._folders[video] = FrameFolder(self.paths[video])
            return self._folders[video].read(frame).image
        if self.videos[video].masks[frame] is None:
            return next(iter(open_video(self.paths[video], start=frame, end=frame + 1))).image
        path = self._kept_frame(video, frame)
        if not path.exists():
            note_reading(self.paths[video])
            self._keep_frames(video)
        note_reading(path)
        return read_image(path)

    def read_mask(self, video: int, frame: int) -> Image | None:
        """Decode the mask of one frame."""
        note_reading(self.root / (self.videos[video].masks[frame] or ""))
        mask = self._masks[video].get(Path(self.videos[video].frames[frame]).stem)
        if mask is None:
            return None
        if mask.max(initial=0) > _MAX_ID:
            raise DataError(
                f"Mask {self.videos[video].masks[frame]!r} holds the id {mask.max()}. Training masks hold ids up to "
                f"{_MAX_ID}. Renumber the objects."
            )
        return np.asarray(mask, np.uint8)

    def iterate(self, video: int, stop: int | None = None) -> Iterator[Image]:
        """Decode the frames of a video one after another."""
        for frame in open_video(self.paths[video], end=stop):
            yield frame.image

    def keep_frames(self) -> None:
        """Write the annotated frames of all video files that are not there yet, with a progress bar."""
        missing = [
            video
            for video in range(len(self))
            if not self.paths[video].is_dir()
            and any(not self._kept_frame(video, frame).exists() for frame in self.videos[video].annotated)
        ]
        for video in tqdm(missing, desc="Annotated frames of video files", unit=" videos", disable=None, leave=False):
            self._keep_frames(video)

    def _kept_frame(self, video: int, frame: int) -> Path:
        # Size and time in the name: another video of the same name must not give the frames of the old one.
        path = self.paths[video]
        status = path.stat()
        folder = f"{path.name}-{status.st_size}-{status.st_mtime_ns}"
        return self._frames_folder / folder / f"{Path(self.videos[video].frames[frame]).stem}.png"

    def _keep_frames(self, video: int) -> None:
        annotated = set(self.videos[video].annotated)
        for index, image in enumerate(self.iterate(video, max(annotated) + 1)):
            if index not in annotated:
                continue
            try:
                with atomic_path(self._kept_frame(video, index)) as partial:
                    PillowImage.fromarray(image).save(partial, format="PNG", compress_level=1)
            except OSError as error:
                raise DataError(
                    f"Frames of {str(self.paths[video])!r} cannot be kept in {str(self._frames_folder)!r} ({error}). "
                    "Expected a folder with space that can be written to. Name one with `--data.frames_folder`."
                ) from error


def folder_videos(
    root: Path, names: Sequence[str] | None = None, files: Mapping[str, Path] | None = None
) -> tuple[dict[str, AnnotatedVideo], list[Problem]]:
    """List the own videos that have masks, and what is wrong with the root.

    Args:
        root: The data root.
        names: Videos to open; None means all.
        files: File or frame folder of every video, by name; None looks into ``videos``.

    Raises:
        MissingFileError: If ``root`` does not exist.
    """
    if not root.is_dir():
        raise MissingFileError(f"Data root {str(root)!r} is not a folder. Expected one that holds {_EXPECTED}.")
    problems = [
        Problem(f"{name}/", f"is missing. Expected {_EXPECTED}.", is_fatal=True)
        for name in ("videos", "masks")
        if not (root / name).is_dir()
    ]
    if problems:
        return {}, problems
    if files is not None:
        return _open_videos(root, names, files)
    files, doubles = _listed_videos(root)
    problems += [problem for name, problem in doubles.items() if names is None or name in names]
    problems += [
        Problem(f"masks/{path.name}", f"belongs to no video. Expected videos/{path.stem}.mp4 or videos/{path.stem}/.")
        for path in _visible(root / "masks")
        if not {path.name, path.stem} & (files.keys() | doubles.keys())
    ]
    videos, more = _open_videos(root, names, files)
    return videos, problems + more


def _open_videos(
    root: Path, names: Sequence[str] | None, files: Mapping[str, Path]
) -> tuple[dict[str, AnnotatedVideo], list[Problem]]:
    videos, problems = {}, []
    for name, path in files.items():
        if names is not None and name not in names:
            continue
        masks = masks_of(root, name)
        if not masks.exists():
            problems.append(Problem(f"videos/{path.name}", f"has no masks. Expected them in masks/{name}/."))
            continue
        try:
            videos[name] = _annotated_video(root, name, path, masks)
        except VosZooError as error:
            problems.append(Problem("", str(error), is_fatal=True))
    return videos, problems


def video_files(root: Path) -> dict[str, Path]:
    """Files and frame folders in ``videos/`` by the names of the videos."""
    return _listed_videos(root)[0]


def masks_of(root: Path, name: str) -> Path:
    """Folder of a video's masks, or the single mask of its first frame."""
    single = root / "masks" / f"{name}.png"
    return single if single.is_file() else root / "masks" / name


def _listed_videos(root: Path) -> tuple[dict[str, Path], dict[str, Problem]]:
    """Videos by name, and problems by name where one name stands for several of them."""
    files: dict[str, Path] = {}
    doubles: dict[str, Problem] = {}
    for path in _visible(root / "videos"):
        name = path.name if path.is_dir() else path.stem
        if name in files:
            text = f"and videos/{files[name].name} are one video by name. Rename or remove one."
            doubles[name] = Problem(f"videos/{path.name}", text, is_fatal=True)
        files.setdefault(name, path)
    return {name: path for name, path in files.items() if name not in doubles}, doubles


def _annotated_video(root: Path, name: str, path: Path, masks: Path) -> AnnotatedVideo:
    if path.is_dir():
        frames = tuple(file.relative_to(root).as_posix() for file in frame_files(path))
    else:
        place = path.relative_to(root).with_suffix("").as_posix()
        frames = tuple(f"{place}/{frame}" for frame in open_video(path).all_names)
    stems = [Path(frame).stem for frame in frames]
    files = MaskFolder(masks, stems).files
    found = tuple(files[stem].relative_to(root).as_posix() if stem in files else None for stem in stems)
    video = AnnotatedVideo(name, frames, found)
    steps = np.diff(video.annotated)
    return video._replace(frame_step=max(1, int(np.median(steps))) if len(steps) else 1)


def _visible(folder: Path) -> list[Path]:
    entries: list[Path] = []
    with contextlib.suppress(FileNotFoundError):
        entries = [path for path in folder.iterdir() if not path.name.startswith(".")]
    return sorted(entries, key=lambda path: natural_key(path.name))
