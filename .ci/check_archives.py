"""Check what the wheel and the source archive hold: `python .ci/check_archives.py WHEEL ARCHIVE`."""

from __future__ import annotations

import sys
import tarfile
import zipfile
from pathlib import Path

wheel, archive = map(Path, sys.argv[1:])
with zipfile.ZipFile(wheel) as opened:
    names = opened.namelist()
mebibytes = wheel.stat().st_size / 2**20
print(f"{wheel.name}: {mebibytes:.1f} MiB, {len(names)} files")
assert mebibytes <= 60, "the wheel is larger than 60 MiB"
for needed in (
    "vos_zoo/py.typed",
    "vos_zoo/hub_pins.json",
    "vos_zoo/memory/backends/native.c",
    "vos_zoo/recipes/rde.yaml",
    "vos_zoo/recipes/rde/ablations/no_bl30k.yaml",
    "vos_zoo/demo/bird/bird.mp4",
    "vos_zoo/demo/bird/first.png",
    "vos_zoo/demo/bird/CREDIT.md",
    "vos_zoo/checkpoints/rde-small/model.safetensors",
    "vos_zoo/checkpoints/rde-small/README.md",
):
    assert needed in names, f"{needed} is not in the wheel"
mebibytes = archive.stat().st_size / 2**20
with tarfile.open(archive) as unpacked:
    names = [name.partition("/")[2] for name in unpacked.getnames()]
print(f"{archive.name}: {mebibytes:.1f} MiB, {len(names)} files")
assert mebibytes <= 60, "the source archive is larger than 60 MiB"
assert "tests/conftest.py" in names, "the tests are not in the source archive"
