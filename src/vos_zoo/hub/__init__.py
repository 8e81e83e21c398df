"""Models by name: find a weight, verify it, build its network and fill it, strictly; and publish one.

A weight is a folder with three files, laid out like a repository of the Hugging Face Hub:

- ``model.safetensors``: the network's tensors. Published weights are stored in half precision; they are
  float32 again in memory, and whoever wants another precision says so to the session.
- ``config.json``: architecture, hyper-parameters and format version.
- ``README.md``: the model card.

Nothing here opens a pickle of somebody else, ignores a key, guesses a shape or runs code from a repository.
"""

from vos_zoo.hub.bundled import checkpoints_folder, locate_weight, verify_weight
from vos_zoo.hub.checkpoint import (
    CARD_FILE,
    CONFIG_FILE,
    WEIGHTS_FILE,
    describe_network,
    save_checkpoint_folder,
)
from vos_zoo.hub.export import export_checkpoint
from vos_zoo.hub.load import describe_weight, find_checkpoint, load_model, load_network
from vos_zoo.hub.origin import Origin
from vos_zoo.hub.publish import Publication, publish_checkpoint
from vos_zoo.hub.tensors import describe_file

__all__ = [
    "CARD_FILE",
    "CONFIG_FILE",
    "WEIGHTS_FILE",
    "Origin",
    "Publication",
    "checkpoints_folder",
    "describe_file",
    "describe_network",
    "describe_weight",
    "export_checkpoint",
    "find_checkpoint",
    "load_model",
    "load_network",
    "locate_weight",
    "publish_checkpoint",
    "save_checkpoint_folder",
    "verify_weight",
]
