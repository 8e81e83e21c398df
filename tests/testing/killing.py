"""Commands that are killed at any point at which they write."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

#: Every file appears under its name by a rename. Children are forked, to pay for one start.
_PROGRAM = """
import json, os, signal, sys
from pathlib import Path
from vos_zoo.cli.main import main
from vos_zoo.segmentation.video import segment_video
from vos_zoo.weights import load_network

commands = json.load(sys.stdin)
load_network(Path(sys.argv[1]))  # imports what every child would have to
for point, words in commands:
    child = os.fork()
    if child == 0:
        calls, replace = 0, Path.replace

        def watched(self, target):
            global calls
            calls += 1
            if calls == point // 2 and point % 2 == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            replace(self, target)
            if calls == point // 2 and point % 2 == 1:
                os.kill(os.getpid(), signal.SIGKILL)

        Path.replace = watched
        os._exit(main(words) or 100)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code == -signal.SIGKILL, f"point {point}: {code}"
"""

CAN_KILL = hasattr(os, "fork")


def run_killed(commands: Mapping[int, Sequence[str]], model: object) -> None:
    """Run commands of ``vos-zoo``, each until it is killed.

    Args:
        commands: The words of each command by its point: 2 n is before the n-th file appears, 2 n + 1 after it.
        model: Folder of the weights that they use.
    """
    subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(model)],
        input=json.dumps(list(commands.items())),
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
