"""What a run has finished, noted beside its masks, so that another run can resume it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vos_zoo.errors import ConfigError, OutputExistsError
from vos_zoo.files import atomic_path, parse_json
from vos_zoo.run_file import RUN_FILE, changed_settings
from vos_zoo.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = ["Journal"]


class Journal:
    """The file ``run.json``: settings of the run, how many frames are finished, and a hash of the masks given for them.

    It is written after every mask. A mask of an older run may therefore stay where it is until its successor is
    complete: only as many frames count as finished as the journal says, whenever a run is killed.

    Args:
        folder: Folder of the masks.
        settings: What the masks depend on, as JSON data.
        overlay: The run's overlay video, which may be replaced when the run is resumed; None if there is none.

    Attributes:
        finished: Frames that are noted as finished, counted from the first.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], overlay: Path | None = None) -> None:
        self._folder = folder
        self._settings = settings
        self._overlay = None if overlay is None else str(overlay.resolve())
        self._given = hashlib.sha256()
        self.finished = 0

    def check(self, names: Sequence[str], given: Callable[[str], NDArray[Any] | None]) -> int:
        """Make sure that the run in the folder can be resumed; nothing is written.

        Args:
            names: Names of the frames to segment, in their order.
            given: Returns the user's mask of a frame.

        Returns:
            Number of frames that the earlier run noted as finished.

        Raises:
            OutputExistsError: If the folder holds masks of unknown origin, or the overlay is a file of another origin.
            ConfigError: If the run had other settings or other given masks, or its file is damaged.
        """
        run_file = self._folder / RUN_FILE
        if not run_file.is_file():
            if self._folder.is_dir() and any(self._folder.glob("*.png")):
                raise OutputExistsError(
                    f"{self._folder} holds masks but no {RUN_FILE}, so no run can be resumed in it. Choose another "
                    "folder, or replace its masks with overwrite=True (`--overwrite`)."
                )
            return 0
        try:
            changed = changed_settings(run_file, self._settings)
            finished, digest, overlay = _read_progress(run_file, len(names))
        except ValueError as error:
            raise ConfigError(
                f"{run_file} is damaged ({error}), so its run cannot be resumed. Start again with overwrite=True "
                "(`--overwrite`)."
            ) from error
        if changed:
            raise ConfigError(
                f"The run in {self._folder} had other settings: {'; '.join(changed)}. Resume it with the same ones, or "
                "start again with overwrite=True (`--overwrite`) or in another folder."
            )
        if self._overlay is not None and self._overlay != overlay and Path(self._overlay).exists():
            raise OutputExistsError(
                f"Overlay `{self._overlay}` exists, and the run in {self._folder} did not write it. Choose another "
                "name, or remove the file."
            )
        seen = hashlib.sha256()
        for name in names[:finished]:
            _add(seen, name, given(name))
        if digest is not None and seen.hexdigest() != digest:
            raise ConfigError(
                f"The given masks have changed since the run in {self._folder} used them: one of its {finished} "
                "finished frames had a mask that was redrawn, added or removed. Resuming would mix results of the old "
                "and the new mask. Start again with overwrite=True (`--overwrite`) or in another folder, or restore "
                "the mask."
            )
        return finished

    def begin(self) -> None:
        """Note the settings of a run that starts from its first frame."""
        self.finished = 0
        self._given = hashlib.sha256()
        self._write()

    def pass_over(self, name: str, given: NDArray[Any] | None) -> None:
        """Count a frame that an earlier run finished.

        Args:
            name: Name of the frame.
            given: The user's mask of it, or None.
        """
        _add(self._given, name, given)
        self.finished += 1

    def note(self, name: str, given: NDArray[Any] | None) -> None:
        """Note that the mask of the next frame is complete.

        Args:
            name: Name of the frame.
            given: The user's mask of it, or None.
        """
        self.pass_over(name, given)
        self._write()

    def _write(self) -> None:
        content = {
            "vos_zoo_version": __version__,
            "settings": self._settings,
            "overlay": self._overlay,
            "finished": self.finished,
            "given_masks_sha256": self._given.hexdigest(),
        }
        with atomic_path(self._folder / RUN_FILE) as partial:
            partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _read_progress(run_file: Path, total: int) -> tuple[int, str | None, str | None]:
    """Return how many frames a run has finished, the hash of their given masks, and the run's overlay."""
    content = parse_json(run_file.read_text(encoding="utf-8"))
    if "finished" not in content:  # version 0.1 removed older masks before it began, so that whatever is there counts
        return total, None, None
    finished, digest, overlay = (content.get(key) for key in ("finished", "given_masks_sha256", "overlay"))
    if type(finished) is not int or not 0 <= finished <= total or not isinstance(digest, str):
        raise ValueError(f"finished is {finished!r}, given_masks_sha256 {digest!r}")
    return finished, digest, overlay


def _add(digest: hashlib._Hash, name: str, mask: NDArray[Any] | None) -> None:
    """Add the mask that a user gave for a frame; the ids count, not how the file stores them."""
    if mask is not None:
        digest.update(f"{name} {mask.shape}\n".encode())
        digest.update(mask.astype(np.int32).tobytes())
