"""Errors of the package are caught as Python's own, too."""

from __future__ import annotations

import builtins

import pytest

from vos_zoo import errors

CLASSES = [value for value in vars(errors).values() if isinstance(value, type) and value is not errors.VosZooError]
BUILT_IN = {
    "ShapeError": ValueError,
    "EmptyMemoryError": RuntimeError,
    "MissingFileError": FileNotFoundError,
    "OutputExistsError": FileExistsError,
    "UnknownModelError": KeyError,
    "HubError": OSError,
    "OutOfMemoryError": MemoryError,
    "MissingExtraError": ImportError,
    "RunStoppedError": RuntimeError,
}


@pytest.mark.parametrize("error", CLASSES)
def test_every_error_is_one_of_ours_and_one_of_pythons(error):
    assert issubclass(error, errors.VosZooError)
    of_python = {parent for parent in error.__mro__ if getattr(builtins, parent.__name__, None) is parent}
    assert of_python - {object, BaseException, Exception}


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_error_of_python_is_the_one_that_fits(name):
    assert issubclass(getattr(errors, name), BUILT_IN[name])


@pytest.mark.parametrize("error", [each for each in CLASSES if each is not errors.RunStoppedError])
def test_a_message_reads_as_it_was_written(error):
    message = "'a.png' has\ntwo lines. Cut one."
    assert str(error(message)) == message


def test_a_stopped_run_knows_its_signal():
    error = errors.RunStoppedError("Saved. Resume with --ckpt_path last.", signal_number=15)
    assert str(error) == "Saved. Resume with --ckpt_path last."
    assert error.signal_number == 15
