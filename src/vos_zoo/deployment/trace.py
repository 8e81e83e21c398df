"""From a network's portable verbs to three programs of ``torch.export``."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from vos_zoo.errors import ConfigError
from vos_zoo.inference.optimize import optimize_network
from vos_zoo.registry import describe_network, find_architecture, known_architectures
from vos_zoo.runtime.manifest import CARRIED, LEAST_CELLS, NEXT, STATE, Array

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vos_zoo.network import MemoryPolicy, VOSNetwork
    from vos_zoo.portable import PortableVerbs

__all__ = ["Program", "Sizes", "portable_verbs", "trace"]

_MOST_PIXELS = 2**14  # of a side of dynamic graphs
_MOST_OBJECTS = 2**10
_MOST_FRAMES = 2**10


@dataclass(frozen=True)
class Sizes:
    """What graphs are fixed to.

    Attributes:
        frame: Padded (height, width) of all frames; None for any.
        objects: Objects of every group; None for any number.
    """

    frame: tuple[int, int] | None = None
    objects: int | None = None


@dataclass(frozen=True)
class Program:
    """One verb as a graph.

    Attributes:
        name: The verb.
        exported: The program.
        module: What was exported, to be run by Python.
        inputs: In order.
        outputs: In order.
    """

    name: str
    exported: ExportedProgram
    module: nn.Module
    inputs: tuple[Array, ...]
    outputs: tuple[Array, ...]


def portable_verbs(network: VOSNetwork[Any, Any], policy: MemoryPolicy | None = None) -> PortableVerbs:
    """Return the verbs of a network that is rearranged for inference, in evaluation mode, on the CPU.

    Raises:
        ConfigError: If the network cannot be exported.
    """
    architecture = find_architecture(describe_network(network)["architecture"])
    if architecture.verbs_class is None:
        names = [name for name, other in known_architectures().items() if other.verbs_class is not None]
        raise ConfigError(
            f"{architecture.title} cannot be exported: {architecture.not_portable}. Let it run in a VideoSession, or "
            f"export one of {', '.join(names)}."
        )
    optimized = optimize_network(network, torch.device("cpu"), winograd=False)
    for part in optimized.modules():  # graphs hold plain, contiguous weights
        for name, weight in part._parameters.items():
            if weight is not None:
                part._parameters[name] = nn.Parameter(
                    weight.detach().contiguous(memory_format=torch.contiguous_format), requires_grad=False
                )
    verbs: PortableVerbs = architecture.load_class("verbs")(optimized, policy)
    return verbs.eval()


def trace(verbs: PortableVerbs, sizes: Sizes, *, finished: Callable[[], None] | None = None) -> tuple[Program, ...]:
    """Export all verbs.

    Args:
        verbs: Of a network in evaluation mode.
        sizes: What is fixed.
        finished: Called after each of them.

    Returns:
        ``encode``, ``segment`` and ``memorize``.
    """
    with torch.inference_mode(False), torch.no_grad():
        tracer = _Tracer(verbs, sizes)
        programs = []
        for verb in (tracer.encode, tracer.segment, tracer.memorize):
            programs.append(verb())
            if finished is not None:
                finished()
    return tuple(programs)


class _Tracer:
    """Makes example inputs, from which ``torch.export`` learns which sizes belong together."""

    def __init__(self, verbs: PortableVerbs, sizes: Sizes) -> None:
        self._verbs = verbs
        self._sizes = sizes
        stride = verbs.network.stride
        # Small sizes that differ, so that no two of them pass for one.
        height, width = sizes.frame or (5 * stride, 7 * stride)
        self._example = {"height": height, "width": width, "objects": sizes.objects or 3, "frames": 2}
        self._symbols = {"frames": Dim("frames", min=1, max=_MOST_FRAMES)}
        if sizes.frame is None:
            for word in ("height", "width"):
                self._symbols[word] = Dim(f"{word}_cells", min=LEAST_CELLS, max=_MOST_PIXELS // stride)
        if sizes.objects is None:
            self._symbols["objects"] = Dim("objects", min=1, max=_MOST_OBJECTS)
        self._image = self._array("image", 1, 3, "height", "width")
        self._masks = tuple(self._array(name, 1, "objects", "height", "width") for name in ("masks", "others"))
        self._reference = self._array("reference", "objects")
        self._state = tuple(self._array(f"{STATE}{array.name}", *array.shape) for array in verbs.state)
        features = verbs.encode(self._tensor(self._image))
        self._features = {
            name: self._array(name, *part.shape[:2], *self._part_of_frame(part)) for name, part in features.items()
        }
        self._given = {"image": self._image, "claimed": self._array("claimed", 1, 1, "height", "width")}
        segment = self._taken(verbs.segment_takes)
        result = verbs.segment(
            {array.name: self._tensor(array) for array in segment},
            {array.name.removeprefix(STATE): self._tensor(array) for array in self._state},
        )
        self._carried = {name: self._carried_array(name, result.carried[name]) for name in verbs.carries}

    def encode(self) -> Program:
        outputs = tuple(self._features.values())
        return self._program("encode", _Encode(self._verbs, tuple(a.name for a in outputs)), (self._image,), outputs)

    def segment(self) -> Program:
        inputs = (*self._taken(self._verbs.segment_takes), *self._state)
        outputs = (self._array("logits", 1, "objects", "height", "width"), *self._carried.values())
        return self._program("segment", _Segment(self._verbs, inputs), inputs, outputs)

    def memorize(self) -> Program:
        verbs = self._verbs
        state = self._state if verbs.kind == "recurrent" else ()
        features = (*self._taken(verbs.memorize_takes), *self._carried.values())
        inputs = (*features, *self._masks, self._reference, *state)
        outputs = tuple(
            self._array(f"{NEXT}{array.name}", *(part for part in array.shape if part != "frames"))
            for array in verbs.state
        )
        return self._program("memorize", _Memorize(verbs, inputs), inputs, outputs)

    def _program(self, name: str, module: nn.Module, inputs: tuple[Array, ...], outputs: tuple[Array, ...]) -> Program:
        example = tuple(self._tensor(array) for array in inputs)
        shapes = tuple(self._dynamic(array) for array in inputs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch to itself
            exported = torch.export.export(
                module.eval(),
                example,
                dynamic_shapes=(shapes,),
                strict=False,
                # Up to torch 2.11, that 16 n is the least of 16 n and 64 n counts as a guess about the objects.
                prefer_deferred_runtime_asserts_over_guards=True,
            )
        return Program(name, exported, module, inputs, outputs)

    def _taken(self, names: Sequence[str]) -> list[Array]:
        known = self._features | self._given
        return [known[name] for name in names]

    def _array(self, name: str, *shape: int | str) -> Array:
        """Describe an array, with numbers for the words of fixed sizes."""
        resolved = Array(name, shape).resolve(**self._example)
        return Array(
            name,
            tuple(
                part if isinstance(part, int) or part.partition("/")[0] in self._symbols else number
                for part, number in zip(shape, resolved, strict=True)
            ),
        )

    def _carried_array(self, name: str, maps: Tensor) -> Array:
        """Describe maps of objects (1, O, ..., h, w)."""
        return self._array(f"{CARRIED}{name}", 1, "objects", *maps.shape[2:-2], *self._part_of_frame(maps))

    def _part_of_frame(self, maps: Tensor) -> tuple[str, ...]:
        """Return the sides of maps as parts of the frame's."""
        height, width = maps.shape[-2:]
        return f"height/{self._example['height'] // height}", f"width/{self._example['width'] // width}"

    def _tensor(self, array: Array) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        return torch.rand(array.resolve(**self._example), generator=generator)

    def _dynamic(self, array: Array) -> dict[int, Any]:
        dims = {}
        for axis, part in enumerate(array.shape):
            if isinstance(part, str):
                word, _, divisor = part.partition("/")
                factor = self._verbs.network.stride // int(divisor or 1) if word in ("height", "width") else 1
                dims[axis] = self._symbols[word] if factor == 1 else factor * self._symbols[word]
        return dims


class _Encode(nn.Module):
    def __init__(self, verbs: PortableVerbs, outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.network = verbs
        self._outputs = outputs

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        features = self.network.encode(*tensors)
        return tuple(features[name] for name in self._outputs)


class _Segment(nn.Module):
    def __init__(self, verbs: PortableVerbs, inputs: tuple[Array, ...]) -> None:
        super().__init__()
        self.network = verbs
        self._inputs = inputs

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        features, state = _sorted(self._inputs, tensors)
        result = self.network.segment(features, state)
        return (result.logits, *(result.carried[name] for name in self.network.carries))


class _Memorize(nn.Module):
    def __init__(self, verbs: PortableVerbs, inputs: tuple[Array, ...]) -> None:
        super().__init__()
        self.network = verbs
        self._inputs = inputs

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        known, state = _sorted(self._inputs, tensors)
        after = self.network.memorize(known, known["masks"], known["others"], known["reference"], state)
        return tuple(after[array.name] for array in self.network.state)


def _sorted(arrays: tuple[Array, ...], tensors: tuple[Tensor, ...]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Tell features and state apart, under the names that verbs know."""
    features: dict[str, Tensor] = {}
    state: dict[str, Tensor] = {}
    for array, tensor in zip(arrays, tensors, strict=True):
        if array.name.startswith(STATE):
            state[array.name.removeprefix(STATE)] = tensor
        else:
            features[array.name.removeprefix(CARRIED)] = tensor
    return features, state
