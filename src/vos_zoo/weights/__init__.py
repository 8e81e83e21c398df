"""Weights by name: find a weight, verify it, build its network and fill it, strictly; and publish one.

A weight is a folder with three files, laid out like a repository of the Hugging Face Hub:

- ``model.safetensors``: the network's tensors. Published weights are stored in half precision; they are
  float32 again in memory, and whoever wants another precision says so to the session.
- ``config.json``: architecture, hyper-parameters and format version.
- ``README.md``: the model card.

Nothing here opens a pickle of somebody else, ignores a key, guesses a shape or runs code from a repository.
"""

from vos_zoo.weights.bundled import checkpoints_folder, locate_weight, verify_weight
from vos_zoo.weights.checkpoint import (
    CARD_FILE,
    CONFIG_FILE,
    WEIGHTS_FILE,
    save_checkpoint_folder,
)
from vos_zoo.weights.export import export_checkpoint
from vos_zoo.weights.find import describe_weight, find_checkpoint, load_network, read_weight
from vos_zoo.weights.origin import Origin
from vos_zoo.weights.publish import Publication, publish_checkpoint
from vos_zoo.weights.tensors import describe_file

__all__ = [
    "CARD_FILE",
    "CONFIG_FILE",
    "WEIGHTS_FILE",
    "Origin",
    "Publication",
    "checkpoints_folder",
    "describe_file",
    "describe_weight",
    "export_checkpoint",
    "find_checkpoint",
    "load_network",
    "locate_weight",
    "publish_checkpoint",
    "read_weight",
    "save_checkpoint_folder",
    "verify_weight",
]
