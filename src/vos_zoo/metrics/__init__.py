"""Region similarity J, boundary accuracy F, and the evaluations that are made of them.

The names below load on first use; only the torchmetrics classes need torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vos_zoo.lazy import lazy_names

if TYPE_CHECKING:
    from vos_zoo.metrics.breakdowns import BreakdownRow as BreakdownRow
    from vos_zoo.metrics.breakdowns import length_breakdown as length_breakdown
    from vos_zoo.metrics.breakdowns import occlusion_breakdown as occlusion_breakdown
    from vos_zoo.metrics.comparison import Comparison as Comparison
    from vos_zoo.metrics.comparison import compare as compare
    from vos_zoo.metrics.evaluation import evaluate as evaluate
    from vos_zoo.metrics.functional import Statistics as Statistics
    from vos_zoo.metrics.functional import boundary_accuracy as boundary_accuracy
    from vos_zoo.metrics.functional import region_similarity as region_similarity
    from vos_zoo.metrics.functional import score_statistics as score_statistics
    from vos_zoo.metrics.jf import BoundaryAccuracy as BoundaryAccuracy
    from vos_zoo.metrics.jf import JAndF as JAndF
    from vos_zoo.metrics.jf import RegionSimilarity as RegionSimilarity
    from vos_zoo.metrics.protocols import PROTOCOLS as PROTOCOLS
    from vos_zoo.metrics.protocols import ObjectScore as ObjectScore
    from vos_zoo.metrics.report import EvaluationReport as EvaluationReport

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "BoundaryAccuracy": "vos_zoo.metrics.jf",
        "BreakdownRow": "vos_zoo.metrics.breakdowns",
        "Comparison": "vos_zoo.metrics.comparison",
        "EvaluationReport": "vos_zoo.metrics.report",
        "JAndF": "vos_zoo.metrics.jf",
        "ObjectScore": "vos_zoo.metrics.protocols",
        "PROTOCOLS": "vos_zoo.metrics.protocols",
        "RegionSimilarity": "vos_zoo.metrics.jf",
        "Statistics": "vos_zoo.metrics.functional",
        "boundary_accuracy": "vos_zoo.metrics.functional",
        "compare": "vos_zoo.metrics.comparison",
        "evaluate": "vos_zoo.metrics.evaluation",
        "length_breakdown": "vos_zoo.metrics.breakdowns",
        "occlusion_breakdown": "vos_zoo.metrics.breakdowns",
        "region_similarity": "vos_zoo.metrics.functional",
        "score_statistics": "vos_zoo.metrics.functional",
    },
)
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
