"""Read the files that papers' authors released and turn them into checkpoints of the zoo.

These files are pickles, which :mod:`vos_zoo.weights.torch_files` opens without running anything. Each paper's
``convert.py`` knows its key scheme.
"""

from __future__ import annotations

import contextlib
import hashlib
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

import torch
from torch import Tensor

from vos_zoo.errors import CheckpointError, ConfigError, MissingFileError, UnknownModelError
from vos_zoo.registry import find_architecture, known_architectures
from vos_zoo.weights import describe_file, save_checkpoint_folder
from vos_zoo.weights.torch_files import plain_tensors, read_torch_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

__all__ = ["ExtraChannel", "convert_file", "convertible", "read_original", "rename_tensors", "widen_mask_input"]

#: How a mask channel that a single-object file lacks is filled.
ExtraChannel = Literal["zeros", "orthogonal"]

_SHOWN_KEYS = 5


def convertible() -> list[str]:
    """List the models whose authors released weights, by their names in the registry."""
    return sorted(name for name, architecture in known_architectures().items() if architecture.converter is not None)


def convert_file(kind: str, path: str | Path, out_dir: str | Path, *, accept_missing: bool = False) -> Path:
    """Turn an authors' weight file into a checkpoint folder that ``load_model`` accepts.

    The tensors keep their float32 values, so that outputs equal the authors' network.

    Args:
        kind: The model that the file belongs to, one of :func:`convertible`.
        path: The authors' file.
        out_dir: Folder to write ``model.safetensors``, ``config.json`` and ``README.md`` into.
        accept_missing: Accept a file without the modules that the paper's later stages add, and initialise them again.
            The result has to be trained before they mean anything.

    Returns:
        The folder.

    Raises:
        UnknownModelError: If ``kind`` is not a model with released weights.
        MissingFileError: If the file does not exist.
        CheckpointError: If the file is not what it should be; the message names what it is.
        OutputExistsError: If the folder already holds a checkpoint.
    """
    if kind not in convertible():
        raise UnknownModelError(f"Cannot convert files of {kind!r}. Choose one of {', '.join(convertible())}.")
    converter = _load_converter(kind)
    if accept_missing and not converter.LATER_MODULES:
        raise CheckpointError(f"{kind!r} has no modules that a later stage adds. Leave accept_missing out.")
    original = read_original(path)
    options = {"accept_missing": True} if accept_missing else {}
    try:
        tensors: dict[str, Tensor] = converter.convert_state_dict(original, **options)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    architecture = find_architecture(kind)
    with torch.device("meta"):  # every tensor comes from the file; initialising them first would take seconds
        network: Any = architecture.load_class("network")(architecture.new_config(architecture.variants[0].name))
    network.load_state_dict(tensors, strict=True, assign=True)
    card = _card(kind, converter, Path(path), original, accept_missing=accept_missing)
    return save_checkpoint_folder(network, out_dir, card=card, half=False)


def read_original(path: str | Path) -> dict[str, Tensor]:
    """Read an authors' weight file without running anything in it.

    Accepts a flat dict of tensors and a resume file that holds one under ``network``; the ``module.`` that a
    data-parallel wrapper leaves before every key is removed. Floating-point tensors come back as float32.

    Args:
        path: A file written by ``torch.save``.

    Raises:
        MissingFileError: If the file does not exist.
        CheckpointError: If it is no such file, is damaged, wants to run code, or holds something else than tensors.
    """
    path = Path(path)
    if not path.exists():
        raise MissingFileError(f"{path} does not exist. Give the weight file that the authors released.")
    _refuse_other_formats(path)
    loaded = read_torch_file(path)
    state = loaded
    for name in ("network", "model"):  # resume files of STCN and RDE-VOS, and of HS2S
        if isinstance(loaded, Mapping) and isinstance(loaded.get(name), Mapping):
            state = loaded[name]
    if not isinstance(state, Mapping) or not state:
        what = "nothing" if isinstance(state, Mapping) else f"a {type(state).__name__}"
        raise CheckpointError(f"{path} holds {what}. Expected a dict of tensors, as the authors released it.")
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f"{path} holds a {type(value).__name__} under {key!r}. Expected a flat dict of tensors, or one under "
                "'network'. Give the authors' network file, not a checkpoint of another training program."
            )
    named = plain_tensors(state, path)
    is_wrapped = all(key.startswith("module.") for key in named)
    original = {key.removeprefix("module.") if is_wrapped else key: _plain(value) for key, value in named.items()}
    broken = [key for key, value in original.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise CheckpointError(
            f"{path} has values that are not finite numbers in {_listed(broken)}. The file is damaged; fetch it again."
        )
    return original


def rename_tensors(
    original: Mapping[str, Tensor], network: nn.Module, prefixes: Sequence[tuple[str, str]], *, kind: str
) -> dict[str, Tensor]:
    """Give an authors' tensors the zoo's names, strictly: every key and every shape has to fit.

    Args:
        original: Tensors under the authors' names.
        network: The zoo's network, on any device; only the names and shapes of its tensors are read.
        prefixes: Pairs (zoo, authors). The longest zoo prefix of a key, on whole dotted parts, is replaced; keys under
            no prefix have the same name on both sides.
        kind: The model, for messages.

    Returns:
        Tensors under the zoo's names, in the order of the network.

    Raises:
        CheckpointError: If tensors are missing, unexpected or of another shape. Names in the message are the authors'.
    """
    expected = network.state_dict()
    names = {key: _authors_name(key, prefixes) for key in expected}
    missing = [name for name in names.values() if name not in original]
    unexpected = sorted(set(original) - set(names.values()))
    if missing or unexpected:
        found = [f"lacks {_listed(missing)}"] if missing else []
        found += [f"has the unexpected {_listed(unexpected)}"] if unexpected else []
        raise CheckpointError(
            f"The file {' and '.join(found)}. Expected the {len(expected)} tensors of {kind!r} as its authors released "
            f"them{_guess(original, kind)}"
        )
    wrong = [
        f"{name} {tuple(original[name].shape)} instead of {tuple(expected[key].shape)}"
        for key, name in names.items()
        if original[name].shape != expected[key].shape
    ]
    if wrong:
        raise CheckpointError(
            f"Wrong shapes: {_listed(wrong)}. Expected the paper's size of {kind!r}{_guess(original, kind)}"
        )
    return {key: original[name] for key, name in names.items()}


def widen_mask_input(weight: Tensor, channels: int, fill: ExtraChannel) -> Tensor:
    """Append input channels to a value encoder's first convolution.

    Stage-0 weights see one object: image and mask, four channels. The fifth, the sum of the other objects' masks, comes
    last. With zeros the network computes what it did before; training starts better from an orthogonal filter.

    Args:
        weight: Shape (out, in, k, k).
        channels: Input channels wanted, at least ``in``.
        fill: ``"zeros"`` to use the weights as they are, ``"orthogonal"`` to train them further.

    Example:
        >>> widen_mask_input(torch.ones(2, 4, 1, 1), 5, "zeros")[0].flatten().tolist()
        [1.0, 1.0, 1.0, 1.0, 0.0]
    """
    extra = weight.new_zeros(weight.shape[0], channels - weight.shape[1], *weight.shape[2:])
    if fill == "orthogonal":
        torch.nn.init.orthogonal_(extra)
    return torch.cat([weight, extra], dim=1)


def _refuse_other_formats(path: Path) -> None:
    """Raise for everything that is visibly not a file of torch.save."""
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder. Expected one weight file; give the path of the file inside it.")
    kind = describe_file(path)
    if "torch.save" not in kind:
        advice = "It may be a checkpoint already; load its folder." if "safetensors" in kind else "Fetch it again."
        raise CheckpointError(f"{path} is {kind}. Expected a file written by torch.save. {advice}")
    if not zipfile.is_zipfile(path):
        if "zip" in kind:
            raise CheckpointError(
                f"{path} is a zip archive that was cut off ({path.stat().st_size} bytes). Fetch it again."
            )
        return
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (ValueError, OSError, NotImplementedError, struct.error, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path} is a damaged zip archive: {error}. Fetch it again.") from error
    members = {name.rpartition("/")[2] for name in names}
    if "constants.pkl" in members:
        raise CheckpointError(
            f"{path} is a TorchScript program. Expected the tensors alone, as torch.save writes them."
        )
    if "data.pkl" not in members:
        raise CheckpointError(
            f"{path} is an ordinary zip archive with {_listed(names)}. Expected a file written by torch.save. "
            "Unpack it and give the weight file inside."
        )


def _plain(tensor: Tensor) -> Tensor:
    tensor = tensor.detach()
    return (tensor.float() if tensor.is_floating_point() else tensor).contiguous()


def _authors_name(key: str, prefixes: Sequence[tuple[str, str]]) -> str:
    matching = [pair for pair in prefixes if key.startswith(f"{pair[0]}.")]
    if not matching:
        return key
    ours, theirs = max(matching, key=lambda pair: len(pair[0]))
    return theirs + key.removeprefix(ours)


class Converter(Protocol):
    """What a paper's ``convert.py`` has.

    Attributes:
        IDENTIFYING_PREFIX: How a key begins that only files of this model have.
        LICENCE: Licence of the authors' weights, in a few words.
        LATER_MODULES: What a file of an early stage may lack, in words; empty if there is no such file.
    """

    IDENTIFYING_PREFIX: str
    LICENCE: str
    LATER_MODULES: str

    def convert_state_dict(self, original: Mapping[str, Tensor], **options: Any) -> dict[str, Tensor]:
        """Return a state dict of the zoo's network in the paper's size."""
        ...


def _load_converter(kind: str) -> Converter:
    return cast("Converter", find_architecture(kind).load_converter())


def _guess(original: Mapping[str, Tensor], kind: str) -> str:
    """End a message with what the file looks like."""
    found = []
    for other in convertible():
        with contextlib.suppress(ConfigError):  # a package that is broken has no say
            prefix = _load_converter(other).IDENTIFYING_PREFIX
            if any(key.startswith(prefix) for key in original):
                found.append(other)
    if kind in found:
        return "; it may belong to another version of the network. Give the released file."
    if found:
        return f". It looks like a file of {found[0]!r}: convert it with --from {found[0]}."
    return ". It looks like a file of another model. Give the released file."


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN_KEYS
    return ", ".join(names[:_SHOWN_KEYS]) + (f" and {more} more" if more > 0 else "")


def _card(kind: str, converter: Converter, path: Path, original: Mapping[str, Tensor], *, accept_missing: bool) -> str:
    architecture = find_architecture(kind)
    paper = architecture.paper
    lines = [
        f"# {architecture.title}, converted from the authors' weights",
        "",
        f"{architecture.title} in the paper's size, converted by `vos-zoo convert --from {kind}`. The tensors are the",
        "authors' own, under other names; nothing was trained.",
        "",
        f"- Paper: {paper.authors}: {paper.title}. {paper.venue} {paper.year}. {paper.url}",
        f"- Licence of the weights: {converter.LICENCE}",
        f"- Origin: `{path.name}`, {path.stat().st_size} bytes, sha256 `{_sha256(path)}`",
    ]
    first = original.get("value_encoder.conv1.weight")
    if first is not None and first.shape[1] == 4:
        lines.append("- Single-object (stage 0) weights: the filter of the other objects' masks is zero.")
    if accept_missing:
        lines.append(f"- If the file had no {converter.LATER_MODULES}, that is newly initialised. Train it before use.")
    lines += ["", "```python", "from vos_zoo import load_model", "", 'model = load_model("path/to/this/folder")', "```"]
    return "\n".join(lines) + "\n"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
