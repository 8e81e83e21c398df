"""Generated folders and their reports, made once."""

import pytest

from testing.generated_folders import CASES, write_cases
from vos_zoo.metrics import PROTOCOLS, evaluate


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    return write_cases(tmp_path_factory.mktemp("cases"))


@pytest.fixture(scope="session")
def reports(folders):
    return {name: evaluate(*folders, protocol=name, sequences=CASES[name]) for name in PROTOCOLS}
