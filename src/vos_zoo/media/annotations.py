"""The user's masks of a video, checked against its frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vos_zoo.errors import MaskError
from vos_zoo.media.mask_values import VOID
from vos_zoo.media.masks import check_mask_size, mask_ids

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vos_zoo.media.given_masks import GivenMasks
    from vos_zoo.media.mask_decoding import Mask

__all__ = ["Annotations"]


class Annotations:
    """The user's masks, each checked against its frame's size.

    Args:
        given: The masks.
        size: (H, W) of the frames.
        resize: Whether masks of another size are resampled.
        absent: Objects that frames do not show, by the frames' names, beside what ``given`` says of them.

    Attributes:
        objects: Ids seen so far.
    """

    def __init__(
        self,
        given: GivenMasks,
        size: tuple[int, int],
        resize: bool,
        absent: Mapping[str, frozenset[int]] | None = None,
    ) -> None:
        self.objects: set[int] = set()
        self._given = given
        self._size = size
        self._resize = resize
        self._last: tuple[str, Mask | None] | None = None  # a frame's mask is asked for several times in a row
        self._absent = dict(given.absences)
        for name, ids in (absent or {}).items():
            self._absent[name] = self._absent.get(name, frozenset()) | ids

    @property
    def frames(self) -> tuple[str, ...]:
        """Names of the frames that have a mask, in the order of the frames."""
        return self._given.frames

    @property
    def absences(self) -> Mapping[str, frozenset[int]]:
        """Objects that are declared absent from a frame, by its name."""
        return self._absent

    def get(self, frame_name: str) -> Mask | None:
        """Read the mask of a frame; None if it has none.

        Raises:
            MaskError: If it is unreadable or does not fit its frame.
        """
        if self._last is None or self._last[0] != frame_name:
            mask = self._given.get(frame_name)
            if mask is not None:
                mask = check_mask_size(mask, self._size, resize=self._resize, name=self._given.source(frame_name))
                self.objects.update(mask_ids(mask, void=VOID))
            self._last = (frame_name, mask)
        return self._last[1]

    def shown(self, frame_name: str) -> list[int]:
        """List the objects that the mask of a frame shows, rising; none if it has no mask."""
        mask = self.get(frame_name)
        return [] if mask is None else mask_ids(mask, void=VOID)

    def ids(self, frame_name: str) -> frozenset[int]:
        """List the objects that are given for a frame: those that its mask shows, and those said to be absent."""
        return self._absent.get(frame_name, frozenset()).union(self.shown(frame_name))

    def unused(self, frame_names: Iterable[str]) -> list[str]:
        """Name the masks of frames that never came.

        Args:
            frame_names: Frames that came.
        """
        seen = set(frame_names)
        return [self._given.source(name) for name in self.frames if name not in seen]

    def check_first(self) -> None:
        """Read the first mask, so that a wrong one is found early.

        Raises:
            MaskError: If it is unreadable, does not fit, or is the only mask and empty; or if an object is declared
                absent that no mask shows, or that the mask of the same frame shows.
        """
        first = self.frames[0]
        self.get(first)
        if not self.objects and len(self.frames) == 1:
            raise MaskError(
                f"{self._given.source(first)} is empty: every pixel is 0. It has to mark at least one object with an "
                "id above 0. Draw the object, or give the mask of a frame that shows it."
            )
        if self._absent:
            self._check_absences()

    def _check_absences(self) -> None:
        """Hold absences against all masks."""
        for name in self.frames:
            shown = self._absent.get(name, frozenset()).intersection(self.shown(name))
            if shown:
                raise MaskError(
                    f"Object {min(shown)} is declared absent from frame {name}, but {self._given.source(name)} shows "
                    "it. Remove it from the mask, or take the absence back."
                )
        for name, ids in self._absent.items():
            unknown = ids - self.objects
            if unknown:
                raise MaskError(
                    f"Object {min(unknown)} is declared absent from frame {name}, but no mask shows it. The masks "
                    f"show {', '.join(map(str, sorted(self.objects))) or 'no object'}."
                )
