"""Models that other installed packages bring: found once, loaded when somebody asks for them.

A package names its models in its own metadata, as entry points of the group ``vos_zoo.models``. Listing them reads
metadata only; the package's code is imported when its model is looked up.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from vos_zoo.errors import ConfigError

__all__ = ["GROUP", "describe_plugin", "load_plugin", "plugin_names"]

#: Group of the entry points.
GROUP = "vos_zoo.models"


def plugin_names() -> tuple[str, ...]:
    """Return the names of all models that installed packages bring, without importing any of them."""
    return tuple(sorted(_found()))


def describe_plugin(name: str) -> str:
    """Say for a message where an entry point comes from.

    Args:
        name: One of ``plugin_names()``.
    """
    return " and ".join(f"`{point.value}` of the package {_package(point)}" for point in _found()[name])


def load_plugin(name: str) -> Any:
    """Import what an entry point names.

    Args:
        name: One of ``plugin_names()``.

    Raises:
        ConfigError: If the import fails, whatever the reason, or if two packages bring this name.
    """
    points = _found()[name]
    if len(points) > 1:
        raise ConfigError(f"{name!r} is the name of two models: {describe_plugin(name)}. Uninstall one of them.")
    try:
        return points[0].load()
    except Exception as error:  # code of another package may raise anything
        raise ConfigError(
            f"Model {name!r} cannot be imported: {describe_plugin(name)} raised {type(error).__name__}: {error}. "
            "Repair, update or uninstall that package."
        ) from error


@cache
def _found() -> dict[str, tuple[EntryPoint, ...]]:
    """Read the metadata of all installed packages once; one name has several entries if packages disagree about it."""
    found: dict[str, dict[str, EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        found.setdefault(point.name, {}).setdefault(point.value, point)
    return {name: tuple(points.values()) for name, points in found.items()}


def _package(point: EntryPoint) -> str:
    return "of an unknown name" if point.dist is None else f"{point.dist.name} {point.dist.version}"
