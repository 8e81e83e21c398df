from __future__ import annotations

import pytest

from vos_zoo.attempt import restored_on_failure


class Owner:
    def __init__(self) -> None:
        self.number, self.list, self.nested = 1, [1], {"a": [1]}


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_attributes_lists_and_dictionaries_come_back(error):
    owner = Owner()
    before = vars(Owner())

    def change() -> None:
        with restored_on_failure(owner):
            owner.number, owner.new = 2, 3
            owner.list.append(2)
            owner.nested["a"].append(2)
            owner.nested["b"] = []
            raise error

    with pytest.raises(error):
        change()
    assert vars(owner) == before


def test_what_succeeds_stays():
    owner = Owner()
    with restored_on_failure(owner):
        owner.list.append(2)
    assert owner.list == [1, 2]
