from __future__ import annotations

import pytest

from vos_zoo.cli.output import format_bytes


@pytest.mark.parametrize(("count", "text"), [(0, "0.0 MiB"), (2**20, "1.0 MiB"), (3 * 2**29, "1.5 GiB")])
def test_byte_counts_are_printed(count, text):
    assert format_bytes(count) == text
