"""One of the processes in which ``test_two_processes`` trains the first steps of all recipes, one recipe after another.

It is given a file with the arguments of ``lightning`` by recipe and a folder for what it finds, and has the variables
that torchrun sets.
"""

from __future__ import annotations

import io
import json
import os
import re
import socket
import sys
import time
import traceback
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import torch

from vos_zoo.cli import lightning
from vos_zoo.training.module import VOSModule

unreached: set[str] = set()
"""Names of trained parameters that got no gradient in some step: several devices would wait for one for ever."""


def note_unreached(module: VOSModule) -> None:
    parameters = module.network.named_parameters()
    unreached.update(name for name, part in parameters if part.requires_grad and part.grad is None)


def main() -> None:
    VOSModule.on_after_backward = note_unreached  # type: ignore[method-assign]
    jobs, folder = Path(sys.argv[1]), Path(sys.argv[2])
    rank = os.environ["LOCAL_RANK"]
    os.chdir(folder)
    found = folder / f"rank-{rank}.jsonl"
    for number, (recipe, words) in enumerate(json.loads(jobs.read_text()).items()):
        os.environ["MASTER_PORT"] = meeting_port(folder / f"port-{number}", rank)
        problem, written = train(words)
        if torch.distributed.is_initialized():  # Lightning keeps it; what one run left over would meet the next one
            torch.distributed.destroy_process_group()
        with found.open("a") as file:  # at once, in case that the next one hangs
            file.write(json.dumps([recipe, problem, written]) + "\n")


def meeting_port(path: Path, rank: str) -> str:
    """Let the first process choose a port at the last moment, when nothing else will take it, and tell the other."""
    if rank == "0":
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            partial = path.with_suffix(".partial")
            partial.write_text(str(free.getsockname()[1]))
        partial.rename(path)
    while not path.exists():
        time.sleep(0.01)
    return path.read_text()


def train(words: list[str]) -> tuple[str, str]:
    """Return what went wrong, nothing if all went well, and the folder that the first process says it writes to."""
    sys.argv = ["lightning", "fit", *words]
    errors, said = io.StringIO(), io.StringIO()
    with warnings.catch_warnings(), redirect_stderr(errors), redirect_stdout(said):
        warnings.simplefilter("ignore")
        try:
            problem = "" if lightning.main() == 0 else errors.getvalue()[-2000:]
        except Exception:
            problem = traceback.format_exc()[-2000:]
    if not problem and unreached:
        problem = f"no gradient reached {sorted(unreached)}"
    unreached.clear()
    (written,) = re.findall("^Writing to (.*)$", said.getvalue(), re.MULTILINE) or ("",)
    return problem, written and str(Path(written).resolve())


if __name__ == "__main__":
    main()
