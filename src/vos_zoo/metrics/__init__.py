"""Region similarity J, boundary accuracy F, and the evaluations that are made of them.

The names below load on first use; only the torchmetrics classes need torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vos_zoo.metrics.breakdowns import BreakdownRow, length_breakdown, occlusion_breakdown
    from vos_zoo.metrics.comparison import Comparison, compare
    from vos_zoo.metrics.evaluation import evaluate
    from vos_zoo.metrics.functional import Statistics, boundary_accuracy, region_similarity, score_statistics
    from vos_zoo.metrics.jf import BoundaryAccuracy, JAndF, RegionSimilarity
    from vos_zoo.metrics.protocols import PROTOCOLS, ObjectScore
    from vos_zoo.metrics.report import EvaluationReport

# Public name -> module of this package that defines it.
_HOMES = {
    "BreakdownRow": "breakdowns",
    "length_breakdown": "breakdowns",
    "occlusion_breakdown": "breakdowns",
    "Comparison": "comparison",
    "compare": "comparison",
    "evaluate": "evaluation",
    "Statistics": "functional",
    "boundary_accuracy": "functional",
    "region_similarity": "functional",
    "score_statistics": "functional",
    "BoundaryAccuracy": "jf",
    "JAndF": "jf",
    "RegionSimilarity": "jf",
    "PROTOCOLS": "protocols",
    "ObjectScore": "protocols",
    "EvaluationReport": "report",
}

__all__ = [
    "PROTOCOLS",
    "BoundaryAccuracy",
    "BreakdownRow",
    "Comparison",
    "EvaluationReport",
    "JAndF",
    "ObjectScore",
    "RegionSimilarity",
    "Statistics",
    "boundary_accuracy",
    "compare",
    "evaluate",
    "length_breakdown",
    "occlusion_breakdown",
    "region_similarity",
    "score_statistics",
]


def __getattr__(name: str) -> Any:
    """Load a public name on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted(set(globals()) | set(__all__))
