"""Prompts in the place of masks: what a user gives of a video's objects, grown into masks when its frames are there."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vos_zoo.errors import PromptError, UsageError
from vos_zoo.interchange.opening import open_masks
from vos_zoo.media.frame_names import FrameNames, some_names
from vos_zoo.media.mask_values import VOID
from vos_zoo.waiting import announced

from .mask import Method, prompt_mask
from .prompt import Box, Brush, Points, Polygon, Prompt, Scribbles

if TYPE_CHECKING:
    from vos_zoo.interchange.reading import MaskReading
    from vos_zoo.media.frames import VideoFrame, VideoReader
    from vos_zoo.media.given_masks import GivenMasks, MaskSource
    from vos_zoo.media.mask_decoding import Mask
    from vos_zoo.media.mask_values import VoidChoice

__all__ = ["PromptedMasks", "Prompts", "open_given"]

_logger = logging.getLogger(__name__)

Shown = Callable[["VideoFrame", NDArray[np.int32], Sequence[Prompt]], None]


@dataclass(frozen=True)
class Prompts:
    """Prompts on some frames of a video, to be given where masks are expected.

    ``segment_video(video, [Box(...)])`` and ``segment_video(video, {30: [Box(...)]})`` mean the same with all
    defaults.

    Attributes:
        by_frame: Number of a frame, from 0, or its name -> its prompts.
        masks: Masks beside the prompts, as :func:`vos_zoo.segment_video` takes them. Prompts on a frame that has one
            correct it; see ``previous`` of :func:`vos_zoo.prompts.prompt_mask`.
        method: How masks are grown, see :func:`vos_zoo.prompts.prompt_mask`.
        shown: Called with each frame, the mask that was made and the prompts that led to it.
    """

    by_frame: Mapping[int | str, Sequence[Prompt]]
    masks: MaskSource | None = None
    method: Method = "auto"
    shown: Shown | None = None


class PromptedMasks:
    """The masks that prompts lead to, made once, before the video runs; beside masks that were given.

    Args:
        prompts: The prompts.
        reader: The video. It is read up to the last frame that has a prompt.
        void: The value of pixels without an opinion in masks that were given.
        resize: Whether masks that were given may have another size than the frames.
        reading: What decides where masks that were given can be read in two ways.

    Raises:
        PromptError: If prompts belong to no frame to segment, or lead to no mask.
        UsageError: If the video gives its frames only once.
        VosZooError: As :func:`vos_zoo.interchange.opening.open_masks` says for the masks beside.
    """

    def __init__(
        self,
        prompts: Prompts,
        reader: VideoReader,
        *,
        void: VoidChoice = "auto",
        resize: bool = False,
        reading: MaskReading | None = None,
    ) -> None:
        by_name = _by_name(prompts.by_frame, reader)
        if not reader.has_known_length:
            raise UsageError(
                "Prompts were given for a video that gives each of its frames once, such as a camera or a generator. "
                "Expected one that can be read again: its frames are needed before the video runs. Give a file or a "
                "list of frames, or make the mask yourself with `vos_zoo.prompts.prompt_mask`."
            )
        self._beside: GivenMasks | None = None
        if prompts.masks is not None:
            self._beside = _open_masks(prompts.masks, reader, void, resize, reading)
        made: dict[str, Mask] = {}
        last = max(reader.names.index(name) for name in by_name)
        with announced(_logger, "Making masks from prompts"):
            for frame in itertools.islice(reader, last + 1):
                if frame.name in by_name:
                    made[frame.name] = self._make(frame, by_name[frame.name], prompts)
        if len(made) < len(by_name):
            missing = next(name for name in by_name if name not in made)
            raise PromptError(
                f"The video ended before frame {missing}, which has prompts. Check the number of the frame."
            )
        self._made = made
        given = set(made) | set(() if self._beside is None else self._beside.frames)
        self._frames = tuple(name for name in reader.names if name in given)

    @property
    def frames(self) -> tuple[str, ...]:
        """Names of the frames that have a mask, in the order of the frames."""
        return self._frames

    @property
    def absences(self) -> Mapping[str, frozenset[int]]:
        """Those of the masks beside."""
        return {} if self._beside is None else self._beside.absences

    @property
    def paths(self) -> tuple[Path, ...]:
        """Files and folders of the masks beside."""
        return () if self._beside is None else self._beside.paths

    def get(self, frame_name: str) -> Mask | None:
        """Return the mask of a frame; None if it has none.

        Raises:
            MaskError: If it was given as a mask and is none.
        """
        if frame_name in self._made or self._beside is None:
            return self._made.get(frame_name)
        return self._beside.get(frame_name)

    def source(self, frame_name: str) -> str:
        """Say what messages call the mask of a frame."""
        if frame_name in self._made or self._beside is None:
            return f"The mask from the prompts of frame {frame_name}"
        return self._beside.source(frame_name)

    def _make(self, frame: VideoFrame, of_frame: Sequence[Prompt], prompts: Prompts) -> Mask:
        previous = None if self._beside is None else self._beside.get(frame.name)
        known = None if previous is None else np.where(previous == VOID, 0, previous)
        try:
            mask = prompt_mask(frame.image, of_frame, method=prompts.method, previous=known)
        except PromptError as error:
            raise PromptError(f"Frame {frame.name}: {error}") from error
        if prompts.shown is not None:
            prompts.shown(frame, mask, of_frame)
        return mask


def open_given(
    masks: MaskSource | Prompts,
    reader: VideoReader,
    *,
    void: VoidChoice = "auto",
    resize: bool = False,
    reading: MaskReading | None = None,
) -> GivenMasks:
    """Open what a user gives of a video's objects, masks or prompts.

    Args:
        masks: Masks as :func:`vos_zoo.interchange.opening.open_masks` takes them; :class:`Prompts`; a prompt or a
            sequence of prompts for the first frame to segment; or a mapping from frames to such sequences.
        reader: The video.
        void: The value of pixels without an opinion.
        resize: Whether masks may have another size than the frames.
        reading: What decides where masks can be read in two ways.

    Raises:
        VosZooError: As :class:`PromptedMasks` and :func:`vos_zoo.interchange.opening.open_masks` say.
    """
    prompts = _as_prompts(masks, reader)
    if prompts is not None:
        return PromptedMasks(prompts, reader, void=void, resize=resize, reading=reading)
    return _open_masks(masks, reader, void, resize, reading)


def _open_masks(
    masks: Any, reader: VideoReader, void: VoidChoice, resize: bool, reading: MaskReading | None
) -> GivenMasks:
    return open_masks(
        masks,
        reader.names,
        reader.size,
        all_names=reader.all_names,
        void=void,
        resize=resize,
        reading=reading,
    )


_KINDS = (Box, Polygon, Points, Scribbles, Brush)


def _as_prompts(masks: Any, reader: VideoReader) -> Prompts | None:
    if isinstance(masks, Prompts):
        return masks
    if isinstance(masks, _KINDS):
        return Prompts({reader.names[0]: [masks]})
    if isinstance(masks, (list, tuple)) and any(isinstance(entry, _KINDS) for entry in masks):
        return Prompts({reader.names[0]: masks})
    if isinstance(masks, Mapping):
        lists = {key: [entry] if isinstance(entry, _KINDS) else entry for key, entry in masks.items()}
        are_prompts = [
            isinstance(entry, (list, tuple)) and any(isinstance(part, _KINDS) for part in entry)
            for entry in lists.values()
        ]
        if any(are_prompts) and not all(are_prompts):
            raise UsageError(
                "Some frames have masks and others prompts. Expected one kind; `Prompts(by_frame, masks=...)` takes "
                "both."
            )
        return Prompts(lists) if any(are_prompts) else None
    return None


def _by_name(by_frame: Mapping[int | str, Sequence[Prompt]], reader: VideoReader) -> dict[str, Sequence[Prompt]]:
    if not by_frame:
        raise PromptError("No prompt was given. Expected at least one, such as {0: [Box(1, 120, 40, 310, 420)]}.")
    names, selected = FrameNames(reader.all_names), set(reader.names)
    found: dict[str, Sequence[Prompt]] = {}
    for key, of_frame in by_frame.items():
        name = names.find_key(key, "A prompt")
        found[name] = [*found.get(name, ()), *of_frame]
    outside = [name for name in found if name not in selected]
    if outside:
        raise PromptError(
            f"Prompts belong to frames that are not segmented: {some_names(outside)}. The frames to segment are "
            f"{some_names(reader.names)}; choose one of them, or segment all."
        )
    return found
