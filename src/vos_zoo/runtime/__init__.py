"""Segment videos by exported graphs, with NumPy and ONNX Runtime alone.

``vos-zoo export-onnx`` writes the graphs. Nothing here imports torch; the distribution ``vos-zoo-runtime`` has this
package without it, under the name ``vos_zoo_runtime``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vos_zoo.lazy import lazy_names

if TYPE_CHECKING:
    from vos_zoo.runtime.manifest import Manifest as Manifest
    from vos_zoo.runtime.manifest import read_manifest as read_manifest
    from vos_zoo.runtime.session import FrameResult as FrameResult
    from vos_zoo.runtime.session import GraphSession as GraphSession

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "FrameResult": "vos_zoo.runtime.session",
        "GraphSession": "vos_zoo.runtime.session",
        "Manifest": "vos_zoo.runtime.manifest",
        "read_manifest": "vos_zoo.runtime.manifest",
    },
)
__all__ = ["FrameResult", "GraphSession", "Manifest", "read_manifest"]
