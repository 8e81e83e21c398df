"""The page without a browser: it is built, needs its extra, and fetches nothing from elsewhere."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

from vos_zoo.app import serve
from vos_zoo.errors import MissingExtraError

BUILD = """
import os
from vos_zoo.app.serve import make_page
page, options = make_page(model="stcn")
assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
texts = str(page.get_config_file())
for word in ("googleapis", "cdn.", "unpkg", "jsdelivr"):
    assert word not in texts, word
assert not options["theme"]._stylesheets
print("built")
"""


def test_the_page_is_built():
    if importlib.util.find_spec("gradio") is None:
        pytest.skip("the extra `app` is not installed")
    result = subprocess.run([sys.executable, "-c", BUILD], capture_output=True, text=True, timeout=240, check=False)
    assert result.stdout.strip() == "built", result.stderr


def test_a_missing_extra_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(MissingExtraError, match=r'pip install "vos-zoo\[app\]"'):
        serve.import_gradio()
