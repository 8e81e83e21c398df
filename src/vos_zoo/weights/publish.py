"""Publish a checkpoint, or all of the registry's, on the Hugging Face Hub."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vos_zoo import registry
from vos_zoo.errors import ConfigError, MissingFileError
from vos_zoo.files import atomic_path
from vos_zoo.weights import hub
from vos_zoo.weights.card import CardFacts, complete_card, is_untouched, new_card, sign_card
from vos_zoo.weights.checkpoint import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE, read_config, read_model
from vos_zoo.weights.checksum import remembered_sha256
from vos_zoo.weights.find import find_checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vos_zoo.registry import Architecture, Weight

__all__ = ["Publication", "publish_all", "publish_checkpoint", "source_pins"]

_SOURCE_TREE = Path(registry.__file__).parents[2]


@dataclass(frozen=True)
class Publication:
    """What was published, or would be.

    Attributes:
        repo_id: ``owner/name``.
        url: Page of the repository; None if nothing was sent.
        revision: The commit to pin, 40 hexadecimal digits; None if nothing was sent.
        sha256: Checksum of ``model.safetensors``, hexadecimal.
        num_bytes: Size of the files by their names.
        card: The model card as it is published.
        kept_card: Whether the card on the Hub was left alone, because somebody had written or edited it there.
    """

    repo_id: str
    url: str | None
    revision: str | None
    sha256: str
    num_bytes: Mapping[str, int]
    card: str
    kept_card: bool = False

    @property
    def name(self) -> str:
        """What to give to ``load_model``; without a revision as long as nothing was sent."""
        return f"hf-hub:{self.repo_id}" + (f"@{self.revision}" if self.revision else "")


def publish_checkpoint(
    checkpoint: str | Path,
    repo_id: str,
    *,
    private: bool = False,
    dry_run: bool = False,
    overwrite_card: bool = False,
    facts: CardFacts | None = None,
    message: str | None = None,
) -> Publication:
    """Publish a checkpoint folder as a repository of the Hub.

    The folder is loaded first, as whoever downloads it will load it, so that nothing broken leaves the machine. All
    files go up in one commit. The card's metadata are completed by what is known about the weight; a card that somebody
    wrote or edited on the Hub is left alone, unless ``overwrite_card`` is True.

    Args:
        checkpoint: The folder, or a name as ``load_model`` takes it.
        repo_id: ``owner/name``; it is created if it does not exist.
        private: Only people with access may see the repository. An existing public one is then refused.
        dry_run: Do everything but send; needs no network.
        overwrite_card: Replace a card that somebody wrote or edited on the Hub.
        facts: What the card's metadata say; None takes them from the registry, if the weight is one of its own.
        message: Commit message.

    Raises:
        MissingFileError: If the folder or a file of it does not exist.
        CheckpointError: If it does not load.
        ConfigError: If ``config.json`` or the card's metadata are wrong, if the name is none, or if the repository is
            public and ``private`` is True.
        HubError: If the Hub cannot be reached or refuses.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo_id):
        raise ConfigError(f"{repo_id!r} is not a name of a repository. Expected owner/name.")
    found = find_checkpoint(checkpoint)
    weights, config, card_path = found.folder / found.file, found.folder / CONFIG_FILE, found.folder / CARD_FILE
    read_model(found.folder, "network", file=found.file)
    architecture, _ = read_config(config)
    digest = remembered_sha256(weights)
    facts = facts or _known_facts(digest, architecture, repo_id)
    text = card_path.read_text(encoding="utf-8") if card_path.is_file() else new_card(facts, story="")
    card = sign_card(complete_card(text, facts, where=str(card_path)))
    files: dict[str, Path | bytes] = {WEIGHTS_FILE: weights, CONFIG_FILE: config, CARD_FILE: card.encode()}
    num_bytes = {
        name: len(content) if isinstance(content, bytes) else content.stat().st_size for name, content in files.items()
    }
    if dry_run:
        return Publication(repo_id, None, None, digest, num_bytes, card)
    remote = hub.open_remote(repo_id, private=private)
    keeps_card = not overwrite_card and remote.card is not None and not is_untouched(remote.card)
    if keeps_card:
        del files[CARD_FILE], num_bytes[CARD_FILE]
    revision = hub.upload(remote, files, message=message or f"Publish {facts.name} with vos_zoo")
    card = remote.card if keeps_card and remote.card is not None else card
    return Publication(repo_id, remote.url, revision, digest, num_bytes, card, kept_card=keeps_card)


def publish_all(
    owner: str,
    pins: Path,
    *,
    private: bool = False,
    dry_run: bool = False,
    overwrite_card: bool = False,
) -> Iterator[tuple[Weight, Publication]]:
    """Publish every bundled weight of the registry, and note where the Hub has it.

    All weights are loaded and their cards completed before the first one is sent. A pin is written when its repository
    is complete, so that what an interrupted run has published stays known. Files that the Hub already has are not sent
    again.

    Args:
        owner: User or organisation; weight ``rde.small`` goes to the repository ``OWNER/vos-zoo-rde-small``.
        pins: The registry's data file to write the pins into, see :data:`vos_zoo.registry.PINS_FILE`. Pins of other
            weights stay in it.
        private: Only people with access may see the repositories. An existing public one is then refused.
        dry_run: Do everything but send and write; needs no network.
        overwrite_card: Replace cards that somebody wrote or edited on the Hub.

    Yields:
        Each weight with what was published, or would be.

    Raises:
        MissingFileError: If a weight's file is not on this machine, or ``pins`` does not exist.
        CheckpointError: If a weight is not what the registry says.
        ConfigError: If the owner is not a name, ``pins`` holds something else, or a repository is public and
            ``private`` is True.
        HubError: If the Hub cannot be reached or refuses.
    """
    if not re.fullmatch(r"[\w.-]+", owner):
        raise ConfigError(f"{owner!r} is not a name of a user or an organisation of the Hub.")
    if not pins.is_file():
        raise MissingFileError(
            f"{pins} does not exist. Name the file `src/vos_zoo/{registry.PINS_FILE.name}` of a clone."
        )
    known = registry.read_pins(pins)
    bundled = [weight for weight in registry.WEIGHTS.values() if weight.folder is not None]
    names = {weight.name: f"{owner}/vos-zoo-{weight.folder}".replace("_", "-") for weight in bundled}
    planned = [(weight, publish_checkpoint(weight.name, names[weight.name], dry_run=True)) for weight in bundled]
    if dry_run:
        yield from planned
        return
    for weight in bundled:
        published = publish_checkpoint(weight.name, names[weight.name], private=private, overwrite_card=overwrite_card)
        assert published.revision is not None  # only a dry run has none
        known[weight.name] = registry.HubRevision(published.repo_id, published.revision)
        with atomic_path(pins) as partial:
            content = {name: asdict(pin) for name, pin in sorted(known.items())}
            partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        yield weight, published


def source_pins() -> Path:
    """Return the registry's data file of the source tree that this package runs from.

    Raises:
        ConfigError: If the package is installed: its files would be replaced by the next installation.
    """
    if not (_SOURCE_TREE / "setup.cfg").is_file():
        raise ConfigError(
            f"This package is installed in {registry.PINS_FILE.parent}, where pins would be lost with the next "
            f"installation. Name the file of a clone: `--pins path/to/clone/src/vos_zoo/{registry.PINS_FILE.name}`."
        )
    return registry.PINS_FILE


def _known_facts(sha256: str, architecture: Architecture, repo_id: str) -> CardFacts:
    for weight in registry.WEIGHTS.values():
        if weight.sha256 == sha256:
            return CardFacts.of_weight(weight, architecture)
    return CardFacts(repo_id.split("/")[1], architecture)
