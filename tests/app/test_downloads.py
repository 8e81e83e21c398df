"""What a visitor takes home is what the library writes."""

from __future__ import annotations

import json
import zipfile

import pytest

from testing.videos import clip, write_video
from vos_zoo.app.downloads import DOWNLOADS, make_download
from vos_zoo.app.limits import AppLimits
from vos_zoo.app.pictures import FramePictures
from vos_zoo.app.project import AppProject
from vos_zoo.errors import ConfigError, MissingFileError
from vos_zoo.media.reader import open_video
from vos_zoo.prompts import Brush
from vos_zoo.segmentation.project import ProjectSettings, read_project


@pytest.fixture(scope="module")
def project(tmp_path_factory, tiny_model):
    place = tmp_path_factory.mktemp("downloads")
    video = write_video(place / "clip.mp4", clip(4))
    pictures = FramePictures(video, place / "project" / "pictures", AppLimits())
    list(pictures.write())
    made = AppProject(pictures, place / "project", AppLimits())
    with pytest.raises(MissingFileError, match="no masks yet"):
        make_download(made, "masks")
    made.rename(1, "block")
    made.edit(0, Brush(1, [(20.5, 16.5)], 6))
    list(made.track(ProjectSettings(model=str(tiny_model))))
    return made


@pytest.mark.parametrize("kind", DOWNLOADS)
def test_every_download_can_be_made_twice(project, kind):
    first = make_download(project, kind).read_bytes()
    path = make_download(project, kind)
    assert first
    assert path.is_file()
    assert path.is_relative_to(project.folder)


def test_masks_are_those_on_the_disk(project):
    with zipfile.ZipFile(make_download(project, "masks")) as archive:
        for path in project.masks.glob("*.png"):
            assert archive.read(path.name) == path.read_bytes()
        assert len(archive.namelist()) == 4


def test_names_of_objects_are_in_coco(project):
    coco = json.loads(make_download(project, "coco").read_text())
    assert [category["name"] for category in coco["categories"]] == ["block"]


def test_the_overlay_has_all_frames(project):
    reader = open_video(make_download(project, "overlay"))
    assert len(reader) == 4
    assert reader.size == (48, 64)


def test_the_project_file_is_read_back(project):
    assert read_project(make_download(project, "project")) == project.project()


def test_other_downloads_are_refused(project):
    with pytest.raises(ConfigError, match="masks, overlay"):
        make_download(project, "../masks")
