"""Frames and masks in the folders that DAVIS and YouTube-VOS have, for tools that read these data sets."""

from __future__ import annotations

import abc
import io
import json
import shutil
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image

from vos_zoo.errors import MaskError, OutputExistsError
from vos_zoo.files import atomic_path, folder_lock, parse_json
from vos_zoo.interchange.exporter import CollectionExporter, ExportedVideo, ResultFrame
from vos_zoo.media.frames import frame_numbers
from vos_zoo.media.image_files import open_image
from vos_zoo.media.masks import mask_ids, write_mask

__all__ = ["DavisExporter", "YouTubeVosExporter"]

_LARGEST_ID = 254  # 255 means "no opinion" in both data sets
_JPEG_QUALITY = 95
_DAVIS_LISTS = ("ImageSets/2017/train.txt", "ImageSets/2017/val.txt")
_META = "train/meta.json"
_ORIENTATION_TAG = 0x0112


class _DatasetExporter(CollectionExporter):
    """Frames as JPEG and masks as palette PNG, in one folder each."""

    needs_images = True
    folders: ClassVar[tuple[str, str]]
    """Where frames and masks go, in a folder per video."""

    def __init__(self, path: Path, video: ExportedVideo) -> None:
        super().__init__(path, video)
        if max(video.objects, default=0) > _LARGEST_ID:
            raise MaskError(
                f"Object {max(video.objects)} cannot be stored: masks of DAVIS and YouTube-VOS hold ids from 1 to "
                f"{_LARGEST_ID}. Leave such objects out with objects=… (`--objects`), or choose another format."
            )
        # Readers of these data sets sort names as text.
        is_sorted = sorted(video.frame_names) == list(video.frame_names)
        numbers = frame_numbers(max(video.frame_indices, default=0) + 1)
        self._names = list(video.frame_names) if is_sorted else [numbers[index] for index in video.frame_indices]
        self._written = 0
        self._frames, self._masks = (path / folder / video.name for folder in self.folders)
        for folder in (self._frames, self._masks):
            folder.mkdir(parents=True)

    def write(self, frame: ResultFrame) -> None:
        """Write one frame and its mask; JPEG files are copied as they are."""
        name, source = self._names[self._written], self._source()
        target = self._frames / f"{name}.jpg"
        if source is None:
            content = io.BytesIO()  # Pillow writing to a full disk does not say that it is full
            Image.fromarray(frame.image).save(content, format="JPEG", quality=_JPEG_QUALITY, subsampling=0)
            target.write_bytes(content.getvalue())
        else:
            shutil.copyfile(source, target)
        write_mask(self._masks / f"{name}.png", frame.mask)
        self._written += 1

    def _source(self) -> Path | None:
        """Name the JPEG file of the frame that is next, if it has one that everybody reads the same way."""
        folder = self.video.path
        file = None if folder is None else folder / self.video.frame_files[self._written]
        if file is None or file.suffix.lower() not in (".jpg", ".jpeg") or not file.is_file():
            return None
        with open_image(file) as image:
            is_plain = image.format == "JPEG" and image.mode in ("RGB", "L")
            return file if is_plain and image.getexif().get(_ORIENTATION_TAG, 1) == 1 else None

    @classmethod
    def check_root(cls, root: Path, name: str) -> None:
        """Refuse a folder without this layout, or with a video of this name."""
        missing = [folder for folder in cls.folders if not (root / folder).is_dir()]
        if missing:
            raise OutputExistsError(
                f"No video can be added to `{root}`: it has no folder `{missing[0]}`. Give a folder that an export in "
                "this format has made, or choose a new name."
            )
        for folder in cls.folders:
            if (root / folder / name).exists():
                raise OutputExistsError(
                    f"`{root}` has a video {name!r} (`{root / folder / name}`). Videos are never replaced; give this "
                    "one another name with name=… (`--name`)."
                )

    @classmethod
    def add(cls, staged: Path, root: Path) -> None:
        """Move frames and masks, then list the video."""
        (name,) = (folder.name for folder in (staged / cls.folders[0]).iterdir())
        moved = []
        with folder_lock(root):
            cls.check_root(root, name)  # once more: others may have added theirs meanwhile
            try:
                for folder in cls.folders:
                    (staged / folder / name).rename(root / folder / name)
                    moved.append(root / folder / name)
                cls._list(staged, root)
            except BaseException:
                for path in moved:
                    shutil.rmtree(path, ignore_errors=True)
                raise

    @classmethod
    @abc.abstractmethod
    def _list(cls, staged: Path, root: Path) -> None:
        """Add the video to what lists the videos of the root."""


class DavisExporter(_DatasetExporter):
    """``JPEGImages/480p/<video>``, ``Annotations/480p/<video>``, and the video's name in both lists of DAVIS 2017.

    Tools look for the folder ``480p`` whatever the size of the frames.
    """

    folders = ("JPEGImages/480p", "Annotations/480p")

    def close(self) -> None:
        """Write the lists of videos."""
        for name in _DAVIS_LISTS:
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{self.video.name}\n", encoding="utf-8")

    @classmethod
    def _list(cls, staged: Path, root: Path) -> None:
        for name in _DAVIS_LISTS:
            file = root / name
            older = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
            lines = [*older, *(staged / name).read_text(encoding="utf-8").splitlines()]
            with atomic_path(file) as partial:
                partial.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


class YouTubeVosExporter(_DatasetExporter):
    """``train/JPEGImages/<video>``, ``train/Annotations/<video>``, and ``train/meta.json`` with objects and frames."""

    folders = ("train/JPEGImages", "train/Annotations")

    def __init__(self, path: Path, video: ExportedVideo) -> None:
        super().__init__(path, video)
        self._appearances: dict[int, list[str]] = {object_id: [] for object_id in video.objects}

    def write(self, frame: ResultFrame) -> None:
        """Write one frame and its mask, and note which objects are in it."""
        for object_id in mask_ids(frame.mask):
            self._appearances[object_id].append(self._names[self._written])
        super().write(frame)

    def close(self) -> None:
        """Write ``meta.json``."""
        objects = {
            str(object_id): {"category": self.video.label(object_id), "frames": frames}
            for object_id, frames in self._appearances.items()
        }
        content = {"videos": {self.video.name: {"objects": objects}}}
        (self.path / _META).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def check_root(cls, root: Path, name: str) -> None:
        """Also refuse a damaged ``meta.json``, and a video that it knows."""
        super().check_root(root, name)
        if name in _videos(root / _META):
            raise OutputExistsError(f"`{root / _META}` knows a video {name!r}. Give this one another name (`--name`).")

    @classmethod
    def _list(cls, staged: Path, root: Path) -> None:
        videos = _videos(root / _META) | _videos(staged / _META)
        with atomic_path(root / _META) as partial:
            partial.write_text(json.dumps({"videos": videos}, indent=2) + "\n", encoding="utf-8")


def _videos(file: Path) -> dict[str, Any]:
    try:
        content = parse_json(file.read_text(encoding="utf-8"))
        if isinstance(content["videos"], dict):
            return dict(content["videos"])
        reason = "its videos are not a table"
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = repr(error)
    raise OutputExistsError(
        f"No video can be added to `{file.parent.parent}`: `{file}` is not a list of videos ({reason}). Repair it, or "
        "choose a new name."
    )
