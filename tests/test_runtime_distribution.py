"""The distribution ``vos-zoo-runtime``: built from this tree, it runs without vos_zoo and without torch."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.skipif(
    not (ROOT / "runtime" / "setup.py").is_file(), reason="the installed package is tested without its source tree"
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    place = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", str(place), str(ROOT / "runtime")], check=True, capture_output=True)
    (found,) = place.glob("*.whl")
    return found


def test_it_is_small_and_names_nothing_that_it_lacks(wheel):
    assert wheel.stat().st_size < 200_000
    archive = zipfile.ZipFile(wheel)
    names = {name for name in archive.namelist() if name.endswith(".py")}
    assert "vos_zoo_runtime/runtime/session.py" in names
    metadata = archive.read(next(name for name in archive.namelist() if name.endswith("METADATA"))).decode()
    assert "torch" not in [line.split()[1].split(">")[0] for line in metadata.splitlines() if "Requires-Dist" in line]
    for name in names:
        for line in archive.read(name).decode().splitlines():
            assert not line.startswith(("from vos_zoo.", "import vos_zoo.")), f"{name}: {line}"


def test_it_runs_without_vos_zoo_and_torch(wheel, rde_graphs):
    program = (
        "import sys\n"
        "for name in ('vos_zoo', 'torch', 'cv2', 'PIL'):\n    sys.modules[name] = None\n"
        f"sys.path.insert(0, {str(wheel)!r})\n"
        "import numpy as np\nfrom vos_zoo_runtime import GraphSession, VosZooError\n"
        f"session = GraphSession({str(rde_graphs)!r}, size=None, threads=1)\n"
        "mask = np.zeros((64, 64), np.uint8)\nmask[8:40, 8:40] = 5\n"
        "frame = np.zeros((64, 64, 3), np.uint8)\n"
        "session.step(frame, mask)\nprint(session.step(frame).object_ids)\n"
        "try:\n    session.step(frame[:10])\nexcept VosZooError as error:\n    print(type(error).__name__)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["(5,)", "VideoError"]
