"""Whole videos for prediction, frame by frame, with what is given of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple, Protocol

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from vos_zoo.data.layouts.davis import DavisVideos
from vos_zoo.data.layouts.folder import FolderVideos
from vos_zoo.data.layouts.listing import (
    DavisListing,
    FolderListing,
    ListedVideo,
    OpenedListing,
    OpenedVideo,
    VideoListing,
    YouTubeVosListing,
    has_shards,
)
from vos_zoo.data.layouts.open import find_format
from vos_zoo.data.layouts.videos import AnnotatedVideos
from vos_zoo.data.layouts.youtube_vos import YouTubeVosVideos
from vos_zoo.data.modules.validation import VideoItem
from vos_zoo.errors import ConfigError, DataError, VosZooError
from vos_zoo.media.mask_decoding import Mask
from vos_zoo.media.masks import mask_ids

Layout = Literal["davis", "youtube-vos", "folder"]
"""How the results of a video are laid out and handed in."""

_VOID_ID = 255  # pixels without an answer in the annotations of both benchmarks


class PredictionFrame(NamedTuple):
    """One frame.

    Attributes:
        name: Its name, under which its mask is written.
        image: RGB uint8, shape (H, W, 3).
        mask: Object ids of what is given on this frame, shape (H, W), or None.
        is_written: Whether the mask of this frame belongs to the result.
    """

    name: str
    image: NDArray[np.uint8]
    mask: Mask | None
    is_written: bool


class PredictionVideo(Protocol):
    """A video to predict; iterating gives its :class:`PredictionFrame` one at a time, in order."""

    @property
    def name(self) -> str:
        """Name, unlike those of all other videos."""

    @property
    def layout(self) -> Layout:
        """How its results are handed in."""

    def written_names(self) -> list[str]:
        """Names of the frames whose masks belong to the result, in order."""

    def __iter__(self) -> Iterator[PredictionFrame]:
        """Read the frames."""


class Newcomers:
    """Takes out of annotations what a benchmark gives: every object on the first frame that shows it, and no more.

    Example:
        >>> newcomers = Newcomers()
        >>> newcomers.given(np.array([[0, 1]], np.uint8)).tolist()
        [[0, 1]]
        >>> newcomers.given(np.array([[2, 1]], np.uint8)).tolist()
        [[2, 0]]
        >>> newcomers.given(np.array([[2, 1]], np.uint8)) is None
        True
    """

    def __init__(self) -> None:
        self._known: set[int] = set()

    def given(self, annotation: NDArray[np.integer]) -> Mask | None:
        """Return the mask of the objects that are new (H, W), or None if there is none; void pixels are nobody's."""
        new = [object_id for object_id in mask_ids(annotation, void=_VOID_ID) if object_id not in self._known]
        if not new:
            return None
        self._known.update(new)
        mask: Mask = np.where(np.isin(annotation, new), annotation, 0).astype(np.int32)
        return mask


class StoredVideo:
    """One of the videos of a data root, opened when its files are needed.

    In the layout of a benchmark a mask counts where an object is first seen; in your own folder every mask does, those
    of known objects as corrections.

    Args:
        listing: Where the video is listed.
        video: Which one.
        layout: Their layout.
    """

    def __init__(self, listing: VideoListing, video: ListedVideo, layout: Layout) -> None:
        self._listing = listing
        self._video = video
        self._layout = layout

    @property
    def name(self) -> str:
        """Name of the video."""
        return self._video.name

    @property
    def layout(self) -> Layout:
        """Layout of the data root."""
        return self._layout

    def written_names(self) -> list[str]:
        """Names of the frames whose masks belong to the result, in order.

        Raises:
            DataError: If frames or masks of the video are missing.
        """
        video = self._opened.videos.videos[self._opened.number]
        names = [PurePosixPath(frame).stem for frame in video.frames]
        return names if video.written is None else [names[index] for index in video.written]

    def __iter__(self) -> Iterator[PredictionFrame]:
        """Read the frames and the masks that are given on them."""
        videos, number = self._opened
        video = videos.videos[number]
        annotated = set(video.annotated)
        written = set(range(len(video.frames)) if video.written is None else video.written)
        newcomers = Newcomers()
        for index, image in enumerate(videos.iterate(number)):
            mask: Mask | None = None
            if index in annotated:
                mask = videos.read_checked_mask(number, index, (image.shape[0], image.shape[1]))
                if self._layout != "folder":
                    mask = newcomers.given(mask)
            yield PredictionFrame(PurePosixPath(video.frames[index]).stem, image, mask, index in written)

    @cached_property
    def _opened(self) -> OpenedVideo:
        return self._listing.open(self._video)


class ItemVideo:
    """A validation video in memory; its frames are called 00000, 00001 and so on."""

    def __init__(self, item: VideoItem) -> None:
        self._item = item

    @property
    def name(self) -> str:
        """Name of the video."""
        return self._item["name"]

    @property
    def layout(self) -> Layout:
        """The plain one."""
        return "davis"

    def written_names(self) -> list[str]:
        """Names of all frames."""
        return [f"{index:05d}" for index in range(len(self._item["frames"]))]

    def __iter__(self) -> Iterator[PredictionFrame]:
        """Return the frames, and objects where they are first seen."""
        newcomers = Newcomers()
        for name, image, mask in zip(self.written_names(), self._item["frames"], self._item["masks"], strict=True):
            yield PredictionFrame(name, image, newcomers.given(mask), is_written=True)


class StoredVideos(Dataset[PredictionVideo]):
    """The videos of a data root, the longest first, so that devices that share them finish at about the same time.

    Args:
        listing: Where they are listed.
        videos: What it lists.
        layout: Their layout.
    """

    def __init__(self, listing: VideoListing, videos: Sequence[ListedVideo], layout: Layout) -> None:
        self._listing = listing
        self._videos = videos
        self._layout = layout

    def __len__(self) -> int:
        """Number of videos."""
        return len(self._videos)

    def __getitem__(self, place: int) -> PredictionVideo:
        """Name one video; nothing is read before its frames are asked for."""
        return StoredVideo(self._listing, self._videos[place], self._layout)


class ValidationAsPrediction(Dataset[PredictionVideo]):
    """Validation videos, offered for prediction.

    Args:
        videos: The videos; a dataset with a length.
    """

    def __init__(self, videos: Dataset[VideoItem]) -> None:
        self._videos = videos

    def __len__(self) -> int:
        """Number of videos."""
        return len(self._videos)  # type: ignore[arg-type]  # torch's base class has no length

    def __getitem__(self, index: int) -> PredictionVideo:
        """Read one video."""
        return ItemVideo(self._videos[index])


def layout_of(videos: AnnotatedVideos) -> Layout:
    """Tell in which layout the results of videos are handed in."""
    if isinstance(videos, FolderVideos):
        return "folder"
    return "youtube-vos" if isinstance(videos, YouTubeVosVideos) else "davis"


def opened_videos(videos: AnnotatedVideos) -> StoredVideos:
    """Offer videos that are open already for prediction."""
    listing = OpenedListing(videos)
    return StoredVideos(listing, listing.videos(), layout_of(videos))


def prediction_loader(videos: Dataset[PredictionVideo]) -> DataLoader[PredictionVideo]:
    """One video at a time, in the process that predicts.

    Every device is offered all videos and takes those that no other has taken, see ``PredictionWriter``. Without a
    sampler of this kind Lightning would share them out beforehand.
    """
    everything: DistributedSampler[PredictionVideo] = DistributedSampler(videos, num_replicas=1, rank=0, shuffle=False)
    return DataLoader(videos, batch_size=1, collate_fn=_single, num_workers=0, sampler=everything)


class PredictionDataModule(pl.LightningDataModule):
    """Videos of a benchmark, or your own, for ``lightning predict``.

    The layout is detected: DAVIS (``JPEGImages/480p/VIDEO``, ``Annotations/480p/VIDEO``), a split of YouTube-VOS
    (``JPEGImages/VIDEO``, ``Annotations/VIDEO``, ``meta.json``), or your own videos (``videos/VIDEO.mp4`` or a folder
    of frames, ``masks/VIDEO``).

    Args:
        root: Folder of one of these layouts.
        image_set: List of videos below ``ImageSets/`` of a DAVIS root, for example ``2017/test-dev``; null means all.
        resolution: Folder below ``JPEGImages`` and ``Annotations`` of a DAVIS root.
        all_frames: Whether the network sees all frames of YouTube-VOS (``<split>_all_frames`` beside the split);
            results are written for every fifth one either way.
        video_names: Videos to predict; null means all.

    Raises:
        ConfigError: If an option is given that the root's layout does not have.
    """

    def __init__(
        self,
        root: str,
        *,
        image_set: str | None = None,
        resolution: str = "480p",
        all_frames: bool = False,
        video_names: list[str] | None = None,
    ) -> None:
        super().__init__()
        self.root = Path(root)
        self.image_set = image_set
        self.resolution = resolution
        self.all_frames = all_frames
        self.video_names = video_names
        self._videos: StoredVideos | None = None

    def setup(self, stage: str) -> None:
        """List the videos; on several devices the first one does, for all.

        Raises:
            MissingFileError: If the root does not exist.
            DataError: If the root has none of the layouts, or holds no video or not those that were named.
        """
        if self._videos is not None:
            return
        trainer = self.trainer
        if trainer is None or trainer.world_size == 1:
            videos, layout = self._list()
        else:
            found: tuple[list[ListedVideo], Layout] | VosZooError | None = None
            if trainer.is_global_zero:
                try:
                    found = self._list()
                except VosZooError as error:
                    found = error
            found = trainer.strategy.broadcast(found)
            assert found is not None, "the first process has listed the videos"
            if isinstance(found, VosZooError):
                raise found
            videos, layout = found
        self._videos = StoredVideos(self._listing, videos, layout)

    def predict_dataloader(self) -> DataLoader[PredictionVideo]:
        """One video at a time."""
        assert self._videos is not None, "setup comes first"
        return prediction_loader(self._videos)

    def count_videos(self) -> int:
        """Count the videos, before any process needs their files.

        Raises:
            VosZooError: As for :meth:`setup`.
        """
        return len(self._list()[0])

    def _list(self) -> tuple[list[ListedVideo], Layout]:
        videos = self._listing.videos()
        if not videos:
            self._open()  # which says what is missing
            raise DataError(f"Data root `{self.root}` has no video with masks. Check `--data.root`.")
        return videos, self._layout

    @cached_property
    def _layout(self) -> Layout:
        layout = find_format(self.root)
        if (self.image_set is not None and layout != "davis") or (self.all_frames and layout != "youtube-vos"):
            option = "all_frames" if self.all_frames else "image_set"
            raise ConfigError(
                f"{option} is given, but `{self.root}` has the layout {layout}. Expected "
                f"{'youtube-vos' if self.all_frames else 'davis'}. Leave the option out, or check `--data.root`."
            )
        return layout

    @cached_property
    def _listing(self) -> VideoListing:
        layout = self._layout
        split = self.root.absolute()
        if layout == "folder":
            return FolderListing(self.root, names=self.video_names)
        if not self.root.exists() or has_shards(self.root):
            return OpenedListing(self._open())
        if layout == "davis":
            return DavisListing(self.root, resolution=self.resolution, names=self.video_names, image_set=self.image_set)
        return YouTubeVosListing(split, all_frames=self.all_frames, names=self.video_names)

    def _open(self) -> AnnotatedVideos:
        if self._layout == "davis":
            return DavisVideos(
                self.root,
                resolution=self.resolution,
                names=self.video_names,
                image_set=self.image_set,
                min_frames=1,
                cache_bytes=0,
            )
        if self._layout == "folder":
            return FolderVideos(self.root, names=self.video_names, min_frames=1, cache_bytes=0)
        split = self.root.absolute()
        return YouTubeVosVideos(
            split.parent,
            split=split.name,
            all_frames=self.all_frames,
            names=self.video_names,
            min_frames=1,
            cache_bytes=0,
        )


def _single(items: Sequence[PredictionVideo]) -> PredictionVideo:
    return items[0]
