"""Images with masks: image-mask pairs and COCO's instance annotations."""

from __future__ import annotations

import abc
import csv
import hashlib
import io
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np

from vos_zoo.data.layouts.archives import FileTree
from vos_zoo.data.layouts.videos import Image
from vos_zoo.errors import DataError, MissingFileError
from vos_zoo.files import parse_json

_PICTURES = (".jpg", ".jpeg")
_MAX_ID = 254
_LONGEST = 60  # bits of a run
_FARTHEST = 2**24  # from the image's corner, in sixteenths of a pixel; OpenCV counts in 32 bits
_MIN_AREA = 32 * 32  # pixels; COCO calls smaller objects small, and they are hardly worth following


class LabelledPictures(abc.ABC):
    """Images with the masks of their objects.

    Attributes:
        keys: Name of every image.
    """

    keys: Sequence[str]

    @abc.abstractmethod
    def read(self, index: int) -> tuple[Image, Image]:
        """Return the RGB image (H, W, 3) and its object ids (H, W), both uint8.

        Raises:
            DataError: If a file cannot be read, or the two differ in size.
        """

    def __len__(self) -> int:
        """Number of images."""
        return len(self.keys)


class ImageMaskPairs(LabelledPictures):
    """Images with masks of the same name, in folders or zip shards.

    ``NAME.png`` holds the mask of ``NAME.jpg``, beside it or, with ``masks``, in a folder of masks.

    An ``index.csv`` with a column ``key`` limits the pairs and, with a column ``source``, lets some be chosen by
    origin.

    Args:
        root: Folder that holds the pairs, sub-folders and zip shards included.
        masks: Folder that holds the masks; None means beside the images.
        sources: Keep only pairs of these sources (the ``source`` column, or the first folder of the name); None keeps
            all.
        held_back: Number of pairs to leave out, for measuring; :func:`held_back_keys` says which.

    Raises:
        MissingFileError: If ``root`` does not exist.
        DataError: If no pair is left.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        masks: str | os.PathLike[str] | None = None,
        sources: Sequence[str] | None = None,
        held_back: int = 0,
    ) -> None:
        self._files = FileTree(root)
        self._masks = self._files if masks is None else FileTree(masks)
        names = self._files.names()
        pictures = {
            str(PurePosixPath(name).with_suffix("")): name for name in names if name.lower().endswith(_PICTURES)
        }
        listed = self._listed()
        keys = [
            key for key in (pictures if listed is None else listed) if key in pictures and f"{key}.png" in self._masks
        ]
        kept_back = held_back_keys(keys, held_back)  # of all sources, so that no choice of sources trains on them
        keys = [key for key in keys if key not in kept_back]
        if sources is not None:
            keys = [key for key in keys if (listed or {}).get(key, key.split("/")[0]) in sources]
        if not keys:
            raise DataError(
                f"Found no image with a mask in {str(Path(root))!r}"
                f"{'' if sources is None else f' from the sources {list(sources)}'} ({len(pictures)} JPEG "
                "images). Expected NAME.png beside NAME.jpg, or in a folder of masks, as files or in zip files. "
                "Check the data root."
            )
        self.keys = sorted(keys)
        self._pictures = pictures

    def read(self, index: int) -> tuple[Image, Image]:
        """Return the RGB image (H, W, 3) and its object ids (H, W), both uint8."""
        key = self.keys[index]
        image = self._files.read_picture(self._pictures[key])
        mask = self._masks.read_mask(f"{key}.png")
        _check_size(key, image, mask.shape)
        return image, mask

    def _listed(self) -> dict[str, str] | None:
        if "index.csv" not in self._files:
            return None
        rows = csv.DictReader(io.StringIO(self._files.read("index.csv").decode()))
        return {row["key"]: row.get("source") or row["key"].split("/")[0] for row in rows if row.get("key")}


def held_back_keys(keys: Iterable[str], count: int) -> frozenset[str]:
    """Choose images by their names alone, the same ones on every machine.

    Args:
        keys: Names of all images.
        count: How many to choose, at most.

    Returns:
        Those whose names have the smallest SHA-256.

    Example:
        >>> sorted(held_back_keys(["bird", "boat", "bus"], 2))
        ['boat', 'bus']
    """
    return frozenset(sorted(keys, key=lambda key: hashlib.sha256(key.encode()).digest())[:count])


class CocoInstances(LabelledPictures):
    """Images with the instance annotations of a COCO JSON file; crowds and small instances are background.

    Smaller instances lie over larger ones where their outlines overlap.

    Args:
        images: Folder of the images, for example ``train2017``.
        annotations: JSON file with ``images`` and ``annotations``, for example ``instances_train2017.json``.

    Raises:
        MissingFileError: If the folder or the file does not exist.
        DataError: If the file is not JSON, lacks required keys, or names no image that has instances.
    """

    def __init__(self, images: str | os.PathLike[str], annotations: str | os.PathLike[str]) -> None:
        self._files = FileTree(images)
        self._path = Path(annotations)
        content = self._read_json()
        names: dict[Any, str] = {}
        for entry in content["images"]:
            self._require(entry, "images", ("id", "file_name", "height", "width"))
            self._check_types(entry, "images", {"id": (int, str), "file_name": str})
            names[entry["id"]] = entry["file_name"]
        by_picture: dict[str, list[Any]] = {}
        for entry in content["annotations"]:
            self._require(entry, "annotations", ("image_id", "segmentation"))
            self._check_types(entry, "annotations", {"image_id": (int, str), "area": (int, float)})
            if entry["image_id"] not in names:
                raise DataError(
                    f"COCO file {str(self._path)!r} annotates the image {entry['image_id']!r}, which its `images` do "
                    "not hold. Expected annotations of listed images. Check that the file is complete."
                )
            is_large = entry.get("area", _MIN_AREA) >= _MIN_AREA
            if is_large and not entry.get("iscrowd") and entry["segmentation"]:
                by_picture.setdefault(names[entry["image_id"]], []).append(entry["segmentation"])
        self.keys = sorted(name for name in by_picture if name in self._files)
        if not self.keys:
            raise DataError(
                f"None of the {len(by_picture)} annotated images of {str(self._path)!r} lies in "
                f"{os.fspath(images)!r}. Expected files such as {next(iter(by_picture), '000000000009.jpg')!r}. Check "
                "the folder of images."
            )
        # One string per image: lists of numbers would take ten times the memory, in every worker.
        self._outlines = {key: json.dumps(by_picture[key], separators=(",", ":")).encode() for key in self.keys}

    def read(self, index: int) -> tuple[Image, Image]:
        """Return the RGB image (H, W, 3) and its object ids (H, W), both uint8."""
        key = self.keys[index]
        image = self._files.read_picture(key)
        planes = [
            decode_segmentation(segmentation, image.shape[0], image.shape[1], name=f"{self._path}: {key}")
            for segmentation in json.loads(self._outlines[key])
        ]
        planes.sort(key=cv2.countNonZero, reverse=True)
        mask = np.zeros(image.shape[:2], np.uint8)
        for label, plane in enumerate(planes[-_MAX_ID:], start=1):
            mask[plane > 0] = label
        return image, mask

    def _read_json(self) -> dict[str, list[dict[str, Any]]]:
        if not self._path.is_file():
            raise MissingFileError(f"There is no COCO file {str(self._path)!r}. Check the path of the annotations.")
        try:
            content = parse_json(self._path.read_bytes())
        except ValueError as error:
            raise DataError(f"COCO file {str(self._path)!r} is not JSON ({error}). Copy it again.") from error
        for key in ("images", "annotations"):
            if not isinstance(content, dict) or not isinstance(content.get(key), list):
                raise DataError(
                    f"COCO file {str(self._path)!r} has no list {key!r}. Expected instance annotations with `images` "
                    "and `annotations`. Check that it is the right file."
                )
        loaded: dict[str, list[dict[str, Any]]] = content
        return loaded

    def _check_types(self, entry: dict[str, Any], place: str, kinds: dict[str, Any]) -> None:
        wrong = next((key for key, kind in kinds.items() if key in entry and not isinstance(entry[key], kind)), None)
        if wrong is not None:
            raise DataError(
                f"COCO file {str(self._path)!r} has a {type(entry[wrong]).__name__} as {wrong} in `{place}`. Expected "
                "a number or a name. Check that it holds instance annotations."
            )

    def _require(self, entry: Any, place: str, keys: Sequence[str]) -> None:
        missing = [key for key in keys if not isinstance(entry, dict) or key not in entry]
        if missing:
            raise DataError(
                f"COCO file {str(self._path)!r} has an entry without {', '.join(missing)} in `{place}`. Expected "
                f"{', '.join(keys)} in each. Check that it holds instance annotations."
            )


def decode_segmentation(segmentation: Any, height: int, width: int, *, name: str) -> Image:
    """Paint an instance of a COCO file.

    Args:
        segmentation: Polygons, each a list of x and y in pixels, or a run-length code with ``counts`` and ``size``.
        height: Of the image, in pixels.
        width: Of the image, in pixels.
        name: What messages call the instance.

    Returns:
        0 and 1, shape (height, width).

    Raises:
        DataError: If it is neither, or the run lengths do not fit the image.

    Source: format of COCO (Lin et al., ECCV 2014): runs alternate between outside and inside, column by column; the
        compressed form stores differences to the count before the last, five bits a character.

    Example:
        >>> decode_segmentation({"counts": [2, 3, 1], "size": [2, 3]}, 2, 3, name="x").tolist()
        [[0, 1, 1], [0, 1, 0]]
    """
    try:
        if isinstance(segmentation, dict) and "counts" in segmentation:
            return _paint_runs(segmentation["counts"], segmentation.get("size"), height, width, name)
        if isinstance(segmentation, list):
            return _paint_polygons(segmentation, height, width)
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"An instance of {name} holds something else than numbers ({error}). Expected polygons or a run-length "
            "code. Mend or remove it."
        ) from error
    raise DataError(
        f"An instance of {name} is a {type(segmentation).__name__}. Expected polygons or a run-length code."
    )


def _paint_runs(counts: Any, size: Any, height: int, width: int, name: str) -> Image:
    is_fitting = list(size or ()) == [height, width]
    # More runs than pixels, empty ones included, are not an image; nor is a longer text, at four characters for each.
    if is_fitting and len(counts) <= 4 * (height * width + 2):
        runs = np.asarray(_decompress(counts) if isinstance(counts, str) else counts)
        is_fitting = runs.ndim == 1 and runs.dtype.kind in "iu" and len(runs) > 0
        is_fitting = is_fitting and runs.min() >= 0 and runs.max() <= height * width  # so that their sum is exact
        if is_fitting and runs.sum() == height * width:
            inside = np.arange(len(runs)) % 2
            return np.repeat(inside, runs).reshape(width, height).T.astype(np.uint8)
    raise DataError(
        f"A run-length code of {name} is for the size {size} or does not cover it. Expected {height}×{width} (height × "
        "width), as its image has. Check that images and file belong together."
    )


def _paint_polygons(segmentation: list[Any], height: int, width: int) -> Image:
    plane = np.zeros((height, width), np.uint8)
    for polygon in segmentation:
        if len(polygon) < 6 or len(polygon) % 2:
            continue  # COCO holds a few lines and points
        # COCO counts from the corner of the first pixel, OpenCV from its centre; 4 binary digits keep fractions.
        points = np.round((np.asarray(polygon, np.float64).reshape(-1, 2) - 0.5) * 16)
        if not np.abs(points).max() < _FARTHEST:  # also NaN
            raise ValueError("a polygon lies far outside")
        points = points.astype(np.int32)
        cv2.fillPoly(plane, [points], 1, shift=4)
    return plane


def _decompress(text: str) -> list[int]:
    counts: list[int] = []
    value = shift = 0
    for character in text.encode("ascii"):
        bits = character - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if shift > _LONGEST:  # one number of a million digits would take hours
            raise ValueError("a run without an end")
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    return counts


def _check_size(key: str, image: Image, mask_size: tuple[int, ...]) -> None:
    if image.shape[:2] != mask_size:
        raise DataError(
            f"Pair {key!r} has an image of {image.shape[1]}×{image.shape[0]} and a mask of {mask_size[1]}×"
            f"{mask_size[0]} pixels. Expected the same size. Mend or remove the pair."
        )
