"""Run the tests that need a device, eight at a time, with warnings as they are."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys

from common import ROOT, Run

SECONDS = 120.0
_PROCESSES = 8


def measure(run: Run) -> None:
    """Write one row with the counts, and one for each test that failed."""
    words = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-W", "default", "-p", "no:cacheprovider"]
    if run.is_dry:
        words += ["--collect-only", "tests/inference/test_cuda_graphs.py"]
    elif importlib.util.find_spec("xdist") is not None:
        words += ["-n", str(_PROCESSES)]
    try:
        ended = subprocess.run(
            words, cwd=ROOT, capture_output=True, text=True, timeout=max(run.seconds_left, 1.0), check=False
        )
        output, code = ended.stdout + ended.stderr, ended.returncode
    except subprocess.TimeoutExpired as error:
        printed = error.stdout or b""
        output, code = printed if isinstance(printed, str) else printed.decode(errors="replace"), None
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|errors?|skipped)", output)}
    run.row(exit_code=code, selected=len(re.findall(r"^tests/.*::", output, re.MULTILINE)), **counts)
    for line in re.findall(r"^(?:FAILED|ERROR) .*", output, re.MULTILINE):
        run.row(problem=line[:400])
