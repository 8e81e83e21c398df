"""Given masks that are not plain files of ids: what an annotation tool wrote, matched to the frames of a video."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vos_zoo.errors import MaskError
from vos_zoo.interchange.annotation import GivenFrame
from vos_zoo.interchange.object_ids import NumberedFrame
from vos_zoo.media.absences import ABSENT_FILE, read_absences
from vos_zoo.media.frame_matching import find_frames
from vos_zoo.media.frame_names import FrameNames, some_names

if TYPE_CHECKING:
    from vos_zoo.media.mask_decoding import Mask

__all__ = ["AnnotatedMasks"]

_logger = logging.getLogger(__name__)


class AnnotatedMasks:
    """Masks of frames that a file of another tool says something about.

    Frames are found by the names of their images, or else by their positions where the format states them. A mask of
    the only annotated frame whose name has no number belongs to the first frame, as a single mask file does. A file
    ``absent.json`` in a folder says which objects frames do not show, as in a folder of images of ids.

    Args:
        given: What was read, at least one frame.
        path: The file or folder that it was read from.
        frame_names: Names of the frames to segment, in their order.
        size: (H, W) of the video's frames.
        all_names: Names of all frames of the video, where only some are segmented; None means ``frame_names``. Masks of
            the others are left out, which is logged.
        first_number: The number by which ``given`` calls the first frame of the video; None detects it.
        resize: Whether masks may have another size than the frames.

    Raises:
        MaskError: If a mask belongs to no frame or to several, two belong to one frame, none belongs to a frame that is
            segmented, or a declared size is not that of the frames.
    """

    def __init__(
        self,
        given: Sequence[GivenFrame],
        path: Path,
        frame_names: Sequence[str],
        size: tuple[int, int],
        *,
        all_names: Sequence[str] | None = None,
        first_number: int | None = None,
        resize: bool = False,
    ) -> None:
        self._path = path
        self._size = size
        all_names = frame_names if all_names is None else all_names
        names = _find(given, path, frame_names, all_names, first_number)
        matched: dict[str, GivenFrame] = {}
        for name, frame in zip(names, given, strict=True):
            if name in matched:
                raise MaskError(
                    f"Frame {name} has two masks: {matched[name].origin}, and {frame.origin}. Remove one of them."
                )
            matched[name] = frame
            if frame.size not in (None, size) and not resize:
                raise MaskError(_sizes_differ(frame, size))
        with_areas = {name: frame for name, frame in matched.items() if _has_areas(frame)}
        self._given: Mapping[str, GivenFrame] = {name: with_areas[name] for name in frame_names if name in with_areas}
        left_out = [name for name in with_areas if name not in self._given]
        if not self._given:
            raise MaskError(
                f"None of the masks in `{path}` belongs to a frame that is segmented ({some_names(frame_names)}). "
                f"Start at a frame with a mask (such as {next(iter(with_areas))}), or segment all."
            )
        if left_out:
            _logger.warning(
                "%d of the masks in `%s` belong to frames that are left out: %s.",
                len(left_out), path, some_names(left_out),
            )  # fmt: skip
        absent_file = path / ABSENT_FILE
        noted = read_absences(absent_file, FrameNames(all_names)) if absent_file.is_file() else {}
        shown = {object_id for frame in self._given.values() for object_id in _objects(frame)}
        self._absences: dict[str, frozenset[int]] = {}
        for name in frame_names:
            numbered = matched.get(name)
            # A track may have its areas on frames that are left out; then there is nothing that could be absent.
            outside = shown.intersection(numbered.outside) if isinstance(numbered, NumberedFrame) else set[int]()
            if outside or name in noted:
                self._absences[name] = noted.get(name, frozenset()) | outside

    @property
    def frames(self) -> tuple[str, ...]:
        """Names of the frames that have a mask, in the order of the frames."""
        return tuple(self._given)

    @property
    def absences(self) -> Mapping[str, frozenset[int]]:
        """Objects that are declared absent, by the name of the frame."""
        return self._absences

    @property
    def paths(self) -> tuple[Path, ...]:
        """The file or folder that is read."""
        return (self._path,)

    def get(self, frame_name: str) -> Mask | None:
        """Paint the mask of a frame.

        Args:
            frame_name: The name of a frame.

        Returns:
            Object ids, shape (H, W), uint8 when all fit and int32 otherwise; None if the frame has no mask.

        Raises:
            MaskError: If what is there makes no mask.
        """
        given = self._given.get(frame_name)
        return None if given is None else given.ids(self._size)

    def source(self, frame_name: str) -> str:
        """Say what messages call the mask of a frame.

        Args:
            frame_name: The name of a frame that has one.
        """
        return f"The mask of frame {frame_name} ({self._given[frame_name].origin})"


def _find(
    given: Sequence[GivenFrame],
    path: Path,
    frame_names: Sequence[str],
    all_names: Sequence[str],
    first_number: int | None,
) -> list[str]:
    """Return the name of the frame that each mask belongs to."""
    stems = [frame.name for frame in given if frame.name is not None]
    numbers = [frame.number for frame in given if frame.number is not None]
    if len(given) == 1 and _is_of_first_frame(given[0], all_names):
        if stems and stems[0] != frame_names[0]:
            _logger.warning(
                "%s is named like no frame. As the only one in `%s`, it is taken for the first frame, %s.",
                given[0].origin, path, frame_names[0],
            )  # fmt: skip
        return [frame_names[0]]
    what = f"masks in `{path}`"
    is_named = False
    if first_number is None and len(stems) == len(given):
        known = FrameNames(all_names)
        is_named = any(known.find(stem, f"`{stem}` among the {what}") is not None for stem in stems)
    if is_named or len(numbers) < len(given):
        return find_frames(stems, all_names, first_number=first_number, what=what)
    first = first_number or 0
    wrong = [number for number in numbers if not 0 <= number - first < len(all_names)]
    if wrong:
        raise MaskError(
            f"`{path}` has masks of frames {some_names([str(number) for number in wrong])}, counted from {first}. The "
            f"video has {len(all_names)} frames. Is it of another video?"
        )
    return [all_names[number - first] for number in numbers]


def _is_of_first_frame(frame: GivenFrame, all_names: Sequence[str]) -> bool:
    if frame.number is not None:
        return False
    return frame.name is None or not (frame.name in all_names or any(character.isdigit() for character in frame.name))


def _has_areas(frame: GivenFrame) -> bool:
    return bool(frame.annotations) if isinstance(frame, NumberedFrame) else True


def _objects(frame: GivenFrame) -> set[int]:
    return {object_id for object_id, _ in frame.annotations} if isinstance(frame, NumberedFrame) else set()


def _sizes_differ(frame: GivenFrame, size: tuple[int, int]) -> str:
    height, width = frame.size or size
    turned = " It looks as if one of the two were turned by 90 degrees." if (width, height) == size else ""
    return (
        f"The mask of {frame.origin} is made for an image of {width}x{height} (width x height), but the frames of the "
        f"video have {size[1]}x{size[0]}.{turned} Is it of another video? If it is a smaller or larger copy, let "
        "the mask be resampled with resize_mask=True (`--resize-mask`)."
    )
