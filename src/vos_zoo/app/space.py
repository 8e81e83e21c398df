"""The folder of a Hugging Face Space that serves the page."""

from __future__ import annotations

import json
from pathlib import Path

from vos_zoo.errors import OutputExistsError
from vos_zoo.files import atomic_path, local_path
from vos_zoo.registry import find_weight
from vos_zoo.version import __version__

__all__ = ["write_space"]

_README = """---
title: Segment objects through videos
emoji: 🎯
colorFrom: indigo
colorTo: gray
sdk: gradio
sdk_version: {gradio}
python_version: "3.11"
app_file: app.py
license: apache-2.0
short_description: Point at an object in a video, get its masks
---

Load a video, draw a box around an object or click on it, track it, correct doubtful frames, and download masks, an
overlay, COCO JSON, a cut-out with transparency, or a project file that `vos-zoo segment --project` replays.

`vos-zoo app --space DIR` wrote this folder. `vos-zoo app` serves the same page on your own machine.
"""

_APP = '''"""Serves the page of vos_zoo."""

from vos_zoo.app.limits import AppLimits
from vos_zoo.app.serve import make_page

# Visitors share one machine: shorter videos and turns than on your own.
limits = AppLimits(upload_bytes=100 * 2**20, frames=600, running_seconds=300.0)
demo, options = make_page(limits, model={model})

if __name__ == "__main__":
    demo.launch(**options)
'''


def write_space(folder: str | Path, *, model: str = "rde") -> list[Path]:
    """Write ``app.py``, ``requirements.txt`` and ``README.md`` of a Space.

    Args:
        folder: The folder; it is made if it does not exist.
        model: Model that is chosen at first.

    Returns:
        Paths of the files.

    Raises:
        OutputExistsError: If one of the files exists with another content; nothing is written then.
        MissingExtraError: If Gradio, whose version the README names, is not installed.
        UnknownModelError: If there is no such model.
    """
    from vos_zoo.app.serve import import_gradio

    find_weight(model)
    gradio_version = import_gradio().__version__
    folder = local_path(folder)
    content = {
        "app.py": _APP.format(model=json.dumps(model)),
        "requirements.txt": f"vos-zoo[app]=={__version__}\n",
        "README.md": _README.format(gradio=gradio_version),
    }
    for name, text in content.items():
        path = folder / name
        if path.exists() and path.read_text(encoding="utf-8") != text:
            raise OutputExistsError(f"`{path}` exists with another content. Choose another folder, or remove the file.")
    for name, text in content.items():
        with atomic_path(folder / name) as partial:
            partial.write_text(text, encoding="utf-8")
    return [folder / name for name in content]
