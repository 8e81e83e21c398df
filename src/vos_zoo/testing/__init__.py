"""The battery of tests that every model passes, for the zoo's own tests and for other packages.

It needs pytest (``pip install "vos-zoo[test]"``). Nothing else of the package imports it.
"""

from __future__ import annotations

from vos_zoo.errors import MissingExtraError

try:
    import pytest
except ImportError as error:
    raise MissingExtraError("vos_zoo.testing needs pytest. Install it with `python -m pip install pytest`.") from error

# Failed assertions show their values. It has to be said before the module is imported.
pytest.register_assert_rewrite("vos_zoo.testing.model_tester", "vos_zoo.testing.session_tester")

from vos_zoo.testing.clips import HEIGHT, VIDEO, WIDTH, planes, relabel, training_batch  # noqa: E402
from vos_zoo.testing.model_tester import ModelTester, ignore, probabilities, unroll  # noqa: E402
from vos_zoo.testing.session_tester import SessionTester  # noqa: E402

__all__ = [
    "HEIGHT",
    "VIDEO",
    "WIDTH",
    "ModelTester",
    "SessionTester",
    "ignore",
    "planes",
    "probabilities",
    "relabel",
    "training_batch",
    "unroll",
]
