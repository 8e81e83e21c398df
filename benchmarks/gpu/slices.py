"""Train in slices, for a device that is lent for minutes and gives back few, small files.

    python benchmarks/gpu/slices.py --out OUT [--start FOLDER] [--seconds 240] -- --config stcn/small --data.root ROOT …

Runs ``lightning fit`` with the words behind ``--``, stops it in time, and cuts its checkpoint into files of
``--part-mib``. With ``--start`` it resumes from what an earlier slice left in its ``--out``. The numbers of a slice are
in its ``slice.json``. The recipe's ``max_steps`` is that of the whole training, since schedules follow it.

Adam's state is two thirds of a checkpoint. Where that does not fit, ``--half-moments`` stores it in bfloat16; the next
slice then resumes close to, but not exactly where this one ended.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

NOTE = "slice.json"
_PART = "checkpoint.{:02d}"
_WHOLE = "whole.ckpt"
_STOPPING = 60.0  # seconds from the signal to the checkpoint


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="new or empty folder")
    parser.add_argument("--start", type=Path, help="what an earlier slice wrote")
    parser.add_argument("--seconds", type=float, default=240.0, help="from the start to the signal to stop")
    parser.add_argument("--part-mib", type=float, default=16.0)
    parser.add_argument("--parts", type=int, default=7, help=f"most files of a checkpoint, beside {NOTE}")
    parser.add_argument("--half-moments", action="store_true")
    parser.add_argument("words", nargs="+", help="for lightning fit")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if any(arguments.out.iterdir()):
        print(f"{arguments.out} is not empty. Name another folder for this slice.", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        start = None if arguments.start is None else join(arguments.start, work / "start.ckpt")
        before = 0 if start is None else step_of(start)
        begin = time.monotonic()
        train([*arguments.words, *([] if start is None else ["--ckpt_path", str(start)])], work, arguments.seconds)
        found = [path for path in work.rglob("*.ckpt") if path != start]
        if not found:
            print("The slice ended without a checkpoint; see what lightning says above.", file=sys.stderr)
            return 1
        last = max(found, key=lambda path: path.stat().st_mtime)
        note = {"from_step": before, "to_step": step_of(last), "seconds": time.monotonic() - begin}
        split(last, arguments.out, arguments.part_mib, arguments.parts, note, half_moments=arguments.half_moments)
    print(json.dumps(note))
    return 0


def train(words: list[str], work: Path, seconds: float) -> None:
    """Run ``lightning fit`` for a while, then let it save and stop."""
    command = [sys.executable, "-m", "vos_zoo.cli.lightning", "fit", *words, "--trainer.default_root_dir", str(work)]
    process = subprocess.Popen(command)
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(_STOPPING)
    finally:
        process.kill()  # of this process alone, and without effect once it has ended
        process.wait()


def step_of(checkpoint: Path) -> int:
    """Return after how many iterations a checkpoint was saved."""
    return int(torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["global_step"])


def split(
    checkpoint: Path, out: Path, part_mib: float, parts: int, note: dict[str, Any], *, half_moments: bool
) -> None:
    """Write a checkpoint as files of few MiB, and a note with its checksum.

    Raises:
        SystemExit: If it does not fit; it is kept as one file then, and the message says what to do.
    """
    content = checkpoint.read_bytes()
    if half_moments:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        for optimizer in state["optimizer_states"]:
            for moments in optimizer["state"].values():
                moments.update(
                    (key, part.to(torch.bfloat16))
                    for key, part in moments.items()
                    if isinstance(part, torch.Tensor) and part.ndim and part.dtype == torch.float32
                )
        buffer = io.BytesIO()
        torch.save(state, buffer)
        content = buffer.getvalue()
    size = int(part_mib * 2**20)
    pieces = [content[start : start + size] for start in range(0, len(content), size)]
    if len(pieces) > parts:
        shutil.copyfile(checkpoint, out / _WHOLE)
        raise SystemExit(
            f"{out / _WHOLE} is the whole checkpoint. "
            f"The checkpoint has {len(content) / 2**20:.1f} MiB, more than {parts} files of {part_mib:g} MiB. "
            + ("Train a smaller model." if half_moments else "Use --half-moments, which stores a third less.")
        )
    for number, piece in enumerate(pieces):
        (out / _PART.format(number)).write_bytes(piece)
    note |= {"parts": len(pieces), "sha256": hashlib.sha256(content).hexdigest(), "half_moments": half_moments}
    (out / NOTE).write_text(json.dumps(note) + "\n")


def join(folder: Path, target: Path) -> Path:
    """Put a checkpoint together again, its optimiser's state in float32.

    Raises:
        SystemExit: If a file is missing or damaged.
    """
    note = json.loads((folder / NOTE).read_text())
    content = b"".join((folder / _PART.format(number)).read_bytes() for number in range(note["parts"]))
    if hashlib.sha256(content).hexdigest() != note["sha256"]:
        raise SystemExit(f"The checkpoint in {folder} is damaged: its checksum is not that of {NOTE}. Copy it again.")
    if note["half_moments"]:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        for optimizer in state["optimizer_states"]:
            for moments in optimizer["state"].values():
                moments.update(
                    (key, part.float())
                    for key, part in moments.items()
                    if isinstance(part, torch.Tensor) and part.dtype == torch.bfloat16
                )
        torch.save(state, target)
    else:
        target.write_bytes(content)
    return target


if __name__ == "__main__":
    sys.exit(main())
