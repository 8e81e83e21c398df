"""Modules that moved in 0.2: their old paths work until 0.3, with a warning that names the new one."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
import warnings
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MOVED", "redirect_moved_modules"]

#: Old path -> new path, of modules that users had a reason to import.
MOVED = {
    "vos_zoo.data.masks": "vos_zoo.media.masks",
    "vos_zoo.hub": "vos_zoo.weights",
    "vos_zoo.inference.overlay": "vos_zoo.media.overlay",
    "vos_zoo.inference.reader": "vos_zoo.media.reader",
    "vos_zoo.inference.segment": "vos_zoo.segmentation.video",
    "vos_zoo.inference.writer": "vos_zoo.media.writer",
    "vos_zoo.models.base": "vos_zoo.network",
    "vos_zoo.models.module": "vos_zoo.training.module",
}


class _Redirect(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the old paths and loads modules that look names up in the new ones."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in MOVED:
            return None
        return importlib.machinery.ModuleSpec(fullname, self)

    def exec_module(self, module: ModuleType) -> None:
        new = MOVED[module.__name__]
        warnings.warn(f"{module.__name__} is {new} now; the old name goes in 0.3.", DeprecationWarning, stacklevel=2)

        def look_up(name: str) -> Any:
            return getattr(importlib.import_module(new), name)

        module.__getattr__ = look_up  # type: ignore[method-assign]


def redirect_moved_modules() -> None:
    """Let Python find the old paths; asking twice changes nothing."""
    if not any(isinstance(finder, _Redirect) for finder in sys.meta_path):
        sys.meta_path.append(_Redirect())
