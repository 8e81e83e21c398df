"""The prediction of a whole video: a loop around a session that runs while its masks are taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vos_zoo.inference.late_results import fetch_results
from vos_zoo.media.read_ahead import read_ahead

if TYPE_CHECKING:
    from vos_zoo.data.modules.prediction import PredictionVideo
    from vos_zoo.inference.result import PendingResult
    from vos_zoo.inference.session import VideoSession


class VideoPrediction:
    """Masks of one video; iterating segments it, one frame at a time, and gives (frame name, mask).

    Nothing is computed before the first mask is taken, so that a video whose results exist costs nothing, and no more
    than a few frames and the memory are ever held. Every iteration is a session of its own, and decodes the frames to
    come in the background.

    Args:
        video: The video and what is given of it.
        new_session: Makes a session.

    Attributes:
        video: As given.
    """

    def __init__(self, video: PredictionVideo, new_session: Callable[[], VideoSession]) -> None:
        self.video = video
        self._new_session = new_session

    def __iter__(self) -> Iterator[tuple[str, NDArray[np.integer[Any]]]]:
        """Segment the video and give the masks that belong to its result: object ids, shape (H, W)."""
        session = self._new_session()
        for name, result in fetch_results(self._steps(session), is_late=session.works_ahead):
            if result is not None:
                yield name, result.mask

    def _steps(self, session: VideoSession) -> Iterator[tuple[str, PendingResult | None]]:
        for frame in read_ahead(self.video):
            pending = session.submit(frame.image, frame.mask)
            yield frame.name, pending if frame.is_written else None
