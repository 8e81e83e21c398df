"""CUDA graphs of a network's parts: what a part launches is recorded once and replayed by one call.

A small network takes less time to compute a frame than Python takes to launch its operations. The parts that a network
names in ``replayable`` depend on nothing but their tensors, so that the same launches on other numbers are right for
every frame, as long as sizes stay. The memory between them grows and is kept in order by Python; it is not recorded.

A recording replaces the operations only after it gave, for another frame than its own, what they gave. Whatever cannot
be recorded runs as before, and :attr:`Graphs.states` has the reason.
"""

from __future__ import annotations

import gc
import logging
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from vos_zoo.inference.optimize import shallow_copy
from vos_zoo.network import VOSNetwork

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["CALLS_BEFORE_REPLAY", "CudaRecorder", "Graphs", "Recorder", "why_no_graphs"]

NetworkT = TypeVar("NetworkT", bound=VOSNetwork[Any, Any])
ResultT = TypeVar("ResultT")

_WARM_UP = 2  # calls before one is recorded: cuDNN compares its programs in the first
CALLS_BEFORE_REPLAY = _WARM_UP + 2  #: of a part with tensors of one layout: one is recorded, the next one checks that
_MOST = 4  # recordings of one part that are kept, those used last: groups of objects have sizes of their own
# Largest difference from the operations, in parts of the largest number. The programs are the same; some of them add in
# any order.
_TOLERANCE = {torch.float16: 1e-2, torch.bfloat16: 3e-2}
_TOLERANCE_ELSE = 1e-3

_logger = logging.getLogger(__name__)


class Recorder(Protocol):
    """Records what a call does to its tensors."""

    def record(self, call: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        """Record a call.

        Args:
            call: Reads tensors that stay where they are, and makes others.

        Returns:
            What does the same again with what these tensors hold then, and the call's result, whose tensors every
            replay writes over.
        """


class CudaRecorder:
    """Records into graphs of a CUDA device, which share one pool of memory; it is freed with the last of them.

    Args:
        device: With its number.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = _side_stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    def record(self, call: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        """Record a call, after another one for what libraries set up on their first use of a stream."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self._device):
            before = torch.cuda.current_stream()
            self._stream.wait_stream(before)
            try:
                with torch.cuda.stream(self._stream), _without_cache_of_casts(), _without_collector():
                    call()
                    torch.cuda.synchronize()
                    # Other threads may go on allocating meanwhile.
                    graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
                    try:
                        result = call()
                    finally:
                        graph.capture_end()
            except Exception:
                self._pool = torch.cuda.graph_pool_handle()  # the old one may count as being recorded into
                raise
            finally:
                before.wait_stream(self._stream)
        return graph.replay, result


class Graphs:
    """The recordings of one session.

    Args:
        recorder: Makes them.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._parts: dict[str, _Part] = {}

    @property
    def states(self) -> Mapping[str, str]:
        """For each part "replayed", "not yet", or why it never will be."""
        return {name: part.state for name, part in self._parts.items()}

    def wrap(self, name: str, call: Callable[..., ResultT]) -> Callable[..., ResultT]:
        """Return what does the same, and is recorded once its sizes have come a few times, and replayed from then on.

        Recordings are made and used in inference mode only.

        Args:
            name: For :attr:`states` and messages.
            call: Its results depend on nothing but the numbers, strings and tensors that it is given and the sizes of
                these tensors.
        """
        self._parts[name] = _Part(name, call, self._recorder)
        return self._parts[name]

    def replaying(self, network: NetworkT) -> NetworkT:
        """Return a copy of a network that shares its tensors and whose ``replayable`` parts are wrapped."""
        copied = shallow_copy(network)
        for name in network.replayable:
            owner, _, attribute = name.rpartition(".")
            part = getattr(network.get_submodule(owner), attribute)
            if isinstance(part, nn.Module):
                setattr(copied.get_submodule(name), "forward", self.wrap(name, part.forward))  # noqa: B010, mypy's rule
            elif part is not None:  # a configuration may be without it
                # The part is the original's, so that nothing inside of it is wrapped, and no circle keeps it alive.
                setattr(copied.get_submodule(owner), attribute, self.wrap(name, part))
        return copied

    def release(self, reason: str) -> None:
        """Give the memory back and record nothing any more."""
        for part in self._parts.values():
            part.give_up(reason)


def why_no_graphs(device: torch.device) -> str | None:
    """Try a graph; say why it does not work on a CUDA device, or None.

    Args:
        device: With its number.
    """
    numbers = torch.zeros(8, device=device)
    try:
        replay, (result,) = CudaRecorder(device).record(lambda: (numbers + 1,))
        numbers.fill_(4)
        replay()
        is_right = bool((result == 5).all())
    except RuntimeError as error:
        return _first_line(error)
    return None if is_right else "a graph gave other numbers than its operations"


class _Recording:
    """What is known of one part for tensors of one layout."""

    def __init__(self) -> None:
        self.calls = 0
        self.is_trusted = False
        self._inputs: list[Tensor] = []
        self._outputs: list[Tensor] = []
        self._form: Any = None
        self._replay: Callable[[], None] | None = None

    def advance(
        self, call: Callable[..., Any], form: Any, tensors: list[Tensor], result: Any, recorder: Recorder
    ) -> None:
        """Come closer to being trusted, given what the operations made of these tensors.

        Raises:
            Exception: If it cannot be recorded, or gave something else.
        """
        self.calls += 1
        if self.calls <= _WARM_UP:
            return
        if self._replay is None:
            inputs = [torch.empty_like(tensor).copy_(tensor) for tensor in tensors]
            args, kwargs = _put_together(form, iter(inputs))
            self._replay, recorded = recorder.record(lambda: call(*args, **kwargs))
            self._inputs, self._outputs = inputs, []
            self._form = _take_apart(recorded, self._outputs)
            return
        expected: list[Tensor] = []
        found: list[Tensor] = []
        _take_apart(result, expected)
        _take_apart(self.run(tensors), found)
        if not all(_agree(*pair) for pair in zip(found, expected, strict=True)):
            raise RuntimeError("its recording gave other numbers than its operations")
        self.is_trusted = True

    def run(self, tensors: list[Tensor]) -> Any:
        """Replay with other tensors; the result is the caller's own, as the operations' would be."""
        assert self._replay is not None
        for static, tensor in zip(self._inputs, tensors, strict=True):
            static.copy_(tensor)
        self._replay()
        places = {id(static): place for place, static in enumerate(self._inputs)}
        return _put_together(
            self._form,
            # What a part passes on unchanged needs no copy.
            iter([tensors[places[id(out)]] if id(out) in places else out.clone() for out in self._outputs]),
        )


class _Part:
    """A part of a network, called like the part itself."""

    def __init__(self, name: str, call: Callable[..., Any], recorder: Recorder) -> None:
        self._name = name
        self._call = call
        self._recorder = recorder
        self._reason: str | None = None
        self._recordings: dict[Any, _Recording] = {}

    @property
    def state(self) -> str:
        if self._reason is not None:
            return self._reason
        return "replayed" if any(recording.is_trusted for recording in self._recordings.values()) else "not yet"

    def give_up(self, reason: str) -> None:
        self._recordings.clear()
        self._reason = self._reason or reason

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._reason is not None or not torch.is_inference_mode_enabled():
            return self._call(*args, **kwargs)
        tensors: list[Tensor] = []
        try:
            form = _take_apart((args, kwargs), tensors)
        except TypeError as error:
            self._log_and_give_up(str(error))
            return self._call(*args, **kwargs)
        recording = self._recording_of(form, tensors)
        if recording.is_trusted:
            return recording.run(tensors)
        result = self._call(*args, **kwargs)
        try:
            recording.advance(self._call, form, tensors, result, self._recorder)
        except Exception as error:  # whatever the recording of operations that just ran may raise
            self._log_and_give_up(_first_line(error))
        return result

    def _recording_of(self, form: Any, tensors: list[Tensor]) -> _Recording:
        layout = tuple((tensor.shape, tensor.stride(), tensor.dtype, tensor.device) for tensor in tensors)
        recording = self._recordings.pop((form, layout), None) or _Recording()
        self._recordings[form, layout] = recording
        if len(self._recordings) > _MOST:
            del self._recordings[next(iter(self._recordings))]
        return recording

    def _log_and_give_up(self, reason: str) -> None:
        _logger.warning("%s runs without a CUDA graph: %s.", self._name, reason)
        self.give_up(reason)


@cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """Return the stream of all recordings on a device; cuBLAS keeps a work space for every stream that it has seen."""
    return torch.cuda.Stream(device)


def _take_apart(value: Any, tensors: list[Tensor]) -> Any:
    """Collect the tensors of nested tuples, lists and dictionaries, and return what is left, which can be compared."""
    if isinstance(value, Tensor):
        tensors.append(value)
        return Tensor
    if isinstance(value, dict):
        return dict, tuple(value), tuple(_take_apart(part, tensors) for part in value.values())
    if isinstance(value, (tuple, list)):
        return type(value), tuple(_take_apart(part, tensors) for part in value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return object, type(value), value  # True and 1 are not the same
    raise TypeError(f"it takes or gives a {type(value).__name__}, which is no tensor")


def _put_together(form: Any, tensors: Iterator[Tensor]) -> Any:
    """Undo :func:`_take_apart` with other tensors."""
    if form is Tensor:
        return next(tensors)
    kind, *_, content = form
    if kind is object:
        return content
    parts = [_put_together(part, tensors) for part in content]
    if kind is dict:
        return dict(zip(form[1], parts, strict=True))
    return kind(*parts) if hasattr(kind, "_fields") else kind(parts)


def _agree(found: Tensor, expected: Tensor) -> bool:
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return False
    if not found.is_floating_point() or not found.numel():
        return torch.equal(found, expected)
    largest = float(expected.abs().nan_to_num(0.0, 0.0, 0.0).max())
    tolerance = _TOLERANCE.get(found.dtype, _TOLERANCE_ELSE)
    return torch.allclose(found, expected, rtol=0, atol=tolerance * largest, equal_nan=True)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__


@contextmanager
def _without_cache_of_casts() -> Iterator[None]:
    """Cast weights anew: autocast frees its copies at the end of a frame, and a graph would still read them."""
    before = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(before)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Collect no garbage: the end of another graph would end the recording."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
