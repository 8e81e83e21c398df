"""Masks in and out: files of object ids, their colours, and matching them to frames.

Convention: a mask is an (H, W) integer array, 0 is background, every other value is the id of one object.
Pillow reads and writes them, since OpenCV turns palette ids into grey levels.
"""

from __future__ import annotations

import io
import logging
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vos_zoo.errors import MaskError, MissingFileError, ShapeError
from vos_zoo.files import atomic_path, local_path, natural_key, refuse_dangling
from vos_zoo.media.absences import ABSENT_FILE, read_absences
from vos_zoo.media.frame_matching import find_frames
from vos_zoo.media.frame_names import FrameNames, some_names
from vos_zoo.media.mask_decoding import MAX_ID, DecodedMask, Mask, decode_mask
from vos_zoo.media.mask_notes import say_once, warn_of_palette_greys, warn_of_void_rims
from vos_zoo.media.mask_values import RIM_VALUE, VoidChoice, check_void, davis_palette, has_void_rims

MASK_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".gif", ".webp")
"""Endings of the files that a folder of masks may hold; JPEG is none of them, since it changes ids."""

_PALETTE_MAX_ID = 255
_logger = logging.getLogger(__name__)


def read_mask(
    path: str | Path, *, size: tuple[int, int] | None = None, void: VoidChoice = "auto", void_as: int = 0
) -> Mask:
    """Read a file of object ids.

    Palette, grey (8 or 16 bit) and 1-bit images are read. Anything unusual is logged once: an 8-bit grey
    mask that holds only 0 and 255 is taken as one object with id 1, if ``void`` is not a number; 255 along the rims of
    objects marks pixels without an opinion, which belong to no object; and the grey levels 38, 75, 113 … are those of
    ids 1, 2, 3 … in a palette mask that was read as grey.

    Args:
        path: The image file; ``~`` is the home folder.
        size: (H, W) to resample the mask to, nearest neighbour; None keeps its own size.
        void: The value of pixels without an opinion. "auto" takes 255 for it where it rims objects; None takes every
            value for an id.
        void_as: What these pixels become; 0 makes them background.

    Returns:
        Object ids, shape (H, W); uint8 when all ids fit, int32 otherwise.

    Raises:
        MissingFileError: If there is no such file.
        MaskError: If the file is not a readable image, has colour or alpha channels, or is anti-aliased or a JPEG.
        ConfigError: If ``void`` is not a value, "auto" or None.

    Example:
        >>> from vos_zoo.demo import demo_clip
        >>> mask = read_mask(demo_clip().first_mask)
        >>> mask.shape, mask_ids(mask)
        ((480, 854), [1])
    """
    check_void(void)
    path = local_path(path)
    ids = _named_ids(decode_mask(path), path, void, void_as=void_as)
    return ids if size is None else resize_mask(ids, size)


def write_mask(path: str | Path, mask: NDArray[Any], palette: NDArray[np.uint8] | None = None) -> None:
    """Write object ids as a PNG that ``read_mask(path, void=None)`` reads back exactly.

    Ids up to 255 give a palette PNG, larger ids a 16-bit grey PNG. The file appears complete or not at all.

    Args:
        path: Where to write; must end in .png. Missing folders are made.
        mask: Object ids 0..65535, shape (H, W), integer or bool.
        palette: RGB colours of the ids, shape (K, 3) with K <= 256; None means ``davis_palette()``.

    Raises:
        MaskError: If the mask is not a two-dimensional array of ids in range, or the name does not end in .png.
        ShapeError: If the palette has another shape.
    """
    path = Path(path)
    ids = _checked_ids(mask)
    if path.suffix.lower() != ".png":
        raise MaskError(
            f"Mask path `{path}` ends in `{path.suffix}`. Masks are written as PNG; use a name ending in .png."
        )
    if ids.max() > _PALETTE_MAX_ID:
        image = Image.fromarray(ids.astype(np.uint16))
    else:
        image = Image.fromarray(ids.astype(np.uint8))
        # putpalette turns a grey image into a palette image without touching its values.
        image.putpalette(_palette_bytes(palette))
    content = io.BytesIO()  # Pillow writing to a full disk does not say that it is full
    # Masks are runs of one value: looking for nothing else takes a third of the time, for files as small.
    image.save(content, format="PNG", compress_type=zlib.Z_RLE)
    with atomic_path(path) as partial:
        partial.write_bytes(content.getvalue())


def mask_ids(mask: NDArray[Any], *, void: int | None = None) -> list[int]:
    """List the objects of a mask.

    Args:
        mask: Object ids, shape (H, W).
        void: A value that is not an object, or None.

    Returns:
        Ids in rising order, without 0 and ``void``.

    Example:
        >>> mask_ids(np.array([[0, 7], [2, 255]]), void=255)
        [2, 7]
    """
    ids = np.flatnonzero(np.bincount(mask.ravel(), minlength=256)) if mask.dtype == np.uint8 else np.unique(mask)
    return [int(i) for i in ids if i != 0 and i != void]


def resize_mask(mask: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Resample a mask with nearest neighbour, pixel centres aligned; no new ids appear.

    Args:
        mask: Object ids, shape (H, W).
        size: (H, W) of the result.

    Returns:
        Object ids, shape ``size``, in the type of ``mask``. The mask itself if it already has that size.

    Raises:
        ShapeError: If the mask is not two-dimensional, or a size is below 1.

    Example:
        >>> resize_mask(np.array([[1, 2]]), (2, 4)).tolist()
        [[1, 1, 2, 2], [1, 1, 2, 2]]
    """
    if mask.ndim != 2 or min(mask.shape) < 1 or min(size) < 1:
        raise ShapeError(f"Cannot resample a mask of shape {mask.shape} to {size}. Both must be (H, W) of at least 1.")
    if mask.shape == tuple(size):
        return mask
    rows, columns = ((2 * np.arange(new) + 1) * old // (2 * new) for old, new in zip(mask.shape, size, strict=True))
    return np.ascontiguousarray(mask[rows[:, None], columns[None, :]])


def check_mask_size(
    mask: NDArray[Any], frame_size: tuple[int, int], *, resize: bool = False, name: str = "The mask"
) -> NDArray[Any]:
    """Make sure that a mask fits its frame.

    Args:
        mask: Object ids, shape (H, W).
        frame_size: (H, W) of the frame.
        resize: Resample a mask of another size (nearest neighbour) instead of refusing it.
        name: What messages call the mask, such as "Mask `masks/00000.png`".

    Returns:
        The mask, resampled if it had to be.

    Raises:
        MaskError: If the sizes differ and ``resize`` is off.
    """
    height, width = frame_size
    if mask.shape == (height, width):
        return mask
    mask_height, mask_width = mask.shape
    sizes = f"{name} is {mask_width}x{mask_height} (width x height), its frame {width}x{height}."
    if not resize:
        rotated = " It looks as if one of the two were turned by 90 degrees." if mask.shape == (width, height) else ""
        raise MaskError(
            f"{sizes}{rotated} Mask and frame must have the same size; draw the mask on a frame of this video, "
            "or let it be resampled with resize_mask=True (`--resize-mask`)."
        )
    if abs(mask_width * height - mask_height * width) > max(mask_width, mask_height, width, height):
        _logger.warning("%s The shapes differ too, so the resampled mask is stretched.", sizes)
    return resize_mask(mask, frame_size)


class MaskFolder:
    """The annotated masks of one video, matched to its frames by name.

    A single file belongs to the first frame. The files of a folder belong to the frames of the same stem; leading
    zeros may differ ("5.png" for frame "00005") as long as only one frame can be meant. Masks are read when asked for.
    A file ``absent.json`` in the folder says which objects frames do not show, ``{"00012": [3]}``.

    Args:
        path: One mask file, or a folder of masks named like the frames.
        frame_names: Names of the frames to segment, in their order.
        all_names: Names of all frames of the video, where only some of them are segmented; None means ``frame_names``.
            Masks of the other frames are left out, which is logged.
        void: The value of pixels without an opinion; see ``read_mask``.
        void_as: What these pixels are given as; 0 makes them background.
        first_number: The number by which the files call the first frame of the video; None detects it, see
            :func:`~vos_zoo.media.frame_matching.find_frames`.

    Attributes:
        path: Where the masks are.
        files: Mask file of every annotated frame, by frame name, in the order of the frames.
        absences: Objects that frames do not show, by frame name.

    Raises:
        MissingFileError: If there is no such file or folder, or masks are links to files that are not there.
        ConfigError: If ``void`` is not a value, "auto" or None.
        MaskError: If the folder holds no masks, a mask matches no frame or more than one, two masks match one frame,
            or no frame to segment has a mask.
    """

    def __init__(
        self,
        path: str | Path,
        frame_names: Sequence[str],
        *,
        all_names: Sequence[str] | None = None,
        void: VoidChoice = "auto",
        void_as: int = 0,
        first_number: int | None = None,
    ) -> None:
        check_void(void)
        self._first_number = first_number
        self.path = local_path(path)
        self._void: VoidChoice = void
        self._void_as = void_as
        self._black_and_white: Path | None = None
        self._with_white: Path | None = None
        if not self.path.exists():
            target = f" (it is a link to `{self.path.readlink()}`)" if self.path.is_symlink() else ""
            raise MissingFileError(
                f"There is no mask file or folder `{self.path}`{target}. Give a PNG or a folder of masks."
            )
        if not frame_names:
            raise MaskError(f"No frames were given to match the masks in `{self.path}` with. Give at least one name.")
        all_names = frame_names if all_names is None else all_names
        matched = self._match_folder(all_names) if self.path.is_dir() else self._match_file(frame_names, all_names)
        self.files: dict[str, Path] = {name: matched[name] for name in frame_names if name in matched}
        left_out = [file.name for name, file in matched.items() if name not in self.files]
        if not self.files:
            raise MaskError(
                f"None of the masks in `{self.path}` belongs to a frame that is segmented "
                f"({some_names(frame_names)}). Start at a frame with a mask (such as {next(iter(matched))}), or "
                "segment all."
            )
        absences = self.path / ABSENT_FILE
        self.absences = read_absences(absences, FrameNames(all_names)) if absences.is_file() else {}
        if left_out:
            _logger.warning(
                "%d of the masks in `%s` belong to frames that are left out: %s.",
                len(left_out), self.path, some_names(left_out),
            )  # fmt: skip

    def __len__(self) -> int:
        """Count the annotated frames."""
        return len(self.files)

    def __contains__(self, frame_name: str) -> bool:
        """Tell whether a frame has a mask."""
        return frame_name in self.files

    @property
    def frames(self) -> tuple[str, ...]:
        """Names of the frames that have a mask, in the order of the frames."""
        return tuple(self.files)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The file or folder that is read."""
        return (self.path,)

    def source(self, frame_name: str) -> str:
        """Say what messages call the mask of a frame.

        Args:
            frame_name: The name of a frame that has one.
        """
        return f"Mask `{self.files[frame_name]}`"

    def get(self, frame_name: str) -> Mask | None:
        """Read the mask of a frame.

        Args:
            frame_name: The name of a frame.

        Returns:
            Object ids, shape (H, W), or None if the frame has no mask.

        Raises:
            MaskError: If the file holds no mask (see ``read_mask``), or if black-and-white masks (one object, id 1)
                stand beside masks in which 255 is an id, so that 255 has two meanings.
        """
        path = self.files.get(frame_name)
        if path is None:
            return None
        decoded = decode_mask(path)
        if self._void is None or self._void == "auto":
            if decoded.is_black_and_white:
                self._black_and_white = path
            elif (decoded.ids == RIM_VALUE).any() and _void_value(decoded, self._void) is None:
                self._with_white = path
            if self._black_and_white and self._with_white:
                raise MaskError(
                    f"Mask `{self._black_and_white}` is black and white (one object), but in `{self._with_white}` 255 "
                    "is one id of several. Save all masks of a video with the same ids."
                )
        return _named_ids(decoded, path, self._void, void_as=self._void_as)

    def _match_file(self, frame_names: Sequence[str], all_names: Sequence[str]) -> dict[str, Path]:
        stem = self.path.stem
        if stem in all_names and stem != frame_names[0]:
            _logger.warning(
                "Mask `%s` is named like frame %s, but a single mask belongs to the first frame, %s. "
                "Give a folder of masks if that is not meant.", self.path, stem, frame_names[0],
            )  # fmt: skip
        return {frame_names[0]: self.path}

    def _match_folder(self, all_names: Sequence[str]) -> dict[str, Path]:
        files = mask_files(self.path)
        names = find_frames(
            [file.stem for file in files], all_names, first_number=self._first_number, what=f"masks in `{self.path}`"
        )
        matched: dict[str, Path] = {}
        for name, file in zip(names, files, strict=True):
            if name in matched:
                raise MaskError(f"Frame {name} has two masks, `{matched[name]}` and `{file}`. Remove one of them.")
            matched[name] = file
        return matched


def mask_files(folder: Path) -> list[Path]:
    """List the masks of a folder in natural order.

    Raises:
        MaskError: If it holds none.
        MissingFileError: If some are links to files that are not there.
    """
    entries = sorted((p for p in folder.iterdir() if not p.name.startswith(".")), key=lambda p: natural_key(p.name))
    images = [p for p in entries if p.suffix.lower() in MASK_SUFFIXES]
    refuse_dangling(images, "masks")
    masks = [p for p in images if p.is_file()]
    if masks:
        return masks
    folders = [p.name for p in entries if p.is_dir()]
    if folders:
        hint = f"It holds folders ({some_names(folders)}); give the one with the masks of this video."
    elif any(p.suffix.lower() in (".jpg", ".jpeg") for p in entries):
        hint = "It holds JPEG files, which cannot keep object ids; are these the frames?"
    else:
        hint = "Give a folder of palette or greyscale PNG files, named like the frames."
    raise MaskError(f"Folder `{folder}` holds no masks. {hint}")


def _void_value(decoded: DecodedMask, void: VoidChoice) -> int | None:
    """Settle which value of a mask is void."""
    if void != "auto":
        return void
    return RIM_VALUE if has_void_rims(decoded.ids) else None


def _named_ids(decoded: DecodedMask, path: Path, void: VoidChoice, *, void_as: int) -> Mask:
    """Return the ids of a mask, and say once what is not plain about its values."""
    value = _void_value(decoded, void)
    if decoded.is_black_and_white and value is None:
        say_once("black and white", "Mask `%s` is black and white: read as one object with id 1 (reported once).", path)
        is_object: NDArray[np.bool_] = decoded.ids != 0
        return is_object.astype(np.uint8)
    levels = mask_ids(decoded.ids, void=value)
    if void == "auto" and value is not None:
        warn_of_void_rims(f"Mask `{path}`")
    elif void == "auto" and RIM_VALUE in levels and len(levels) > 1 and decoded.ids.dtype == np.uint8:
        say_once(
            "void areas", "Mask `%s` has areas of 255 among other ids: tracked as an object like the others (reported "
            "once). If they mark pixels without an opinion, say so by `--void 255`.", path,
        )  # fmt: skip
    if decoded.is_grey:
        warn_of_palette_greys(levels, f"Mask `{path}`")
    if value is None or value == void_as:
        return decoded.ids
    ids = decoded.ids if void_as >= 0 else decoded.ids.astype(np.int32)
    ids[decoded.ids == value] = void_as
    return ids


def _checked_ids(mask: NDArray[Any]) -> NDArray[Any]:
    ids: NDArray[Any] = np.asarray(mask)
    if ids.ndim != 2 or ids.size == 0:
        raise MaskError(
            f"The mask has shape {ids.shape}. Masks are arrays of object ids of shape (H, W), at least 1x1."
        )
    if ids.dtype.kind not in "bui":
        raise MaskError(f"The mask is of type {ids.dtype}. Object ids are integers; threshold or round it first.")
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high > MAX_ID:
        raise MaskError(
            f"The mask holds ids from {low} to {high}. Ids from 0 to {MAX_ID} can be written; renumber them."
        )
    return ids


def _palette_bytes(palette: NDArray[np.uint8] | None) -> bytes:
    if palette is None:
        return davis_palette().tobytes()
    if palette.ndim != 2 or palette.shape[1] != 3 or not 1 <= len(palette) <= 256 or palette.dtype != np.uint8:
        raise ShapeError(
            f"The palette has shape {palette.shape} and type {palette.dtype}; expected uint8 (up to 256, 3)."
        )
    # All 256 colours, so that the file keeps 8 bits per pixel whatever ids it holds.
    return palette.tobytes() + bytes(3 * (256 - len(palette)))
