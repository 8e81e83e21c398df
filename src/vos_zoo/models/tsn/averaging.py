"""Moving average of the weights, as the Swin-B variant is trained with."""

from __future__ import annotations

from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor


class RampedWeightAveraging(WeightAveraging):
    """Exponential moving average whose decay grows with training; validation and checkpoints use the average.

    The decay after ``n`` steps is ``min(decay, (1 + n) / (10 + n))``, so that early averages forget the initial
    weights. Buffers are copied, since all of them are frozen.

    Args:
        decay: Final decay. The default is 1 - 1/(0.1 * 200 000): an average over a tenth of the paper's steps; the
            paper gives no decay.

    Source: TSN, Section 4.1 (moving average for Swin-B); horizon as in AOT, Yang et al., NeurIPS 2021.
    """

    def __init__(self, decay: float = 0.99995) -> None:
        self.decay = decay
        super().__init__(use_buffers=False, avg_fn=self._average)

    def _average(self, averaged: Tensor, current: Tensor, steps: Tensor | int) -> Tensor:
        done = float(steps)
        decay = min(self.decay, (1 + done) / (10 + done))
        return averaged + (current - averaged) * (1 - decay)
