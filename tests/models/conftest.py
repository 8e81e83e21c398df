"""Failed assertions of the shared battery show their values."""

import pytest

pytest.register_assert_rewrite("testing.model_tester")
