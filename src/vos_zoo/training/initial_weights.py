"""Weights that training starts from: ImageNet trunks, a zoo checkpoint, or the stage before."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from vos_zoo.errors import CheckpointError, ConfigError, MissingFileError
from vos_zoo.layers import ResNetTrunk
from vos_zoo.registry import WEIGHTS, is_architecture
from vos_zoo.weights import CONFIG_FILE, WEIGHTS_FILE, describe_weight
from vos_zoo.weights.checkpoint import check_fits
from vos_zoo.weights.tensors import TensorFile
from vos_zoo.weights.training_checkpoint import read_training_checkpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from vos_zoo.registry import StoredNetwork

_LOGGER = logging.getLogger(__name__)
_LIGHTNING_SUFFIX = ".ckpt"
_TORCHVISION_TAG = "tv_in1k"
_FRAME_ENCODERS = ("key_encoder.", "query_encoder.")  # of the zoo's networks; they see the frame alone


def load_trunks(network: nn.Module, source: str, roots: Sequence[Path]) -> None:
    """Load trained weights into every ResNet trunk of a network.

    Args:
        network: Any network of the zoo.
        source: A safetensors file in torchvision's names, the checkpoint folder of a zoo model, whose encoder of frames
            is taken, or ``timm``, which downloads torchvision's first ImageNet weights (``tv_in1k``): STM, STCN and
            RDE-VOS start from them. (timm's own default is another training.)
        roots: Folders that a relative path is looked up in.

    Raises:
        MissingFileError: If the file or folder does not exist.
        CheckpointError: If it is not a safetensors file.
        ConfigError: If no trunk takes it.
    """
    trunks = {name: part for name, part in network.named_modules() if isinstance(part, ResNetTrunk)}
    fitting = 0
    for name, trunk in trunks.items():
        if source == "timm":
            import timm

            state = timm.create_model(f"{trunk.name}.{_TORCHVISION_TAG}", pretrained=True).state_dict()
        else:
            state = _read_trunk(find_source(source, roots))
        try:
            trunk.load_imagenet(state)
        except ConfigError as error:
            # The two encoders of a network may have different trunks; a file fits the one or the other.
            _LOGGER.warning("%s keeps its initial weights: %s", name, error)
        else:
            fitting += 1
    if not fitting:
        raise ConfigError(
            f"{source} fits none of the encoders {', '.join(trunks)}. Give weights of one of their ResNets."
        )


def load_initial_weights(
    network: nn.Module, sources: str | Sequence[str], roots: Sequence[Path], *, is_whole: bool = False
) -> None:
    """Start from zoo checkpoint folders or Lightning checkpoints.

    Each parameter comes from the first source that has it. Parameters that all sources lack (those of modules that the
    next stage adds) keep their initial values and are logged.

    Args:
        network: The network to load into.
        sources: One or more names of ``vos-zoo list --weights``, folders with ``model.safetensors``, or ``.ckpt``
            files.
        roots: Folders that a relative path is looked up in.
        is_whole: Whether the sources must hold all parameters, as they must where nothing is trained.

    Raises:
        MissingFileError: If a path does not exist.
        CheckpointError: If one cannot be read, or holds parameters that the network lacks, or of other shapes; or if
            ``is_whole`` and they lack some.
    """
    own = network.state_dict()
    state: dict[str, Tensor] = {}
    paths = []
    for source in [sources] if isinstance(sources, str) else sources:
        path, tensors = find_source(source, roots), read_checkpoint(source, roots)
        wrong = sorted(key for key, tensor in tensors.items() if key not in own or own[key].shape != tensor.shape)
        if wrong:
            raise CheckpointError(
                f"{path} holds {len(wrong)} parameters that do not fit this network, first {wrong[0]}. Start from "
                "weights of the same model and size."
            )
        state = tensors | state
        paths.append(str(path))
    named = " and ".join(paths)
    fresh = sorted({key.partition(".")[0] for key in own.keys() - state.keys()})
    if fresh and is_whole:
        raise CheckpointError(
            f"{named} has no {', '.join(fresh)}, so this network would not be a trained one. Name a checkpoint of its "
            "own training with `--ckpt_path FILE.ckpt`, or other weights with `--model.initial_weights`."
        )
    if fresh:
        _LOGGER.warning("%s has no %s; these parts start from their initialisation.", named, ", ".join(fresh))
    network.load_state_dict({key: tensor.to(own[key].dtype) for key, tensor in state.items()}, strict=False)


def read_checkpoint(source: str, roots: Sequence[Path]) -> dict[str, Tensor]:
    """Return the tensors of a zoo checkpoint folder or a Lightning checkpoint, by the names of its network.

    Args:
        source: A name of ``vos-zoo list --weights``, a folder with ``model.safetensors``, or a ``.ckpt`` file.
        roots: Folders that a relative path is looked up in.

    Raises:
        MissingFileError: If the path does not exist.
        CheckpointError: If it cannot be read.
    """
    path = find_source(source, roots)
    return _read_safetensors(path / WEIGHTS_FILE) if path.is_dir() else read_training_checkpoint(path).tensors


def _read_trunk(path: Path) -> dict[str, Tensor]:
    """Read a trunk's tensors from a file of its own, or from among those of a whole network."""
    if not path.is_dir():
        return _read_safetensors(path)
    state = _read_safetensors(path / WEIGHTS_FILE)
    for name in _FRAME_ENCODERS:
        trunk = {key.removeprefix(name): tensor for key, tensor in state.items() if key.startswith(name)}
        if trunk:
            return trunk
    raise ConfigError(
        f"{path} holds no {' or '.join(name.rstrip('.') for name in _FRAME_ENCODERS)}. Give the folder of a model that "
        "encodes frames by a ResNet, or a file of ImageNet weights."
    )


def describe_source(source: str) -> tuple[StoredNetwork, Any]:
    """Tell which network initial weights belong to.

    Args:
        source: A name of ``vos-zoo list --weights``, a checkpoint folder, or a ``.ckpt`` file.

    Returns:
        The architecture and its configuration.

    Raises:
        UnknownModelError: If no weight has this name.
        MissingFileError: If the path does not exist.
        CheckpointError: If the file was not written by training of this package.
    """
    if not source.endswith(_LIGHTNING_SUFFIX):
        folder, architecture, config = describe_weight(source)
        tensors = TensorFile(folder / WEIGHTS_FILE)
        check_fits(architecture, config, folder / CONFIG_FILE, tensors.shapes, tensors.path)
        return architecture, config
    checkpoint = read_training_checkpoint(find_source(source, [Path()]))
    return checkpoint.architecture, checkpoint.config


def find_source(source: str, roots: Sequence[Path]) -> Path:
    """Return the path of weights.

    Args:
        source: A name of ``vos-zoo list --weights``, or a path.
        roots: Folders that a relative path is looked up in.

    Raises:
        MissingFileError: If the path does not exist.
    """
    if source in WEIGHTS or is_architecture(source) or source.startswith("hf-hub:"):
        return describe_weight(source)[0]
    candidates = [root / source for root in roots]
    for candidate in candidates:
        if candidate.exists():
            return candidate
    places = " or ".join(map(str, candidates))
    raise MissingFileError(
        f"{source} was not found as {places}. Give the path of the weights, or a name of `vos-zoo list --weights`."
    )


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError, MemoryError) as error:
        raise CheckpointError(f"{path} is not a readable safetensors file ({error}).") from error
