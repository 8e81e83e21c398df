"""Model zoo for semi-supervised video object segmentation.

Give a video and the masks of some objects in one of its frames; get masks for every frame.

Public names load on first use, so that ``import vos_zoo`` needs neither torch nor OpenCV:
:func:`load_model`, :func:`list_models`, :class:`VideoSession`, :func:`segment_video`, :func:`evaluate`.

Example:
    >>> import vos_zoo
    >>> "rde" in vos_zoo.list_models()
    True
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vos_zoo.hub import load_model as load_model
    from vos_zoo.inference.segment import segment_video as segment_video
    from vos_zoo.inference.session import VideoSession as VideoSession
    from vos_zoo.metrics import evaluate as evaluate
    from vos_zoo.registry import list_models as list_models

__version__ = "0.1.0"
__all__ = ["VideoSession", "__version__", "evaluate", "list_models", "load_model", "segment_video"]

# Public name -> module that defines it.
_LAZY = {
    "VideoSession": "vos_zoo.inference.session",
    "evaluate": "vos_zoo.metrics",
    "list_models": "vos_zoo.registry",
    "load_model": "vos_zoo.hub",
    "segment_video": "vos_zoo.inference.segment",
}


def __getattr__(name: str) -> Any:
    """Load a public name on first use."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(sorted(__all__))}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted(set(globals()) | set(__all__))
