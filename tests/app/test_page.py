"""What the page answers, whatever it is asked."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testing.videos import clip, write_video
from vos_zoo.app.limits import AppLimits
from vos_zoo.app.page import answer
from vos_zoo.app.store import ProjectStore

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
ACTIONS = ["state", "picture", "mask", "edit", "undo", "add", "rename", "stop"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    made = ProjectStore(AppLimits())
    made.key = made.create(write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", clip(3)), "clip.mp4")
    yield made
    made.close()


@given(request=JSON)
def test_anything_gets_an_answer(store, request):
    assert "error" in answer(store, request)


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(action=st.sampled_from([*ACTIONS, "call", None]), frame=JSON, prompt=JSON, name=JSON)
def test_a_project_survives_any_question(store, action, frame, prompt, name):
    request = {"key": store.key, "action": action, "frame": frame, "prompt": prompt, "object": frame, "name": name}
    assert isinstance(answer(store, request), dict)


def test_a_prompt_is_drawn_and_shown(store):
    prompt = {"kind": "brush", "object_id": 1, "line": [[9, 9], [20, 20]], "radius": 3, "erase": False}
    state = answer(store, {"key": store.key, "action": "edit", "frame": 1, "prompt": prompt})
    assert 1 in state["prompted"]
    shown = answer(store, {"key": store.key, "action": "mask", "frame": 1})
    assert shown["url"].startswith("data:image/png;base64,")
    assert shown["prompts"][0]["kind"] == "brush"
    assert answer(store, {"key": store.key, "action": "undo"})["undone"] == 1
    assert answer(store, {"key": store.key, "action": "picture", "frame": 2})["url"].startswith("data:image/jpeg")


def test_a_wrong_prompt_has_the_librarys_message(store):
    prompt = {"kind": "box", "object_id": 1, "left": 5, "top": 5, "right": 5, "bottom": 9}
    assert "no area" in answer(store, {"key": store.key, "action": "edit", "frame": 0, "prompt": prompt})["error"]


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: not enough memory")])
def test_too_little_memory_is_said(store, monkeypatch, error):
    def refuse(*arguments):
        raise error

    monkeypatch.setattr("vos_zoo.app.project.AppProject.edit", refuse)
    prompt = {"kind": "brush", "object_id": 1, "line": [[9, 9]], "radius": 3, "erase": False}
    request = {"key": store.key, "action": "edit", "frame": 1, "prompt": prompt}
    assert "too little memory" in answer(store, request)["error"]
    assert answer(store, {"key": store.key, "action": "state"})["pending"] == 0
