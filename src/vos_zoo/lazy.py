"""Names of a package that load on first use, so that importing it stays fast."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["lazy_names"]


def lazy_names(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make a package's ``__getattr__`` and ``__dir__``.

    Args:
        package: Name of the package.
        homes: Public name -> module that defines it.

    Returns:
        The two functions, to be assigned at the top level of the package's ``__init__.py``.

    Example:
        >>> load, names = lazy_names("vos_zoo.metrics", {"evaluate": "vos_zoo.metrics.evaluation"})
        >>> load("evaluate").__name__
        'evaluate'
    """

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}; it has {', '.join(sorted(homes))}")
        value = getattr(importlib.import_module(homes[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return load, names
