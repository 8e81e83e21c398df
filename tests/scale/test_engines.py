from __future__ import annotations

import pytest

from vos_zoo.errors import ConfigError
from vos_zoo.scale.engines import check_version
from vos_zoo.version import __version__


def test_a_worker_of_another_version_is_named():
    check_version({"version": __version__, "host": "node7"})
    with pytest.raises(ConfigError, match=r"The worker on node7 has vos_zoo 0\.0\.9"):
        check_version({"version": "0.0.9", "host": "node7"})
