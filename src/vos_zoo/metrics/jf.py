"""J, F and J&F as torchmetrics, for validation and test loops.

One update is one whole sequence. Each object leaves a handful of numbers behind, so the state stays small, and the
means over objects come out the same on one device and on many: what each rank saw is gathered, and a sequence that
the sampler handed out twice to fill a batch counts once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric

from vos_zoo.errors import ShapeError
from vos_zoo.metrics.functional import DEFAULT_BOUND, boundary_radius
from vos_zoo.metrics.protocols import ObjectScore, SequenceScorer, get_protocol

_STATISTICS = ("mean", "recall", "decay")


class _SequenceMetric(Metric):  # type: ignore[misc] # torchmetrics is not followed by mypy
    """State and bookkeeping that the three metrics share."""

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    with_region: ClassVar[bool] = True
    with_boundary: ClassVar[bool] = True

    keys: list[Tensor]
    scores: list[Tensor]

    def __init__(
        self,
        *,
        protocol: str = "davis2017",
        bound: float = DEFAULT_BOUND,
        late_objects: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.protocol = get_protocol(protocol)
        boundary_radius((1, 1), bound)
        self.bound = bound
        self.late_objects = late_objects
        self.add_state("keys", default=[], dist_reduce_fx="cat")
        self.add_state("scores", default=[], dist_reduce_fx="cat")

    def update(
        self,
        prediction: Tensor | NDArray[Any],
        annotation: Tensor | NDArray[Any],
        *,
        sequence: str,
        frames: Sequence[str] | None = None,
    ) -> None:
        """Score one sequence.

        Args:
            prediction: Object ids of every frame, integers, shape (T, H, W). Frames that do not count are not read.
            annotation: Object ids of the same shape.
            sequence: Name of the sequence, unlike all others; a sequence given again replaces its first scores.
            frames: Names of the frames, T of them; None numbers them.

        Raises:
            ShapeError: If the shapes differ or are not (T, H, W), or the number of names is not T.
        """
        if prediction.ndim != 3 or prediction.shape != annotation.shape:
            raise ShapeError(
                f"Prediction has shape {tuple(prediction.shape)}, annotation {tuple(annotation.shape)}. Expected "
                "object ids of one whole sequence, (T, H, W) in both. Take the arg-max over objects first."
            )
        count = annotation.shape[0]
        names = [f"{index:05d}" for index in range(count)] if frames is None else list(frames)
        if len(names) != count:
            raise ShapeError(f"Got {len(names)} frame names for {count} frames. Expected one name per frame.")
        scorer = SequenceScorer(
            sequence,
            self.protocol,
            bound=self.bound,
            late_objects=self.late_objects,
            region=self.with_region,
            boundary=self.with_boundary,
        )
        for index, name in enumerate(names):
            if scorer.observe(_ids(annotation[index]), name, is_last=index == count - 1):
                scorer.score(_ids(prediction[index]))
        self._store(score for score in scorer.results() if score.is_scored)

    def compute(self) -> dict[str, Tensor]:
        """Average over objects.

        Returns:
            Scalars by name: ``j_mean``, ``j_recall``, ``j_decay``, the same with ``f_``, and ``jf_mean``, as far as the
            metric has them. NaN before the first scored object.
        """
        keys, scores = _joined(self.keys), _joined(self.scores)
        # The last entry of each object wins; padding of a distributed sampler repeats whole sequences.
        last = {int(key): index for index, key in enumerate(keys.tolist())}
        means = scores[list(last.values())].mean(dim=0) if last else self._empty_scores().new_full((6,), torch.nan)
        named = {f"{letter}_{name}": means[3 * row + column]
                 for row, letter in enumerate("jf") for column, name in enumerate(_STATISTICS)}  # fmt: skip
        if self.with_region and self.with_boundary:
            return {"jf_mean": (named["j_mean"] + named["f_mean"]) / 2, **named}
        return {name: value for name, value in named.items() if name[0] == ("j" if self.with_region else "f")}

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Gather the states of all ranks; see :meth:`torchmetrics.Metric.sync`."""
        if not self.keys:
            # A rank without a sequence must still send something of the right type and width.
            self.keys.append(torch.zeros(0, dtype=torch.int64, device=self.device))
            self.scores.append(self._empty_scores())
        super().sync(*args, **kwargs)

    def _store(self, scores: Iterable[ObjectScore]) -> None:
        for score in scores:
            numbers = [getattr(getattr(score, kind), name) for kind in ("region", "boundary") for name in _STATISTICS]
            self.keys.append(torch.tensor([_key(score)], device=self.device))
            self.scores.append(self._empty_scores().new_tensor([numbers]))

    def _empty_scores(self) -> Tensor:
        # Apple's GPUs have no float64.
        dtype = torch.float32 if self.device.type == "mps" else torch.float64
        return torch.zeros(0, 6, dtype=dtype, device=self.device)


class JAndF(_SequenceMetric):
    """Region similarity and boundary accuracy, averaged over all objects.

    Args:
        protocol: Which frames and objects count, see :func:`vos_zoo.metrics.evaluate`.
        bound: Tolerance of F: below 1 a fraction of the diagonal, otherwise whole pixels.
        late_objects: Whether objects that enter after the first frame are scored.
        **kwargs: Options of :class:`torchmetrics.Metric`.

    Raises:
        EvaluationError: If there is no such protocol.
        ConfigError: If the bound is out of its range.

    Source: DAVIS 2016, section 5, and DAVIS 2017, section 4.

    Example:
        >>> metric = JAndF()
        >>> annotation = torch.zeros(4, 8, 8, dtype=torch.int64)
        >>> annotation[:, 2:6, 2:6] = 1
        >>> metric.update(annotation, annotation, sequence="square")
        >>> float(metric.compute()["jf_mean"])
        1.0
    """


class RegionSimilarity(_SequenceMetric):
    """Region similarity J alone, averaged over all objects; see :class:`JAndF`.

    Example:
        >>> metric = RegionSimilarity()
        >>> annotation = torch.zeros(4, 8, 8, dtype=torch.int64)
        >>> annotation[:, 2:6, 2:6] = 1
        >>> metric.update(annotation.roll(1, dims=2), annotation, sequence="square")
        >>> round(float(metric.compute()["j_mean"]), 3)  # 12 pixels of 20
        0.6
    """

    with_boundary = False


class BoundaryAccuracy(_SequenceMetric):
    """Boundary accuracy F alone, averaged over all objects; see :class:`JAndF`.

    Example:
        >>> metric = BoundaryAccuracy(bound=1)
        >>> annotation = torch.zeros(4, 8, 8, dtype=torch.int64)
        >>> annotation[:, 2:6, 2:6] = 1
        >>> metric.update(annotation.roll(1, dims=2), annotation, sequence="square")
        >>> float(metric.compute()["f_mean"])  # no outline is further away than a pixel
        1.0
    """

    with_region = False


def _ids(frame: Tensor | NDArray[Any]) -> NDArray[Any]:
    return np.asarray(frame.detach().cpu() if isinstance(frame, Tensor) else frame)


def _key(score: ObjectScore) -> int:
    """Make a number that names an object on every rank alike, whatever the hash seed of the process."""
    digest = hashlib.blake2b(f"{score.sequence}\n{score.object_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def _joined(state: list[Tensor] | Tensor) -> Tensor:
    # After a reduction across ranks torchmetrics keeps a tensor where there was a list.
    if isinstance(state, Tensor):
        return state
    return torch.cat(state) if state else torch.zeros(0)
