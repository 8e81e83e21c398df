"""What a user names as a video: a file, a folder, a pipe, a camera or the address of a stream."""

from __future__ import annotations

import contextlib
import re
import shutil
import stat
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal
from urllib.parse import unquote, urlsplit

from vos_zoo.errors import MissingFileError, VideoError
from vos_zoo.files import local_path

__all__ = ["STDIN", "Fetched", "Source", "copy_pipe", "find_source", "source_id"]

STDIN = "-"
"""The name of standard input."""

# Protocols of FFmpeg that carry videos; one slash is what is left of two in a `Path`.
_ADDRESS = re.compile(
    r"(https?|ftps?|sftp|rtsps?|rtmps?|rtmpt|rtp|srtp?|udp|tcp|tls|mmsh?|mmst|gopher):/{1,2}(?=[^/])", re.I
)
_CAMERA_FORMATS = {"linux": "v4l2", "darwin": "avfoundation"}


class Fetched(str):
    """A path or address that is read in the place of another one, such as the copy of a file from a store.

    Runs note what it stands for, so that one that read another copy, under another path, can be resumed.

    Args:
        read: What is read.
        origin: What the user named.

    Attributes:
        origin: As given.

    Example:
        >>> copy = Fetched("/tmp/x1/cat.png", "s3://bucket/cat.png")
        >>> copy, source_id(copy)
        ('/tmp/x1/cat.png', 's3://bucket/cat.png')
    """

    __slots__ = ("origin",)
    origin: str

    def __new__(cls, read: str, origin: str) -> Fetched:
        """Make a text that remembers another one."""
        made = super().__new__(cls, read)
        made.origin = origin
        return made


@dataclass(frozen=True)
class Source:
    """Where frames come from.

    Attributes:
        kind: What it is. Files, folders and pipes end; a camera does not; a stream may not.
        location: A path, or for cameras and streams what FFmpeg opens.
        input_format: Name of the FFmpeg device that opens a camera; None for everything else.
    """

    kind: Literal["file", "folder", "pipe", "camera", "stream"]
    location: Path | str
    input_format: str | None = None


def find_source(video: str | Path) -> Source:
    """Tell what a user's name for a video means; what is on the disk comes first.

    Args:
        video: A path, with ``~`` for the home folder; ``-`` for standard input; the number of a camera; or an address
            such as ``https://…`` or ``rtsp://…``.

    Raises:
        MissingFileError: If there is no such file, folder or camera.
        VideoError: If it is a device that gives no video.

    Example:
        >>> find_source("rtsp://camera.local/stream").kind
        'stream'
    """
    text = str(video)
    if text == STDIN:
        return Source("pipe", STDIN)
    path = local_path(video)
    if path.exists():
        return _of_path(path)
    if text.lower().startswith("file:"):
        return find_source(Path(unquote(urlsplit(text).path)))
    if _ADDRESS.match(text):
        return Source("stream", _ADDRESS.sub(r"\1://", text, count=1))
    if re.fullmatch(r"[0-9]{1,3}", text):
        return _of_camera(int(text))
    raise MissingFileError(_absence(text, path))


def source_id(video: str | Path) -> str:
    """Give the name under which a run notes what it reads: the whole path of what is on the disk, else as given."""
    if isinstance(video, Fetched):
        return video.origin
    try:
        source = find_source(video)
    except (MissingFileError, VideoError):
        return str(video)
    is_local = isinstance(source.location, Path) and source.kind in ("file", "folder")
    return str(Path(source.location).resolve()) if is_local else str(source.location)


def copy_pipe(location: Path | str) -> IO[bytes]:
    """Read a pipe to its end into a temporary file, since videos are read more than once.

    Args:
        location: The pipe, or ``-`` for standard input.

    Returns:
        The file, which disappears when it is closed.

    Raises:
        VideoError: If nothing came.
    """
    copy = tempfile.NamedTemporaryFile(prefix="vos-zoo-pipe-")  # noqa: SIM115  # closed by whoever reads it
    with contextlib.ExitStack() as stack:
        stack.callback(copy.close)
        pipe = sys.stdin.buffer if location == STDIN else stack.enter_context(Path(location).open("rb"))
        shutil.copyfileobj(pipe, copy)
        copy.flush()
        if not copy.tell():
            raise VideoError(f"Nothing came through the pipe `{location}`. Check the program that writes into it.")
        stack.pop_all()
    return copy


def _of_path(path: Path) -> Source:
    if path.is_dir():
        return Source("folder", path)
    mode = path.stat().st_mode
    if stat.S_ISFIFO(mode):
        return Source("pipe", path)
    if not stat.S_ISCHR(mode):
        return Source("file", path)
    if re.fullmatch(r"video[0-9]+", path.name) and "linux" in sys.platform:
        return Source("camera", str(path), _CAMERA_FORMATS["linux"])
    raise VideoError(
        f"`{path}` is a device (a terminal?) that gives no video. Give a file, a folder of frames, a camera, or pipe a "
        "video in."
    )


def _of_camera(number: int) -> Source:
    input_format = _CAMERA_FORMATS.get(sys.platform)
    if input_format == "avfoundation":
        return Source("camera", str(number), input_format)
    device = Path(f"/dev/video{number}")
    if input_format is None or not device.exists():
        raise MissingFileError(
            f"There is no file or folder `{number}`. If camera {number} is meant: there is no `{device}` on this "
            "machine. Frames from any other camera software go into vos_zoo.VideoSession one by one."
        )
    return Source("camera", str(device), input_format)


def _absence(text: str, path: Path) -> str:
    if path.is_symlink():
        return (
            f"Video `{text}` is a link to `{path.readlink()}`, which is not there. Fetch what it points to (such as by "
            "`git annex get`), or give the file itself."
        )
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text):
        return f"`{text}` is an address of an unknown protocol. Download the video and give the file."
    if any(sign in path.name for sign in "*?["):
        return (
            f"There is no video `{text}`: it is a pattern for several files. Give the folder with the frames, "
            f"`{path.parent}`."
        )
    where = "" if str(path) == text else f" (`{path}`)"
    return f"There is no video `{text}`{where}. Give a video file or a folder of frames."
