"""Which format a file or folder of masks has, detected from its content."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vos_zoo.errors import MaskError
from vos_zoo.files import file_kind, parse_json
from vos_zoo.interchange.coco import is_coco
from vos_zoo.interchange.colours import is_coloured
from vos_zoo.interchange.cvat import is_cvat
from vos_zoo.interchange.label_studio import is_label_studio
from vos_zoo.interchange.label_studio_images import is_label_studio_image
from vos_zoo.interchange.labelme import is_labelme
from vos_zoo.interchange.object_files import object_folders, object_in_name
from vos_zoo.interchange.object_ids import id_in_name
from vos_zoo.interchange.yolo import is_yolo, label_files
from vos_zoo.limits import byte_excess
from vos_zoo.media.absences import ABSENT_FILE
from vos_zoo.media.masks import MASK_SUFFIXES
from vos_zoo.media.pictures import TIFF, count_pictures

__all__ = ["Found", "recognise"]

_HEAD_BYTES = 4096
_JSON_FORMATS: dict[str, Callable[[Any], bool]] = {
    "coco": is_coco,
    "labelme": is_labelme,
    "label-studio": is_label_studio,
}
_NO_FILES_OF_TOOLS = ("ids", "colours", "object-files", "object-folders", "label-studio-images")
_INNER_FOLDERS = ("annotations", "labels")  # where CVAT and YOLO put what belongs to images beside them


@dataclass(frozen=True)
class Found:
    """What a path turned out to be.

    Attributes:
        format: One of ``MASK_FORMATS``, or "arrays" if it is not known yet what the first axis is.
        path: The file or folder to read.
        content: Parsed JSON: that of the file, or of every file of a folder by its path. None for other formats.
    """

    format: str
    path: Path
    content: Any = None


def recognise(path: Path, wanted: str | None = None) -> Found:
    """Find out which format masks have.

    Args:
        path: An existing file or folder.
        wanted: The format that the user says it has; None leaves it open.

    Returns:
        What it is. What looks like nothing else is "ids", whose reader says what is wrong with it.

    Raises:
        MaskError: If it could be two formats, or is not the one that was said.
    """
    found = _folder(path, wanted) if path.is_dir() else _file(path, wanted)
    is_array = found.format == "arrays" and wanted in ("array-frames", "array-objects")
    if wanted is not None and not is_array and found.format != wanted:
        raise MaskError(
            f"`{path}` does not hold masks of the format {wanted}, which `--mask-format` (format) says. It looks like "
            f"{found.format}. Leave the option out, or give another file."
        )
    return Found(wanted, found.path, found.content) if wanted is not None else found


def _file(path: Path, wanted: str | None) -> Found:
    if not path.is_file():
        return Found("ids", path)
    kind = file_kind(path)
    if kind.family == "image":
        if wanted in _NO_FILES_OF_TOOLS:
            return Found(wanted, path)
        if kind.name == TIFF and count_pictures(path) > 1:
            return Found("stack", path)
        return Found("colours" if is_coloured(path) else "ids", path)
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head.startswith((b"\x93NUMPY", b"PK\x03\x04")):
        return _archive_or_array(path, head)
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith((b"{", b"[")):
        return _json(path, wanted)
    if text.startswith(b"<"):
        if kind.name != "an HTML page" and (is_cvat(head) or wanted == "cvat"):
            return Found("cvat", path)
        raise MaskError(f"`{path}` is {kind.name} and no XML file of CVAT. Export the annotations again.")
    if path.suffix.lower() == ".txt" and (wanted == "yolo" or is_yolo(path)):
        return Found("yolo", path)
    return Found("ids", path)


def _archive_or_array(path: Path, head: bytes) -> Found:
    if head.startswith(b"PK") and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        if not any(name.endswith(".npy") for name in names):
            raise MaskError(
                f"`{path}` is a zip archive, as annotation tools download it ({', '.join(names[:3])}). Unpack it, and "
                "give the folder or file that is in it."
            )
    return Found("arrays", path)


def _json(path: Path, wanted: str | None) -> Found:
    try:
        content = _parsed(path)
    except MaskError:
        if path.suffix.lower() != ".json" and wanted is None:
            return Found("ids", path)  # some other text that begins like this
        raise
    for name, is_format in _JSON_FORMATS.items():
        if is_format(content):
            return Found(name, path, {path: content} if name == "labelme" else content)
    raise MaskError(f"`{path}` is JSON, but no annotations of COCO, labelme or Label Studio: {_described(content)}")


def _parsed(path: Path) -> Any:
    excess = byte_excess(path.stat().st_size)
    if excess is not None:
        raise MaskError(f"`{path}` is too large: {excess}.")
    try:
        return parse_json(path.read_bytes())
    except ValueError as error:
        raise MaskError(f"`{path}` is not a complete JSON file: {error}. Export the annotations again.") from error


def _described(content: Any) -> str:
    """Say what JSON is instead, and what to do."""
    if isinstance(content, list) and content and isinstance(content[0], dict) and "segmentation" in content[0]:
        return "it is a list of results, which names no images. Give the file with `images` and `annotations`."
    if isinstance(content, dict) and "annotations" in content and "videos" in content:
        return "it has no `images`, as files for YouTube-VIS. Convert it to COCO with an image for every frame."
    if isinstance(content, dict) and content.keys() == {"version", "frames"}:
        return "it looks like prompts. Give it with `--prompts`."
    keys = ", ".join(f"`{str(key)[:30]}`" for key in list(content)[:4]) if isinstance(content, dict) else ""
    found = f"an object with {keys}" if keys else "an empty object" if content == {} else f"a {type(content).__name__}"
    return f"it holds {found}. Give another file."


def _folder(path: Path, wanted: str | None) -> Found:
    files = sorted(
        entry
        for entry in path.iterdir()
        if entry.is_file() and not entry.name.startswith(".") and entry.name != ABSENT_FILE
    )
    images = _mask_images(path)
    by_suffix = {suffix: [file for file in files if file.suffix.lower() == suffix] for suffix in (".json", ".xml")}
    if wanted not in _NO_FILES_OF_TOOLS:
        labelme = _labelme_files(by_suffix[".json"], path)
        if labelme is not None:
            return labelme
        texts = label_files(path)
        is_text = bool(texts) and (wanted == "yolo" or any(is_yolo(file) for file in texts))
        if is_text and images and wanted is None:
            raise MaskError(
                f"`{path}` holds images and text files of YOLO, so it can be read in two ways: the images are masks: "
                "format='ids' (`--mask-format ids`); or the text files are: format='yolo' (`--mask-format yolo`). Say "
                "which."
            )
        if is_text:
            return Found("yolo", path)
    if images and (wanted is None or wanted in _NO_FILES_OF_TOOLS):
        return Found(wanted or _kind_of_images(images), path)
    annotations = [*by_suffix[".json"], *by_suffix[".xml"]]
    if len(annotations) == 1:
        return _file(annotations[0], wanted)
    if len(annotations) > 1:
        raise MaskError(
            f"`{path}` holds {len(annotations)} files that may be annotations: "
            f"{', '.join(file.name for file in annotations[:3])}. Give one of them."
        )
    return _folder_of_folders(path, wanted)


def _labelme_files(files: Sequence[Path], path: Path) -> Found | None:
    """Read the JSON files of a folder, if the first one is of labelme: then all have to be."""
    contents: dict[Path, Any] = {}
    for file in files:
        content = _parsed(file)
        if not is_labelme(content):
            if contents:
                raise MaskError(
                    f"`{file}` is not a file of labelme, unlike the others in its folder. Remove or correct it."
                )
            return None
        content.pop("imageData", None)  # the image itself, which labelme stores in every file
        contents[file] = content
    return Found("labelme", path, contents) if contents else None


def _mask_images(folder: Path) -> list[Path]:
    """List the files of a folder that can be masks; their reader says what is wrong with them."""
    files = [path for path in folder.iterdir() if path.suffix.lower() in MASK_SUFFIXES and path.is_file()]
    return sorted(path for path in files if not path.name.startswith("."))


def _kind_of_images(images: Sequence[Path]) -> str:
    if all(object_in_name(image.stem) for image in images):
        return "object-files"
    if any(is_label_studio_image(image.stem) for image in images):
        return "label-studio-images"
    return "colours" if all(is_coloured(image) for image in images) else "ids"


def _folder_of_folders(path: Path, wanted: str | None) -> Found:
    folders = object_folders(path)
    for folder in folders:
        if folder.name.lower() in _INNER_FOLDERS and wanted not in _NO_FILES_OF_TOOLS:
            return _folder(folder, wanted)
    with_masks = [folder for folder in folders if _mask_images(folder)]
    if wanted == "object-folders" or (with_masks and all(_names_an_object(folder) for folder in with_masks)):
        return Found("object-folders", path)
    if len(with_masks) > 1 and _shares_names(with_masks):
        raise MaskError(
            f"`{path}` holds {len(with_masks)} folders with masks "
            f"({', '.join(one.name for one in with_masks[:3])}), which can be read in two ways: they are masks of "
            "as many videos; then give the folder of one. Or each holds one object of this video: "
            "format='object-folders' (`--mask-format object-folders`)."
        )
    return Found("ids", path)


def _names_an_object(folder: Path) -> bool:
    """Tell whether a folder is named by an id. Long numbers are names of videos."""
    return id_in_name(folder.name) is not None and re.search(r"[0-9]{5}", folder.name) is None


def _shares_names(folders: Sequence[Path]) -> bool:
    names = [{image.name for image in _mask_images(folder)} for folder in folders]
    return bool(set.intersection(*names))
