"""Projects of several visitors: kept apart, limited, and removed with their files."""

from __future__ import annotations

import pytest

from testing.videos import clip, write_video
from vos_zoo.app.limits import AppLimits
from vos_zoo.app.store import ProjectStore
from vos_zoo.errors import LimitError, MissingFileError


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "clip.mp4", clip(3))


def test_each_visitor_has_a_project_that_only_its_key_finds(video):
    store = ProjectStore(AppLimits())
    first, second = store.create(video, "a.mp4"), store.create(video, "b.mp4")
    assert store.get(first).video.name == "a.mp4"
    assert store.get(second).folder != store.get(first).folder
    with pytest.raises(MissingFileError, match="no longer"):
        store.get("../" + first)
    store.remove(first)
    with pytest.raises(MissingFileError):
        store.get(first)
    assert video.is_file()
    folder = store.folder
    store.close()
    assert not folder.exists()


def test_the_name_of_an_upload_leads_nowhere_else(video):
    store = ProjectStore(AppLimits())
    project = store.get(store.create(video, "../../etc/clip.mp4"))
    assert project.video == project.folder / "video" / "clip.mp4"
    store.close()


def test_the_oldest_project_makes_room(video):
    store = ProjectStore(AppLimits(projects=2))
    first, second = store.create(video, "a.mp4"), store.create(video, "b.mp4")
    store.get(first)
    store.create(video, "c.mp4")
    assert len(store) == 2
    store.get(first)
    with pytest.raises(MissingFileError):
        store.get(second)
    store.close()


def test_idle_projects_are_removed(video):
    store = ProjectStore(AppLimits(idle_seconds=-1.0))
    first = store.create(video, "a.mp4")
    store.create(video, "b.mp4")
    assert len(store) == 1
    with pytest.raises(MissingFileError):
        store.get(first)
    store.close()


def test_a_large_file_is_refused_and_leaves_nothing(video):
    store = ProjectStore(AppLimits(upload_bytes=100))
    with pytest.raises(LimitError, match="up to 0"):
        store.create(video, "a.mp4")
    assert folders(store) == []
    store.close()


def test_opening_says_how_far_it_is(video):
    store = ProjectStore(AppLimits())
    steps = list(store.open(video, "a.mp4"))
    assert [(step.done, step.total, step.is_ready) for step in steps] == [
        (0, 3, False),
        (1, 3, False),
        (2, 3, False),
        (3, 3, False),
        (3, 3, True),
    ]
    assert store.get(steps[-1].key).state()["frames"] == 3
    store.close()


def test_opening_can_be_stopped_or_left(video):
    store = ProjectStore(AppLimits(projects=1))
    opening = store.open(video, "a.mp4")
    key = next(opening).key
    with pytest.raises(LimitError, match="as many projects"):
        store.create(video, "b.mp4")
    store.stop(key)
    assert list(opening) == []
    assert folders(store) == []
    left = store.open(video, "a.mp4")
    next(left)
    left.close()
    assert folders(store) == []
    store.create(video, "b.mp4")
    store.close()


def folders(store):
    return [path for path in store.folder.iterdir() if path.is_dir()]
