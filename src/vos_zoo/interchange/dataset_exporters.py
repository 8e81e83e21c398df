"""Frames and masks in the folders that DAVIS and YouTube-VOS have, for tools that read these data sets."""

from __future__ import annotations

import abc
import io
import json
import shutil
from pathlib import Path

from PIL import Image

from vos_zoo.errors import MaskError
from vos_zoo.interchange.exporter import ExportedVideo, Exporter, ResultFrame
from vos_zoo.media.frames import frame_numbers
from vos_zoo.media.image_files import open_image
from vos_zoo.media.masks import mask_ids, write_mask

__all__ = ["DavisExporter", "YouTubeVosExporter"]

_LARGEST_ID = 254  # 255 means "no opinion" in both data sets
_JPEG_QUALITY = 95
_ORIENTATION_TAG = 0x0112


class _DatasetExporter(Exporter):
    """Frames as JPEG and masks as palette PNG, in one folder each."""

    needs_images = True

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
        self._frames, self._masks = self._folders()
        for folder in (self._frames, self._masks):
            folder.mkdir(parents=True)

    @abc.abstractmethod
    def _folders(self) -> tuple[Path, Path]:
        """Say where frames and masks go."""

    def write(self, frame: ResultFrame) -> None:
        """Write one frame and its mask; JPEG files are copied as they are."""
        name, source = self._names[self._written], self._source()
        target = self._frames / f"{name}.jpg"
        if source is None:
            content = io.BytesIO()  # Pillow writing to a full disk does not say that it is full
            Image.fromarray(frame.image).save(content, format="JPEG", quality=_JPEG_QUALITY, subsampling=0)
            target.write_bytes(content.getbuffer())
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


class DavisExporter(_DatasetExporter):
    """``JPEGImages/480p/<video>``, ``Annotations/480p/<video>``, and the video's name in both lists of DAVIS 2017.

    Tools look for the folder ``480p`` whatever the size of the frames.
    """

    def _folders(self) -> tuple[Path, Path]:
        return self.path / "JPEGImages" / "480p" / self.video.name, self.path / "Annotations" / "480p" / self.video.name

    def close(self) -> None:
        """Write the lists of videos."""
        lists = self.path / "ImageSets" / "2017"
        lists.mkdir(parents=True)
        for name in ("train", "val"):
            (lists / f"{name}.txt").write_text(f"{self.video.name}\n", encoding="utf-8")


class YouTubeVosExporter(_DatasetExporter):
    """``train/JPEGImages/<video>``, ``train/Annotations/<video>``, and ``train/meta.json`` with objects and frames."""

    def __init__(self, path: Path, video: ExportedVideo) -> None:
        super().__init__(path, video)
        self._appearances: dict[int, list[str]] = {object_id: [] for object_id in video.objects}

    def _folders(self) -> tuple[Path, Path]:
        split = self.path / "train"
        return split / "JPEGImages" / self.video.name, split / "Annotations" / self.video.name

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
        (self.path / "train" / "meta.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
