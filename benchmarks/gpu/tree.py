"""Say which files the steps need where the device is, and copy them if a folder is named.

    python benchmarks/gpu/tree.py [--out FOLDER] [--most-mib 64]

All files of the repository go there but the bundled weights that no step loads. The packages of setup.cfg have to be
installed there, and pytest-xdist for the step ``suite``.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

WEIGHTS = ("rde-small", "stcn-small")  # of those under checkpoints/


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--most-mib", type=float, default=64.0)
    arguments = parser.parse_args()
    files = needed(tracked(ROOT))
    size = sum((ROOT / name).stat().st_size for name in files) / 2**20
    print(f"{len(files)} files, {size:.1f} MiB")
    if size > arguments.most_mib:
        print(f"That is more than {arguments.most_mib:g} MiB. Leave out what the steps do not need.", file=sys.stderr)
        return 1
    if arguments.out is not None:
        if arguments.out.exists():
            print(f"{arguments.out} exists already. Name a new folder.", file=sys.stderr)
            return 1
        for name in files:
            target = arguments.out / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target, follow_symlinks=False)
    return 0


def tracked(root: Path) -> list[str]:
    """List the repository's files."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if name and (root / name).is_file()]


def needed(files: list[str]) -> list[str]:
    """Leave out weights that no step loads; their cards and settings stay."""
    return [
        name for name in files
        if not (name.startswith("checkpoints/") and name.endswith(".safetensors") and name.split("/")[1] not in WEIGHTS)
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
