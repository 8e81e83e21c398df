"""What Lightning needs: modules, losses, the unrolling of clips, callbacks, and a start from trained weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vos_zoo.lazy import lazy_names

if TYPE_CHECKING:
    from vos_zoo.training.finetuning import pretrained as pretrained
    from vos_zoo.training.interruption import SaveOnInterruption as SaveOnInterruption
    from vos_zoo.training.overlays import SampleOverlays as SampleOverlays
    from vos_zoo.training.prediction_writer import PredictionWriter as PredictionWriter
    from vos_zoo.training.push_best import PushBestToHub as PushBestToHub

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "PredictionWriter": "vos_zoo.training.prediction_writer",
        "PushBestToHub": "vos_zoo.training.push_best",
        "SampleOverlays": "vos_zoo.training.overlays",
        "SaveOnInterruption": "vos_zoo.training.interruption",
        "pretrained": "vos_zoo.training.finetuning",
    },
)
__all__ = ["PredictionWriter", "PushBestToHub", "SampleOverlays", "SaveOnInterruption", "pretrained"]
