"""Clips from packed videos in the order in which they lie in their shards."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from vos_zoo.data.clips.dataset import ClipDataset, ClipRequest, ClipSettings, ClipSource
from vos_zoo.data.clips.from_videos import VideoClips
from vos_zoo.data.layouts.packed import PackedVideos
from vos_zoo.data.layouts.videos import AnnotatedVideos, Image

__all__ = ["ClipsInOrder", "ShardOrder"]

_STREAMS = 4  # shards that are read side by side, so that neighbours in a batch come from different ones


class ShardOrder:
    """In which order the videos of shards are used: shards in an order drawn for each pass, each from front to back.

    It depends on the seed and the pass alone, so that every process knows it without asking.

    Args:
        shards: Videos of each shard, in the order in which they lie there.
        seed: Seed of the orders.

    Example:
        >>> order = ShardOrder([(0, 1), (2,), (3, 4)], seed=0)
        >>> sorted(order.video_at(place) for place in range(5))
        [0, 1, 2, 3, 4]
        >>> sorted(order.video_at(place) for place in range(5, 10))
        [0, 1, 2, 3, 4]
    """

    def __init__(self, shards: Sequence[Sequence[int]], *, seed: int) -> None:
        self._shards = shards
        self._seed = seed
        self._total = sum(len(shard) for shard in shards)
        self._order = lru_cache(maxsize=2)(self._new_order)  # workers prepare the next pass while this one ends

    def video_at(self, place: int) -> int:
        """Return the video at a place, counted over all passes."""
        passes, at = divmod(place, self._total)
        return int(self._order(passes)[at])

    def _new_order(self, passes: int) -> list[int]:
        drawn = np.random.default_rng([self._seed, passes]).permutation(len(self._shards))
        streams: list[list[int]] = [[] for _ in range(_STREAMS)]
        for shard in drawn:
            min(streams, key=len).extend(self._shards[shard])
        longest = max(map(len, streams))
        # Each stream is spread evenly over the pass, whatever its length.
        spread = [
            ((at + 0.5) / len(stream) * longest, number, video)
            for number, stream in enumerate(streams)
            for at, video in enumerate(stream)
        ]
        return [video for _, _, video in sorted(spread)]


class ClipsInOrder(ClipDataset):
    """A clip of every video in turn; clips of an epoch follow those of the epoch before, with no video left out.

    Args:
        clips: How clips are drawn from one video.
        videos: The videos of ``clips``.
        settings: Shape of clips.
        seed: Seed of everything random.
        length: Number of clips per epoch.
    """

    def __init__(
        self, clips: VideoClips, videos: PackedVideos, settings: ClipSettings, *, seed: int, length: int
    ) -> None:
        super().__init__([clips], settings, seed=seed, length=length)
        self._clips = clips
        self._videos = videos
        self._shard_order = ShardOrder(videos.shards, seed=seed)

    def _source(self, request: ClipRequest, rng: np.random.Generator) -> ClipSource:
        video = self._shard_order.video_at(request.epoch * len(self) + request.number)
        return dataclasses.replace(self._clips, videos=_OneVideo(self._videos, video))

    def __getstate__(self) -> dict[str, object]:
        """Recompute the order in a worker process."""
        return {**self.__dict__, "_shard_order": None}

    def __setstate__(self, state: dict[str, object]) -> None:
        """Take everything over but the order."""
        self.__dict__.update(state)
        self._shard_order = ShardOrder(self._videos.shards, seed=self.seed)


class _OneVideo(AnnotatedVideos):
    """One of several videos, as if there were no others."""

    def __init__(self, videos: AnnotatedVideos, index: int) -> None:
        super().__init__([videos.videos[index]], cache_bytes=0)
        self._videos = videos
        self._index = index

    def read_frame(self, video: int, frame: int) -> Image:
        """Decode one frame."""
        return self._videos.read_frame(self._index, frame)

    def read_mask(self, video: int, frame: int) -> Image | None:
        """Decode the mask of one frame."""
        return self._videos.read_mask(self._index, frame)
