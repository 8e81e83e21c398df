"""Run the blocks of README.md as they stand, in order, in the working directory, with the installed commands.

    python .ci/readme_blocks.py README.md

Blocks that install something are left out. All Python blocks run in one process, as in a notebook.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

INSTALLS = ("python -m pip install", "python -m sphinx")


def main() -> int:
    """Run every block; the first one that fails ends the run."""
    page = Path(sys.argv[1])
    names: dict[str, object] = {}
    blocks = re.findall(r"^```(bash|python)\n(.*?)^```$", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.M)
    for language, block in blocks:
        print(block, flush=True)
        if language == "python":
            exec(compile(block, str(page), "exec"), names)
            continue
        commands = "\n".join(line for line in block.splitlines() if not line.startswith(INSTALLS))
        subprocess.run(["bash", "-euo", "pipefail", "-c", commands], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
