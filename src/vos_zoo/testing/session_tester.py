"""What every session does, whatever runs the network: one battery, subclassed once per kind of session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from vos_zoo.errors import MaskError, VideoError
from vos_zoo.testing.clips import HEIGHT, VIDEO, WIDTH, relabel

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SessionTester", "numbers"]


class SessionTester:
    """Subclass it, and say how a session is opened."""

    def open_session(self, **options: Any) -> Any:
        """Open a session that shows frames of 48x64 pixels, or parts of them, as they are.

        Args:
            **options: Further ones of the session.
        """
        raise NotImplementedError

    @pytest.mark.parametrize("size", [(33, 47), (16, 61), (5, 9), (48, 64)])
    def test_masks_have_the_frames_own_odd_size(self, size: tuple[int, int]) -> None:
        frames, masks = VIDEO.frames[:, : size[0], : size[1]], VIDEO.masks[:, : size[0], : size[1]].copy()
        masks[0, 0, 0] = 1
        session = self.open_session()
        results = [session.step(frame, masks[0] if index == 0 else None) for index, frame in enumerate(frames[:5])]
        assert {result.mask.shape for result in results} == {size}
        assert {numbers(result).shape[1:] for result in results} == {size}
        assert all(np.isfinite(numbers(result)).all() for result in results)

    @pytest.mark.parametrize("ids", [(7,), (7, 300, 65535)])
    def test_one_and_many_objects(self, ids: tuple[int, ...]) -> None:
        mask = relabel(VIDEO.masks[0], ids)
        session = self.open_session()
        first = session.step(VIDEO.frames[0], mask)
        assert (first.mask == mask).all()
        for frame in VIDEO.frames[1:]:
            result = session.step(frame)
            assert result.object_ids == ids
            assert set(np.unique(result.mask)) <= {0, *ids}
            assert result.probabilities.shape == (1 + len(ids), HEIGHT, WIDTH)
            np.testing.assert_allclose(numbers(result).sum(0), 1, atol=1e-5)

    def test_an_object_may_join_be_corrected_and_leave(self) -> None:
        session = self.open_session()
        session.step(VIDEO.frames[0], relabel(VIDEO.masks[0], (1,)))
        before = session.step(VIDEO.frames[1])
        assert before.object_ids == (1,)
        joined = session.step(VIDEO.frames[2], relabel(VIDEO.masks[2], (0, 2, 3)))
        assert joined.object_ids == (1, 2, 3)
        session.step(VIDEO.frames[3])
        correction = relabel(VIDEO.masks[4], (0, 2))
        corrected = session.step(VIDEO.frames[4], correction)
        assert ((corrected.mask == 2) == (correction == 2)).all()
        session.remove(1)
        session.remove(3)
        for frame in VIDEO.frames[5:]:
            result = session.step(frame)
            assert result.object_ids == (2,)
            assert result.probabilities.shape[0] == 2
            assert np.isfinite(numbers(result)).all()

    def test_a_session_is_reproducible(self) -> None:
        mask = relabel(VIDEO.masks[0], (1, 2))
        runs = []
        for session in (self.open_session(), self.open_session()):
            session.step(VIDEO.frames[0], mask)
            runs.append([numbers(session.step(frame)) for frame in VIDEO.frames[1:]])
        assert all(np.array_equal(one, other) for one, other in zip(*runs, strict=True))

    def test_an_absent_object_stays_tracked(self) -> None:
        session = self.open_session()
        session.step(VIDEO.frames[0], relabel(VIDEO.masks[0], (1, 2)))
        away = session.step(VIDEO.frames[1], absent=[2])
        assert away.object_ids == (1, 2)
        assert not (away.mask == 2).any()
        assert session.step(VIDEO.frames[2]).object_ids == (1, 2)

    def test_void_pixels_are_segmented_as_if_nothing_had_been_given(self) -> None:
        mask = relabel(VIDEO.masks[1], (1, 2)).astype(np.uint8)
        hidden = mask.copy()
        hidden[:, : WIDTH // 2] = 255
        session, other = self.open_session(void=255), self.open_session(void=255)
        for each in (session, other):
            each.step(VIDEO.frames[0], relabel(VIDEO.masks[0], (1, 2)))
        predicted = other.step(VIDEO.frames[1])
        result = session.step(VIDEO.frames[1], hidden)
        is_given = (hidden != 0) & (hidden != 255)  # an object that is hidden as a whole may show anywhere else
        assert (result.mask == mask)[is_given].all()
        assert set(np.unique(result.mask)) <= {0, 1, 2}
        assert result.object_ids == predicted.object_ids

    def test_bad_frames_and_masks_are_refused_and_change_nothing(self) -> None:
        frames, mask = VIDEO.frames, relabel(VIDEO.masks[0], (1,))
        session = self.open_session()
        with pytest.raises(VideoError, match="Frame 0 has shape"):
            session.step(frames[0, ..., :2])
        with pytest.raises(MaskError, match="The mask of frame 0 is 32x48 pixels"):
            session.step(frames[0], mask[:, :32])
        with pytest.raises(MaskError, match="Object 5 is declared absent from frame 0"):
            session.step(frames[0], mask, absent=[5])
        with pytest.raises(MaskError, match="Object 9 is not tracked"):
            session.remove(9)
        session.step(frames[0], mask)
        with pytest.raises(VideoError, match="the frames before were"):
            session.step(frames[1, :40])
        assert session.num_frames == 1
        assert session.step(frames[1]).index == 1

    def test_memory_reaches_a_bound(self) -> None:
        session = self.open_session()
        sizes = []
        for index in range(60):
            session.step(VIDEO.frames[index % 10], VIDEO.masks[0] if index == 0 else None)
            sizes.append(session.memory_bytes)
        # What a read stacks is freed by the next write, so sizes differ within a period, but not between periods.
        assert set(sizes[20:40]) == set(sizes[40:60])


def numbers(result: Any) -> NDArray[np.float32]:
    """Return the probabilities of a result as an array."""
    return np.asarray(result.probabilities)
