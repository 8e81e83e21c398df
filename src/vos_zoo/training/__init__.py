"""What training, fine-tuning and prediction add to Lightning's Trainer: callbacks, and a start from trained weights.

Names load on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vos_zoo.training.finetuning import pretrained as pretrained
    from vos_zoo.training.interruption import SaveOnInterruption as SaveOnInterruption
    from vos_zoo.training.overlays import SampleOverlays as SampleOverlays
    from vos_zoo.training.prediction_writer import PredictionWriter as PredictionWriter
    from vos_zoo.training.push_best import PushBestToHub as PushBestToHub

# Public name -> module that defines it.
_LAZY = {
    "PredictionWriter": "vos_zoo.training.prediction_writer",
    "PushBestToHub": "vos_zoo.training.push_best",
    "SampleOverlays": "vos_zoo.training.overlays",
    "SaveOnInterruption": "vos_zoo.training.interruption",
    "pretrained": "vos_zoo.training.finetuning",
}
__all__ = sorted(_LAZY)


def __getattr__(name: str) -> Any:
    """Load a public name on first use."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(sorted(_LAZY))}")
    return getattr(importlib.import_module(_LAZY[name]), name)
