"""What a visitor can take home.

What writes files loads PyTorch, for which nobody waits who only looks at the page; so it is imported on use.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from vos_zoo.errors import ConfigError, MissingFileError
from vos_zoo.files import atomic_path

if TYPE_CHECKING:
    from vos_zoo.app.project import AppProject

__all__ = ["DOWNLOADS", "make_download"]

DOWNLOADS = {
    "masks": "Masks (PNG)",
    "overlay": "Overlay (MP4)",
    "coco": "COCO JSON",
    "webm": "Cut-out with transparency (WebM)",
    "project": "Project file",
}
"""Every download and what the page calls it."""

_SUFFIXES = {"masks": "masks.zip", "overlay": "overlay.mp4", "coco": "coco.json", "webm": "cutout.webm"}


def make_download(project: AppProject, kind: str) -> Path:
    """Write a download below the project's folder, in place of an older one.

    Args:
        project: The project.
        kind: A key of ``DOWNLOADS``.

    Returns:
        Path of the file.

    Raises:
        MissingFileError: If nothing has been tracked yet.
        ConfigError: If there is no such download.
        VosZooError: As :func:`vos_zoo.export_masks` says.
    """
    if kind not in DOWNLOADS:
        raise ConfigError(f"There is no download {kind!r}. Expected one of {', '.join(DOWNLOADS)}.")
    if not project.state()["finished"]:
        raise MissingFileError("There are no masks yet. Point out an object, and track it.")
    folder = project.folder / "downloads"
    folder.mkdir(exist_ok=True)
    stem = project.video.stem
    if kind == "project":
        from vos_zoo.segmentation.project import write_project

        path = folder / "project.json"
        write_project(path, project.project())
        return path
    path = folder / f"{stem}_{_SUFFIXES[kind]}"
    if kind == "masks":
        with atomic_path(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
            for mask in sorted(project.masks.glob("*.png")):
                archive.write(mask, mask.name)
        return path
    from vos_zoo.interchange.export_masks import export_masks

    objects = project.project().labels
    export_masks(project.masks, to=kind, out=path, video=project.video, labels=objects, overwrite=True)
    return path
