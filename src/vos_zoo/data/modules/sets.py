"""Sets of images and of videos below one data root."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vos_zoo.configs import check_choices
from vos_zoo.data.clips.from_videos import VideoClips
from vos_zoo.data.clips.motion import CHAINED_VIDEO, PAPER_VIDEO
from vos_zoo.data.layouts.davis import DavisVideos
from vos_zoo.data.layouts.folder import FolderVideos
from vos_zoo.data.layouts.packed import PackedVideos
from vos_zoo.data.layouts.pictures import CocoInstances, ImageMaskPairs, LabelledPictures
from vos_zoo.data.layouts.videos import AnnotatedVideos
from vos_zoo.data.layouts.youtube_vos import YouTubeVosVideos
from vos_zoo.data.modules.options import paste_settings


@dataclass(frozen=True)
class PictureSet:
    """One of several sets of images with masks.

    Attributes:
        path: Folder of the images, relative to the data root.
        masks: Folder of the masks, relative to the data root; null means beside the images.
        annotations: COCO file with instance annotations, relative to the data root, instead of mask files.
        repeat: How often each image of the set counts.
    """

    path: str
    masks: str | None = None
    annotations: str | None = None
    repeat: float = 1.0

    def open(self, root: Path) -> LabelledPictures:
        """Open the set.

        Raises:
            MissingFileError: If the folder or the file does not exist.
            DataError: If it holds no usable image.
        """
        if self.annotations is not None:
            return CocoInstances(root / self.path, root / self.annotations)
        return ImageMaskPairs(root / self.path, masks=None if self.masks is None else root / self.masks)


@dataclass(frozen=True)
class VideoSet:
    """One of several sets of annotated videos.

    Attributes:
        path: Root of the set, relative to the data root.
        layout: How its files lie.
        image_set: List of videos below ``ImageSets/`` of a DAVIS root; null means all.
        names: Videos to use; null means all, or those of ``image_set``.
        resolution: Folder of a DAVIS root.
        frame_step: Filmed frames per listed frame of a DAVIS root; the other layouts say it themselves.
        repeat: How often each video of the set counts, for example 5 for DAVIS beside YouTube-VOS.
    """

    path: str = "train"
    layout: Literal["davis", "youtube-vos", "folder", "packed"] = "davis"
    image_set: str | None = None
    names: list[str] | None = None
    resolution: str = "480p"
    frame_step: int = 1
    repeat: float = 1.0

    def __post_init__(self) -> None:
        check_choices(self)

    def open(self, root: Path, cache_bytes: int) -> AnnotatedVideos:
        """Open the set.

        Raises:
            MissingFileError: If a folder does not exist.
            DataError: If it holds no usable video.
        """
        path = root / self.path
        if self.layout == "packed":
            return PackedVideos(path, names=self.names, cache_bytes=cache_bytes)
        if self.layout == "folder":
            return FolderVideos(path, names=self.names, cache_bytes=cache_bytes)
        if self.layout == "youtube-vos":
            return YouTubeVosVideos(path.parent, split=path.name, names=self.names, cache_bytes=cache_bytes)
        return DavisVideos(
            path, resolution=self.resolution, names=self.names, image_set=self.image_set, cache_bytes=cache_bytes
        )


def video_clips(videos: AnnotatedVideos, frame_step: int, paste: bool, is_chained: bool) -> VideoClips:
    """Return clips of one set of videos with the ranges of motion that several data modules share."""
    motion = CHAINED_VIDEO if is_chained else PAPER_VIDEO
    return VideoClips(videos, frame_step, motion, paste=paste_settings(paste))
