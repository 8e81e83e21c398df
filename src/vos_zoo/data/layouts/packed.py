"""Videos packed into tar files that are read from front to back: few large files instead of many small ones.

A shard is a tar file as WebDataset reads it: the frame ``dog/00012.jpg`` and its mask ``dog/00012.mask.png`` are one
sample, and the frames of a video follow one another. A JSON file beside each shard says where everything lies, so that
any frame can be read without looking through the shard.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image as PillowImage

from vos_zoo.data.layouts.archives import decode_mask, decode_picture
from vos_zoo.data.layouts.last_read import note_reading
from vos_zoo.data.layouts.videos import AnnotatedVideo, AnnotatedVideos, Image, TreeVideos
from vos_zoo.errors import ConfigError, DataError, MissingFileError, OutputExistsError
from vos_zoo.files import atomic_path, check_outputs, folder_lock, parse_json
from vos_zoo.media.mask_values import davis_palette
from vos_zoo.run_file import RUN_FILE, changed_settings
from vos_zoo.version import __version__

__all__ = ["PackReport", "PackedVideos", "pack_videos"]

_SHARD_BYTES = 256 * 2**20
_SHARD = "shard-{:05d}"
_MASK = ".mask.png"


@dataclass(frozen=True)
class PackReport:
    """What was packed.

    Attributes:
        folder: Where.
        shards: Number of shards.
        videos: Number of videos.
        frames: Number of annotated frames.
        size: Bytes of all shards.
    """

    folder: Path
    shards: int
    videos: int
    frames: int
    size: int


def pack_videos(
    videos: AnnotatedVideos,
    out: str | os.PathLike[str],
    *,
    source: str | os.PathLike[str],
    shard_bytes: int = _SHARD_BYTES,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> PackReport:
    """Write the annotated frames of videos into shards, in an order drawn once.

    Frames and masks that are files keep their bytes; those of video files are stored as PNG. A shard and its index
    appear once they are complete, and an interrupted run resumes with the missing shards.

    Args:
        videos: What to pack.
        out: Folder of the shards; made if it does not exist.
        source: Where the videos lie, which must not be ``out``.
        shard_bytes: A shard takes no further video once it holds so many bytes of frames and masks.
        seed: Seed of the order of the videos.
        progress: Called with the number of packed videos and of all.

    Returns:
        What was packed.

    Raises:
        OutputExistsError: If ``out`` is ``source``, or holds something else.
        OutputInUseError: If another run packs into ``out``.
        ConfigError: If ``out`` was begun with other videos or settings, or ``shard_bytes`` is below 1.
        DataError: If a file of the source cannot be read.
    """
    if shard_bytes < 1:
        raise ConfigError(f"shard_bytes is {shard_bytes}. Expected at least 1, for example 268435456 (256 MiB).")
    folder = Path(out)
    check_outputs([folder], [Path(source)])
    order = [int(index) for index in np.random.default_rng(seed).permutation(len(videos))]
    settings = {
        "source": str(Path(source).resolve()),
        "videos": [videos.videos[index].name for index in order],
        "shard_bytes": shard_bytes,
        "seed": seed,
    }
    with folder_lock(folder):
        _check_folder(folder, settings)
        with atomic_path(folder / RUN_FILE) as partial:
            content = {"vos_zoo_version": __version__, "settings": settings}
            partial.write_text(json.dumps(content) + "\n", encoding="utf-8")
        shards = frames = size = done = 0
        while done < len(order):
            index = folder / f"{_SHARD.format(shards)}.json"
            if not index.is_file():
                _write_shard(videos, order[done:], index, shard_bytes)
            entries = _read_index(index)
            done += len(entries["videos"])
            shards, size = shards + 1, size + entries["bytes"]
            frames += sum(len(entry["frames"]) for entry in entries["videos"])
            if progress is not None:
                progress(done, len(order))
    return PackReport(folder, shards, len(order), frames, size)


class PackedVideos(AnnotatedVideos):
    """Videos of shards that :func:`pack_videos` made.

    Args:
        root: Folder of the shards.
        names: Videos to use, in this order; None means all, in the order of the shards.
        min_frames: Videos with fewer annotated frames are left out.
        cache_bytes: Limit of the frame cache in bytes.

    Attributes:
        shards: Indices of the videos of each shard, in the order in which they lie there.

    Raises:
        MissingFileError: If ``root`` does not exist.
        DataError: If it holds no shards, one is missing or was cut, or a named video is missing.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        names: Sequence[str] | None = None,
        min_frames: int = 3,
        cache_bytes: int = 512 * 2**20,
    ) -> None:
        self.root = Path(root)
        found: dict[str, tuple[AnnotatedVideo, Path, list[Any]]] = {}
        for path in _index_files(self.root):
            entries = _read_index(path)
            shard = path.with_suffix(".tar")
            _check_shard(shard, entries["bytes"])
            for entry in entries["videos"]:
                frames = tuple(f"{entry['name']}/{frame[0]}{frame[1]}" for frame in entry["frames"])
                masks = tuple(f"{entry['name']}/{frame[0]}{_MASK}" for frame in entry["frames"])
                video = AnnotatedVideo(entry["name"], frames, masks, entry["frame_step"])
                if len(frames) >= min_frames:
                    found[video.name] = video, shard, [frame[2:] for frame in entry["frames"]]
        chosen = list(found) if names is None else list(names)
        missing = [name for name in chosen if name not in found]
        if missing or not chosen:
            what = f"videos {missing[:5]} are missing" if missing else f"no video has {min_frames} annotated frames"
            raise DataError(
                f"In the shards of {str(self.root)!r} {what}. Pack the data again with `vos-zoo data pack`."
            )
        super().__init__([found[name][0] for name in chosen], cache_bytes=cache_bytes)
        self._shard_of = [found[name][1] for name in chosen]
        self._places = [found[name][2] for name in chosen]
        self._handles: dict[Path, int] = {}
        self._process = os.getpid()
        by_shard: dict[Path, list[int]] = {}
        for index, shard in enumerate(self._shard_of):
            by_shard.setdefault(shard, []).append(index)
        self.shards = tuple(tuple(indices) for indices in by_shard.values())

    def read_frame(self, video: int, frame: int) -> Image:
        """Decode one frame."""
        offset, size, _, _ = self._places[video][frame]
        return decode_picture(self._read(video, offset, size), self._place(video, self.videos[video].frames[frame]))

    def read_mask(self, video: int, frame: int) -> Image | None:
        """Decode the mask of one frame."""
        _, _, offset, size = self._places[video][frame]
        return decode_mask(self._read(video, offset, size), self._place(video, self.videos[video].masks[frame] or ""))

    def _read(self, video: int, offset: int, size: int) -> bytes:
        shard = self._shard_of[video]
        note_reading(shard)
        if self._process != os.getpid():  # a fork shares no handle, whose place in the file it would move
            self._handles, self._process = {}, os.getpid()
        if shard not in self._handles:
            self._handles[shard] = os.open(shard, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        if hasattr(os, "pread"):
            return os.pread(self._handles[shard], size, offset)
        os.lseek(self._handles[shard], offset, os.SEEK_SET)
        return os.read(self._handles[shard], size)

    def _place(self, video: int, name: str) -> str:
        return f"{name!r} in {str(self._shard_of[video])!r}"

    def __getstate__(self) -> dict[str, object]:
        """Leave open files out when the object travels to a worker process."""
        return {**super().__getstate__(), "_handles": {}}


def _write_shard(videos: AnnotatedVideos, order: Sequence[int], index: Path, shard_bytes: int) -> None:
    """Write videos into one shard until it is full, then its index, which makes the shard count."""
    entries: list[dict[str, Any]] = []
    with atomic_path(index.with_suffix(".tar")) as partial:
        size = 0
        with tarfile.open(partial, "w", format=tarfile.GNU_FORMAT) as shard:
            for video in order:
                entry = videos.videos[video]
                frames = []
                for frame in entry.annotated:
                    stem, suffix, picture, mask = _contents(videos, video, frame)
                    places = [
                        _add(shard, f"{entry.name}/{stem}{suffix}", picture),
                        _add(shard, f"{entry.name}/{stem}{_MASK}", mask),
                    ]
                    size += len(picture) + len(mask)
                    frames.append([stem, suffix, *places[0], *places[1]])
                entries.append({"name": entry.name, "frame_step": entry.frame_step, "frames": frames})
                if size >= shard_bytes:
                    break
        length = partial.stat().st_size
    with atomic_path(index) as partial:
        partial.write_text(json.dumps({"bytes": length, "videos": entries}) + "\n", encoding="utf-8")


def _contents(videos: AnnotatedVideos, video: int, frame: int) -> tuple[str, str, bytes, bytes]:
    """Give name, ending and bytes of a frame, and the bytes of its mask."""
    entry = videos.videos[video]
    name, mask_name = entry.frames[frame], entry.masks[frame]
    # WebDataset ends the name of a sample at the first dot.
    stem = PurePosixPath(name).stem.replace(".", "_")
    if not isinstance(videos, TreeVideos):
        image, mask = videos.read(video, frame)
        return stem, ".png", _png(PillowImage.fromarray(image)), _png(_palette_image(mask))
    assert mask_name is not None, "annotated frames have masks"
    picture, suffix = videos.files.read(name), PurePosixPath(name).suffix.lower()
    if videos.changes_masks:
        return stem, suffix, picture, _png(_palette_image(videos.read(video, frame)[1]))
    return stem, suffix, picture, videos.mask_files.read(mask_name)


def _palette_image(mask: Image) -> PillowImage.Image:
    image = PillowImage.fromarray(np.ascontiguousarray(mask))
    image.putpalette(davis_palette().astype(np.uint8).tobytes())
    return image


def _png(image: PillowImage.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, format="PNG", compress_level=1)
    return content.getvalue()


def _add(shard: tarfile.TarFile, name: str, content: bytes) -> tuple[int, int]:
    """Add a member; returns where its bytes begin, and how many they are."""
    member = tarfile.TarInfo(name)  # without times and owners, so that equal data give equal shards
    member.size = len(content)
    shard.addfile(member, io.BytesIO(content))
    padded = -(-len(content) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    return shard.offset - padded, len(content)


def _index_files(root: Path) -> Iterator[Path]:
    if not root.is_dir():
        raise MissingFileError(f"Data root {str(root)!r} is not a folder. Expected one of `vos-zoo data pack`.")
    paths = sorted(root.glob("shard-*.json"))
    expected = [f"{_SHARD.format(number)}.json" for number in range(len(paths))]
    if not paths or [path.name for path in paths] != expected:
        found = f"shards from {paths[0].name} to {paths[-1].name} with gaps" if paths else "no shards"
        raise DataError(f"Data root {str(root)!r} has {found}. Pack the data with `vos-zoo data pack`, or copy all.")
    yield from paths


def _read_index(path: Path) -> dict[str, Any]:
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        for entry in content["videos"]:
            if not isinstance(entry["name"], str) or type(entry["frame_step"]) is not int:
                raise TypeError(entry["name"])
            for stem, suffix, *places in entry["frames"]:
                if not isinstance(stem, str) or not isinstance(suffix, str) or len(places) != 4 or min(places) < 0:
                    raise TypeError(stem)
        return {"bytes": int(content["bytes"]), "videos": content["videos"]}
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"Index {str(path)!r} is damaged ({error!r}). Pack the data again, or copy it again."
        ) from error


def _check_shard(shard: Path, size: int) -> None:
    found = shard.stat().st_size if shard.is_file() else None
    if found != size:
        what = "is missing" if found is None else f"has {found} bytes"
        raise DataError(f"Shard {str(shard)!r} {what}. Expected {size} bytes, as its index says. Copy it again.")


def _check_folder(folder: Path, settings: dict[str, Any]) -> None:
    run_file = folder / RUN_FILE
    if not run_file.is_file():
        other = next((entry.name for entry in folder.iterdir() if not entry.name.startswith(".")), None)
        if other is not None:
            raise OutputExistsError(f"`{folder}` holds {other} and no shards. Choose a new folder.")
        return
    try:
        changed = changed_settings(run_file, settings)
    except ValueError as error:
        raise ConfigError(f"`{run_file}` is damaged ({error}). Choose another folder.") from error
    if changed:
        names = ", ".join(change.split(" ", 1)[0] for change in changed)
        raise ConfigError(
            f"The shards in `{folder}` were made from other data or settings: {names} differ. Continue with the same "
            "ones, or choose another folder."
        )
