"""Settings of an earlier run against those of this one."""

from __future__ import annotations

import json

import pytest

from vos_zoo.run_file import changed_settings

SETTINGS = {"size": 480, "model": "rde.small", "every": None}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"version": "1.0", "settings": SETTINGS}))
    return path


def test_equal_settings_are_no_change(file):
    assert changed_settings(file, SETTINGS) == []
    assert changed_settings(file, dict(reversed(SETTINGS.items()))) == []


def test_every_change_is_named_with_both_values(file):
    assert changed_settings(file, {**SETTINGS, "size": 600, "every": 5}) == ["size 480, now 600", "every None, now 5"]


def test_a_setting_that_the_earlier_run_did_not_have_is_a_change(file):
    assert changed_settings(file, {**SETTINGS, "flip": True}) == ["flip None, now True"]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"settings": 3}', '{"settings": null}'])
def test_a_damaged_file_is_an_error(file, content):
    file.write_text(content)
    with pytest.raises(ValueError, match=r"Error\("):
        changed_settings(file, SETTINGS)
