"""What every model offers around published weights: where they came from, saving them, publishing them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vos_zoo.devices import find_device
from vos_zoo.errors import ConfigError
from vos_zoo.registry import describe_network, find_architecture
from vos_zoo.version import __version__
from vos_zoo.weights import publish_checkpoint, read_weight, save_checkpoint_folder
from vos_zoo.weights.card import CardFacts, new_card

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from typing_extensions import Self

    from vos_zoo.network import VOSNetwork
    from vos_zoo.registry import DataSource, Score
    from vos_zoo.weights import Origin, Publication


class Pretrained:
    """Loading, saving and publishing of a module that holds a ``network``.

    Attributes:
        network: The network whose weights these are.
        origin: Where the weights came from; None for a module that was not loaded by name.
    """

    network: VOSNetwork[Any, Any]
    origin: Origin | None = None

    @classmethod
    def from_pretrained(cls, name: str | Path, device: str | torch.device = "auto") -> Self:
        """Load a model by name and make sure that it is of this class; see ``vos_zoo.load_model``.

        Raises:
            ConfigError: If the weights belong to another model.
        """
        target = find_device(device)
        model = read_weight(name, "module").to(target)
        if not isinstance(model, cls):
            raise ConfigError(f"{name} is a {type(model).__name__}, no {cls.__name__}. Use `vos_zoo.load_model`.")
        return model

    def save_pretrained(self, folder: str | Path, *, card: str) -> Path:
        """Write a checkpoint folder that ``load_model`` accepts; see ``vos_zoo.weights.save_checkpoint_folder``."""
        return save_checkpoint_folder(self.network, folder, card=card)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        card: str | None = None,
        licence: str | None = None,
        trained_on: Sequence[DataSource] = (),
        scores: Sequence[Score] = (),
        private: bool = False,
        dry_run: bool = False,
        overwrite_card: bool = False,
        half: bool = True,
        message: str | None = None,
    ) -> Publication:
        """Publish the weights as they are now on the Hugging Face Hub.

        Args:
            repo_id: ``owner/name``; it is created if it does not exist.
            card: Text of the model card; its metadata are completed. None writes a short one from what is known.
            licence: Licence of the weights: an identifier of the Hub, such as ``apache-2.0``, or words of its own.
            trained_on: Data sets they were trained on.
            scores: What they reached.
            private: Only people with access may see the repository.
            dry_run: Do everything but send; needs no network.
            overwrite_card: Replace a card that somebody wrote or edited on the Hub.
            half: Store floating-point tensors as float16, half the bytes.
            message: Commit message.

        Returns:
            What was published; its ``name`` is what to give to ``load_model``.

        Raises:
            HubError: If the Hub cannot be reached or refuses.
            ConfigError: If the name is none, the card's metadata are wrong, or a private repository was asked for and a
                public one exists.
        """
        architecture = find_architecture(describe_network(self.network)["architecture"])
        facts = CardFacts(repo_id.rpartition("/")[2], architecture, licence, tuple(trained_on), tuple(scores))
        start = f" Loaded from {self.origin}." if self.origin is not None and self.origin.is_public else ""
        story = f"Written by vos_zoo {__version__}.{start}"
        with tempfile.TemporaryDirectory() as place:
            text = new_card(facts, story=story) if card is None else card
            folder = save_checkpoint_folder(self.network, Path(place) / "checkpoint", card=text, half=half)
            return publish_checkpoint(
                folder,
                repo_id,
                private=private,
                dry_run=dry_run,
                overwrite_card=overwrite_card,
                facts=facts if licence or trained_on or scores else None,
                message=message,
            )
