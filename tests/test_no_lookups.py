"""Nothing phones home: an audit hook ends the process at the first lookup or connection beyond this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from testing.clips import SmallClip

HOOK = """
import os, sys

LOCAL = {"localhost", "127.0.0.1", "::1", "", "0.0.0.0", None}

def watch(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    elif event in ("socket.connect", "socket.sendto"):
        host = arguments[1][0] if isinstance(arguments[1], tuple) else None  # others are sockets of this machine
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if host not in LOCAL and host != MACHINE:
        os.write(2, f"LOOKED UP {host!r} ({event})".encode())
        os._exit(99)

import socket
MACHINE = socket.gethostname()
sys.addaudithook(watch)
"""
RECIPE = """
trainer:
  accelerator: cpu
  max_steps: 1
  logger: {class_path: CSVLogger, init_args: {save_dir: runs}}
  enable_progress_bar: false
  enable_model_summary: false
  num_sanity_val_steps: 0
  limit_val_batches: 0
model:
  class_path: RDEModule
  init_args: {config: tiny}
data:
  class_path: SyntheticDataModule
  init_args: {batch_size: 1, crop_size: 64, num_frames: 5, samples_per_epoch: 1, num_workers: 1}
"""
IMPORT = """
import importlib, pkgutil
import vos_zoo
for module in pkgutil.walk_packages(vos_zoo.__path__, "vos_zoo."):
    if "checkpoints" not in module.name:
        importlib.import_module(module.name)
for name in vos_zoo.__all__:
    getattr(vos_zoo, name)
"""
VOS_ZOO = "from vos_zoo.cli.main import main; sys.exit(main())"
LIGHTNING = "from vos_zoo.cli.lightning import main; sys.exit(main())"


def run(code: str, folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    search_path = os.pathsep.join(str(Path(entry).resolve()) for entry in sys.path)
    # A proxy would stand in for the servers, and the settings of this machine's user may forbid what others allow.
    hidden = ("proxy", "HF_", "NO_ALBUMENTATIONS_UPDATE")
    kept = {name: value for name, value in os.environ.items() if not any(part in name for part in hidden)}
    return subprocess.run(
        [sys.executable, "-c", HOOK + code, *map(str, words)],
        cwd=folder,
        env=kept | {"PYTHONPATH": search_path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


def test_the_hook_sees_a_lookup(tmp_path: Path) -> None:
    result = run("socket.getaddrinfo('example.invalid', 80)", tmp_path)
    assert result.returncode == 99
    assert "LOOKED UP 'example.invalid'" in result.stderr


@pytest.mark.slow
def test_imports_look_nothing_up(tmp_path: Path) -> None:
    result = run(IMPORT, tmp_path)
    assert result.returncode == 0, result.stderr


def test_doctor_looks_nothing_up(tmp_path: Path) -> None:
    result = run(VOS_ZOO, tmp_path, "doctor")
    assert result.returncode in (0, 1), result.stderr
    assert "vos_zoo" in result.stdout


def test_segment_looks_nothing_up(tmp_path: Path, small_clip: SmallClip) -> None:
    words = ["segment", small_clip.frames, small_clip.first, "--out", tmp_path / "out", "--size", "32", "--overlay"]
    result = run(VOS_ZOO, tmp_path, *words, "--device", "cpu")
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_fit_looks_nothing_up(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    result = run(LIGHTNING, tmp_path, "fit", "--config", "recipe.yaml")
    assert result.returncode == 0, result.stderr
