from __future__ import annotations

import subprocess
import sys

import pytest

from vos_zoo.interchange.export_formats import EXPORT_FORMATS
from vos_zoo.interchange.exporter import Exporter


@pytest.mark.parametrize("name", EXPORT_FORMATS)
def test_every_format_has_its_class(name):
    assert issubclass(EXPORT_FORMATS[name].load(), Exporter)


CHECK = """
import sys
from vos_zoo.interchange.export_formats import EXPORT_FORMATS
assert EXPORT_FORMATS
print(*sorted({"torch", "cv2", "av", "numpy", "PIL"} & sys.modules.keys()))
"""


def test_the_table_loads_nothing_heavy():
    result = subprocess.run([sys.executable, "-c", CHECK], capture_output=True, text=True, check=True)
    assert not result.stdout.strip()
