"""Arguments that several data modules share, checked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vos_zoo.configs import check_type
from vos_zoo.data.clips.compositing import PasteSettings
from vos_zoo.data.modules.base import ClipDataModule
from vos_zoo.errors import ConfigError, DataError, MissingFileError

CACHE_BYTES = 512 * 2**20


def check_area(crop_area: tuple[float, float]) -> None:
    """Refuse a range of areas that is not a range of shares.

    Raises:
        ConfigError: If it is none.
    """
    if not 0 < crop_area[0] <= crop_area[1] <= 1:
        raise ConfigError(f"crop_area is {crop_area}. Expected shares of the frame with 0 < low <= high <= 1.")


def paste_settings(paste: bool | PasteSettings) -> PasteSettings | None:
    """Return how objects are pasted: the default for True, None for False.

    Raises:
        ConfigError: If it is neither a truth value nor settings.
    """
    if isinstance(paste, bool):
        return PasteSettings() if paste else None
    check_type("paste", paste, PasteSettings)
    return paste


def held_back(data: ClipDataModule) -> list[str]:
    """Videos of the module's own root that are for validation only."""
    return data.validation_names or [] if data.validation_root is None else []


def check_repeats(repeats: Sequence[float]) -> None:
    """Refuse sets that never count.

    Raises:
        ConfigError: If a ``repeat`` is not above 0.
    """
    if any(repeat <= 0 for repeat in repeats):
        raise ConfigError(f"Sets repeat {list(repeats)} times. Expected numbers above 0; leave a set out instead.")


def existing_root(root: Path) -> Path:
    """Return the data root.

    Raises:
        MissingFileError: If it is not a folder.
    """
    if not root.is_dir():
        raise MissingFileError(
            f"Data root {str(root)!r} is not a folder. Expected the folder that holds the training data. Check "
            "`--data.root`."
        )
    return root


def part_of_root(root: Path, name: str, weight: str) -> Path:
    """Return a folder of the data root.

    Args:
        root: The data root.
        name: Name of the folder.
        weight: The option because of which it is needed.

    Raises:
        MissingFileError: If the root is not a folder.
        DataError: If the root has no such folder.
    """
    if not (existing_root(root) / name).exists():
        found = ", ".join(sorted(path.name for path in root.iterdir())[:10]) or "nothing"
        raise DataError(
            f"Data root {str(root)!r} has no `{name}/` (found: {found}). Expected it because {weight} is above 0. "
            f"Add the data or set {weight} to 0."
        )
    return root / name
