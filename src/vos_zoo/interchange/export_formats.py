"""The formats that masks can be exported to, as data: nothing heavy is imported before one is asked for."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vos_zoo.interchange.exporter import Exporter

__all__ = ["EXPORT_FORMATS", "ExportFormat"]


@dataclass(frozen=True)
class ExportFormat:
    """A format that masks can be exported to.

    Attributes:
        summary: What it is, for ``vos-zoo export-masks --help``.
        exporter: Where its class is, "module:Class"; it is imported when the format is asked for.
        suffixes: Endings that its file may have; nothing if it is a folder.
        has_soft_edges: Whether it can hold soft edges.
    """

    summary: str
    exporter: str
    suffixes: tuple[str, ...] = ()
    has_soft_edges: bool = False

    def load(self) -> type[Exporter]:
        """Import the exporter's class."""
        module, _, name = self.exporter.partition(":")
        found: type[Exporter] = getattr(importlib.import_module(module), name)
        return found


_HERE = "vos_zoo.interchange"
EXPORT_FORMATS: dict[str, ExportFormat] = {
    "webm": ExportFormat(
        "video with transparency for browsers (VP9 with alpha)",
        f"{_HERE}.video_exporters:WebMExporter",
        (".webm",),
        has_soft_edges=True,
    ),
    "prores": ExportFormat(
        "video with transparency for editors (ProRes 4444)",
        f"{_HERE}.video_exporters:ProResExporter",
        (".mov",),
        has_soft_edges=True,
    ),
    "green-screen": ExportFormat(
        "video of the objects on green (H.264)",
        f"{_HERE}.video_exporters:GreenScreenExporter",
        (".mp4", ".m4v", ".mov"),
        has_soft_edges=True,
    ),
    "blue-screen": ExportFormat(
        "the same on blue",
        f"{_HERE}.video_exporters:BlueScreenExporter",
        (".mp4", ".m4v", ".mov"),
        has_soft_edges=True,
    ),
    "matte": ExportFormat(
        "black-and-white video (H.264)",
        f"{_HERE}.video_exporters:MatteExporter",
        (".mp4", ".m4v", ".mov"),
        has_soft_edges=True,
    ),
    "overlay": ExportFormat(
        "the video with the masks drawn in (H.264)",
        f"{_HERE}.video_exporters:OverlayExporter",
        (".mp4", ".m4v", ".mov"),
    ),
    "cutouts": ExportFormat("RGBA PNG per frame", f"{_HERE}.picture_exporters:CutoutExporter", has_soft_edges=True),
    "binary-png": ExportFormat(
        "black-and-white PNG per object and frame",
        f"{_HERE}.picture_exporters:BinaryMaskExporter",
        has_soft_edges=True,
    ),
    "npz": ExportFormat("NumPy arrays", f"{_HERE}.array_exporter:ArrayExporter", (".npz",), has_soft_edges=True),
    "davis": ExportFormat("frames and masks in the folders of DAVIS 2017", f"{_HERE}.dataset_exporters:DavisExporter"),
    "youtube-vos": ExportFormat(
        "frames and masks in the folders of YouTube-VOS, with meta.json",
        f"{_HERE}.dataset_exporters:YouTubeVosExporter",
    ),
    "coco": ExportFormat("COCO JSON, run lengths with `track_id`", f"{_HERE}.coco:CocoExporter", (".json",)),
    "yolo": ExportFormat("YOLO segmentation, a class per object", f"{_HERE}.yolo:YoloExporter"),
    "cvat": ExportFormat("CVAT for video 1.1, a track per object", f"{_HERE}.cvat:CvatExporter", (".xml",)),
    "label-studio": ExportFormat(
        "Label Studio JSON, brush strokes", f"{_HERE}.label_studio:LabelStudioExporter", (".json",)
    ),
}
"""Every format by its name on the command line."""
