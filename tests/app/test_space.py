"""The folder of a Space: valid metadata, and an app that is built when it is imported."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest
import yaml

from vos_zoo.app.space import write_space
from vos_zoo.errors import OutputExistsError, UnknownModelError

HEAD = {"title", "emoji", "colorFrom", "colorTo", "sdk", "sdk_version", "python_version", "app_file", "license"}
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}


@pytest.fixture
def space(tmp_path, monkeypatch):
    class Gradio:
        __version__ = "6.31.0"

    monkeypatch.setattr("vos_zoo.app.serve.import_gradio", lambda: Gradio)
    return write_space(tmp_path / "space", model="stcn")


def test_the_metadata_is_valid(space):
    text = space[2].read_text(encoding="utf-8")
    head = yaml.safe_load(text.split("---")[1])
    assert set(head) >= HEAD
    assert head["sdk"] == "gradio"
    assert {head["colorFrom"], head["colorTo"]} <= COLOURS
    assert len(head["short_description"]) <= 60
    assert head["app_file"] == space[0].name


def test_the_app_can_be_imported(space):
    if importlib.util.find_spec("gradio") is None:
        pytest.skip("the extra `app` is not installed")
    code = "import app; assert app.demo is not None; assert app.limits.frames == 600; print('imported')"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=space[0].parent, capture_output=True, text=True, timeout=240, check=False
    )
    assert result.stdout.strip() == "imported", result.stderr


def test_what_somebody_changed_is_not_replaced(space, tmp_path):
    write_space(tmp_path / "space", model="stcn")  # the same again
    space[1].write_text("something else")
    with pytest.raises(OutputExistsError, match=r"requirements\.txt"):
        write_space(tmp_path / "space", model="stcn")


def test_an_unknown_model_is_refused(tmp_path):
    with pytest.raises(UnknownModelError):
        write_space(tmp_path / "space", model="nonsense")
    assert not (tmp_path / "space").exists()
