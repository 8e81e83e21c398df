"""A project: what was pointed out in a video and how it was tracked, as a file that can be replayed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vos_zoo.configs import check_choices, config_from_dict, config_to_dict
from vos_zoo.demo import demo_clip
from vos_zoo.errors import ConfigError, MissingFileError, VideoError
from vos_zoo.files import atomic_path, local_path, parse_json
from vos_zoo.prompts.json_form import prompts_from_json
from vos_zoo.weights.checksum import file_sha256

if TYPE_CHECKING:
    from vos_zoo.prompts.prompt import Prompt

__all__ = [
    "Project",
    "ProjectRun",
    "ProjectSettings",
    "ProjectVideo",
    "find_project_video",
    "read_project",
    "write_project",
]

VERSION = 1


@dataclass(frozen=True)
class ProjectVideo:
    """Which video a project belongs to.

    Attributes:
        name: Name of its file.
        sha256: Checksum of its content, 64 hexadecimal digits.
        frames: Number of its frames.
        height: Of a frame, in pixels.
        width: Of a frame, in pixels.
    """

    name: str
    sha256: str
    frames: int
    height: int
    width: int

    def __post_init__(self) -> None:
        if Path(self.name).name != self.name or self.name in ("", ".", ".."):
            raise ConfigError(
                f"The project's video is named {self.name!r}. Expected the name of a file, without folders."
            )

    @classmethod
    def of(cls, path: Path, frames: int, size: tuple[int, int]) -> ProjectVideo:
        """Describe a video file.

        Args:
            path: The file.
            frames: Number of its frames.
            size: (H, W) of a frame.
        """
        return cls(path.name, file_sha256(path), frames, *size)


@dataclass(frozen=True)
class ProjectSettings:
    """How masks are tracked; see :func:`vos_zoo.segment_video`.

    Attributes:
        model: Name of a model.
        direction: Where to go from the frames with prompts.
        size: Short side that the network sees, in pixels, None for the frames' own, or "native".
        precision: Arithmetic of the network.
    """

    model: str = "rde"
    direction: Literal["forward", "backward", "both"] = "both"
    size: int | Literal["native"] | None = "native"
    precision: Literal["fp32", "tf32", "bf16", "fp16", "auto"] = "fp32"

    def __post_init__(self) -> None:
        check_choices(self)


@dataclass(frozen=True)
class ProjectRun:
    """One run: prompts that are new since the run before, and the tracking that they lead to.

    Attributes:
        settings: How it tracks. A run with the settings of the previous one corrects it; otherwise it starts over.
        prompts: New prompts, as :func:`vos_zoo.prompts.prompts_to_json` writes them.
        steps: After how many frames it was stopped, each frame of each direction counted once; None if it was not.
    """

    settings: ProjectSettings
    prompts: Mapping[str, Any]
    steps: int | None = None

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 1:
            raise ConfigError(f"A run of the project has steps={self.steps}. Expected at least 1, or null.")
        prompts_from_json(self.prompts)

    @property
    def by_frame(self) -> dict[int, list[Prompt]]:
        """The new prompts by the number of their frame, frames in ascending order."""
        return prompts_from_json(self.prompts)


@dataclass(frozen=True)
class Project:
    """A video, what its objects are called, and everything that was done to get their masks.

    Attributes:
        video: The video.
        objects: Name of each object, by its id, written as text.
        runs: All runs, in their order.
    """

    video: ProjectVideo
    objects: Mapping[str, str] = field(default_factory=dict)
    runs: tuple[ProjectRun, ...] = ()

    def __post_init__(self) -> None:
        wrong = [key for key in self.objects if not (key.isascii() and key.isdigit() and 1 <= int(key) < 2**16)]
        if wrong:
            raise ConfigError(f'The project names the object {wrong[0]!r}. Expected its id as text, such as "1".')

    @property
    def labels(self) -> dict[int, str]:
        """Name of each object, by its id."""
        return {int(key): name for key, name in self.objects.items()}


def write_project(path: str | Path, project: Project) -> None:
    """Write a project file, whole or not at all.

    Args:
        path: Where to write.
        project: The project.
    """
    content = {"version": VERSION, **config_to_dict(project)}
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_project(path: str | Path) -> Project:
    """Read a project file, strictly: unknown keys and wrong types are refused.

    Raises:
        MissingFileError: If there is no such file.
        ConfigError: If it is not a project; the message names the place inside it.
        PromptError: If its prompts are none.
    """
    path = local_path(path)
    if not path.is_file():
        raise MissingFileError(f"There is no project file `{path}`. Check the path.")
    try:
        content = parse_json(path.read_bytes())
    except ValueError as error:
        raise ConfigError(f"`{path}` is not JSON: {error}. Expected a project file.") from error
    version = content.pop("version", None) if isinstance(content, dict) else None
    if type(version) is not int or version != VERSION:
        newer = " Update vos_zoo." if type(version) is int and version > VERSION else ""
        raise ConfigError(f"`{path}` has version {version!r}. Expected a project file of version {VERSION}.{newer}")
    return config_from_dict(Project, content, where=f"`{path}`")


def find_project_video(project: Project, path: str | Path, video: str | Path | None = None) -> Path:
    """Find the video of a project, and make sure that it is the one.

    Args:
        project: The project.
        path: The project file; the video is looked for beside it, and the bundled clip in the package.
        video: The video, if the user names it.

    Returns:
        Path of the video.

    Raises:
        MissingFileError: If it is not there.
        VideoError: If it is another video.
    """
    expected = project.video
    if video is not None:
        found = local_path(video)
    else:
        found = local_path(path).parent / expected.name
        if not found.is_file() and demo_clip().video.name == expected.name:
            found = demo_clip().video
    if not found.is_file():
        advice = "Put it there, or name it as VIDEO" if video is None else "Check the path"
        raise MissingFileError(f"The project's video `{expected.name}` is not at `{found}`. {advice}.")
    if file_sha256(found) != expected.sha256:
        raise VideoError(
            f"`{found}` is another video than the one of the project, which is `{expected.name}` with "
            f"{expected.frames} frames of {expected.width}x{expected.height} and the checksum {expected.sha256}. Give "
            "that file, unchanged: masks of another encoding would differ."
        )
    return found
