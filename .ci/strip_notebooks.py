"""Remove outputs and counts from notebooks: `python .ci/strip_notebooks.py NOTEBOOK...`; exits with 1 if it had to."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> int:
    """Strip each notebook in place."""
    changed = [path for path in map(Path, sys.argv[1:]) if _strip(path)]
    for path in changed:
        print(f"removed the outputs of {path}")
    return 1 if changed else 0


def _strip(path: Path) -> bool:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
        cell["metadata"] = {}
    notebook["metadata"] = {key: notebook["metadata"][key] for key in ("kernelspec",) if key in notebook["metadata"]}
    text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    if text == path.read_text(encoding="utf-8"):
        return False
    path.write_text(text, encoding="utf-8")
    return True


if __name__ == "__main__":
    sys.exit(main())
