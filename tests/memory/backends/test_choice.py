from __future__ import annotations

import logging

import pytest
import torch

from testing.memory_reads import random_read
from testing.native import needs_compiler
from vos_zoo.errors import ConfigError
from vos_zoo.memory import BACKEND_VARIABLE, available_backends, choose_backend, read_memory
from vos_zoo.memory.backends import choice as backends_module


@pytest.fixture(autouse=True)
def no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(BACKEND_VARIABLE, raising=False)
    backends_module._log_once.cache_clear()


@pytest.mark.parametrize(
    ("top_k", "has_gradients", "expected"),
    [(None, False, "cpu"), (None, True, "cpu"), (5, False, "top-k"), (5, True, "reference"), (50, True, "cpu")],
)
@pytest.mark.parametrize("for_top_k", ["cpu", pytest.param("native", marks=needs_compiler)])
def test_automatic_choice_on_a_cpu(
    for_top_k: str, top_k: int | None, has_gradients: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if for_top_k == "cpu":
        monkeypatch.setattr("vos_zoo.memory.backends.native.unavailable_reason", lambda: "there is no compiler")
    query, memory = random_read(queries=3, tokens=50)
    query.requires_grad_(has_gradients)
    assert choose_backend(query, memory, top_k).name == (for_top_k if expected == "top-k" else expected)
    with torch.no_grad():
        assert choose_backend(query, memory, top_k).name == (for_top_k if top_k == 5 else "cpu")


@pytest.mark.parametrize("name", ["reference", "cpu", "sdpa"])
def test_variable_wins_over_the_automatic_choice(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BACKEND_VARIABLE, name)
    choice = choose_backend(*random_read(queries=3, tokens=50), None)
    assert choice.name == name
    assert BACKEND_VARIABLE in choice.reason


def test_argument_wins_over_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BACKEND_VARIABLE, "sdpa")
    assert choose_backend(*random_read(queries=3, tokens=50), None, requested="reference").name == "reference"


@pytest.mark.parametrize(("name", "top_k"), [("sdpa", 5), ("triton", None), ("native", None)])
def test_variable_that_cannot_serve_is_passed_over_with_one_log_line(
    name: str, top_k: int | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    query, memory = random_read(queries=3, tokens=50)
    automatic = choose_backend(query, memory, top_k).name
    monkeypatch.setenv(BACKEND_VARIABLE, name)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert choose_backend(query, memory, top_k).name == automatic
    assert len(caplog.records) == 1
    assert name in caplog.text


@pytest.mark.parametrize(("name", "top_k"), [("sdpa", 5), ("triton", None), ("native", None)])
def test_argument_that_cannot_serve_is_an_error(name: str, top_k: int | None) -> None:
    query, memory = random_read(queries=3, tokens=50)
    with pytest.raises(ConfigError, match=name):
        read_memory(query.mT.unsqueeze(2), memory, top_k=top_k, backend=name)


@pytest.mark.parametrize("name", ["cpu", "native"])
def test_cpu_backends_have_no_gradients_through_top_k(name: str) -> None:
    query, memory = random_read(queries=3, tokens=50)
    with pytest.raises(ConfigError, match="gradients"):
        choose_backend(query.requires_grad_(), memory, 5, requested=name)


def test_gradients_through_top_k_flow() -> None:
    query, memory = random_read(queries=3, tokens=50)
    query.requires_grad_()
    read_memory(query.mT.unsqueeze(2), memory, top_k=5).values.square().sum().backward()
    assert query.grad is not None
    assert query.grad.abs().sum() > 0


@pytest.mark.parametrize("source", ["argument", "variable"])
def test_unknown_names_are_an_error(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    query, memory = random_read(queries=3, tokens=50)
    if source == "variable":
        monkeypatch.setenv(BACKEND_VARIABLE, "cuda")
    with pytest.raises(ConfigError, match=r"'cuda'.*'triton'"):
        choose_backend(query, memory, 5, requested="cuda" if source == "argument" else "auto")


def test_keys_too_wide_for_fused_attention_are_an_error() -> None:
    query, memory = random_read(queries=3, tokens=50, width=256)
    with pytest.raises(ConfigError, match="256"):
        choose_backend(query, memory, None, requested="sdpa")


def test_status_names_every_backend_with_a_reason() -> None:
    status = {backend.name: backend for backend in available_backends()}
    assert list(status) == ["reference", "cpu", "native", "sdpa", "triton"]
    assert all(backend.reason for backend in status.values())
    assert status["cpu"].is_available
