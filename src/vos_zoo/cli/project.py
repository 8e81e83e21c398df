"""The option ``--project`` of ``vos-zoo segment``: doing again what a project file says."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vos_zoo.cli.progress import progress_bar
from vos_zoo.errors import ConfigError, MissingFileError
from vos_zoo.waiting import announced

if TYPE_CHECKING:
    import argparse

__all__ = ["add_project_argument", "check_video", "replay"]

_logger = logging.getLogger(__name__)
_TAKEN = {"command", "debug", "project", "project_defaults", "video", "out", "device", "overwrite", "progress"}


def add_project_argument(parser: argparse.ArgumentParser) -> None:
    """Declare the option; after all others, whose defaults are remembered."""
    group = parser.add_argument_group("project instead of masks")
    group.add_argument(
        "--project",
        type=Path,
        metavar="FILE",
        help="project file that `vos-zoo app` wrote: its prompts, settings and corrections, in their order. VIDEO is "
        "looked for beside it if left out. Only --out, --device and --overwrite go with it",
    )
    parser.set_defaults(project_defaults=parser.get_default)


def replay(arguments: argparse.Namespace) -> int:
    """Do what the project says.

    Raises:
        ConfigError: If another option is given that the project decides.
        VosZooError: As :func:`vos_zoo.segmentation.replay.replay_project` says.
    """
    default: Any = arguments.project_defaults
    extra = sorted(
        name for name, value in vars(arguments).items() if name not in _TAKEN and value not in (default(name), None)
    )
    if extra:
        what = "MASKS" if extra[0] == "masks" else f"--{extra[0].replace('_', '-')}"
        raise ConfigError(f"{what} was given beside --project, which decides it. Leave it out.")
    with announced(_logger, "Loading PyTorch"):
        from vos_zoo.segmentation.project import find_project_video, read_project
        from vos_zoo.segmentation.replay import replay_project

    project = read_project(arguments.project)
    video = find_project_video(project, arguments.project, arguments.video)
    with progress_bar("frames") as progress:
        report = replay_project(
            project,
            video,
            out=arguments.out,
            device=arguments.device,
            overwrite=arguments.overwrite,
            progress=progress,
        )
    objects = f"{len(report.objects)} object{'s' if len(report.objects) != 1 else ''}"
    runs = f"{report.runs} run{'s' if report.runs != 1 else ''}"
    print(f"{report.frames} masks with {objects} in {report.folder}, after {runs}")
    return 0


def check_video(arguments: argparse.Namespace) -> None:
    """Refuse a command line without a video.

    Raises:
        MissingFileError: If there is none.
    """
    if arguments.video is None:
        raise MissingFileError(
            "No video was given. Expected VIDEO and masks or prompts, or a project file (`--project`)."
        )
