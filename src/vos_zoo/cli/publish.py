"""``vos-zoo publish``: put a checkpoint, or all bundled ones, on the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vos_zoo.cli.output import aligned, format_bytes
from vos_zoo.errors import ConfigError

if TYPE_CHECKING:
    import argparse

SUMMARY = "Publish a checkpoint folder, or all bundled weights, on the Hugging Face Hub."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "checkpoint", nargs="?", metavar="FOLDER", help="checkpoint folder, or a name of `vos-zoo list --weights`"
    )
    parser.add_argument("--repo-id", metavar="OWNER/NAME", help="repository of FOLDER; created if it does not exist")
    parser.add_argument(
        "--all",
        action="store_true",
        help="publish every bundled weight to OWNER/vos-zoo-NAME, and record the pins",
    )
    parser.add_argument("--owner", metavar="OWNER", help="with --all: user or organisation that gets the repositories")
    parser.add_argument(
        "--pins", type=Path, metavar="FILE", help="with --all: the registry's file of pins (default: this clone's)"
    )
    parser.add_argument("--private", action="store_true", help="only people with access may see the repository")
    parser.add_argument("--dry-run", action="store_true", help="check everything and show the card, but upload nothing")
    parser.add_argument(
        "--overwrite-card", action="store_true", help="replace a model card that somebody wrote or edited on the Hub"
    )
    parser.add_argument("--message", metavar="TEXT", help="commit message")


def run(arguments: argparse.Namespace) -> int:
    """Publish and print what to pin."""
    if arguments.all:
        return _publish_all(arguments)
    if arguments.checkpoint is None or arguments.repo_id is None or arguments.owner or arguments.pins:
        raise ConfigError(
            "`vos-zoo publish` takes one checkpoint with its repository, `FOLDER --repo-id OWNER/NAME`, or "
            "`--all --owner OWNER`."
        )
    from vos_zoo.weights import publish_checkpoint

    published = publish_checkpoint(
        arguments.checkpoint,
        arguments.repo_id,
        private=arguments.private,
        dry_run=arguments.dry_run,
        overwrite_card=arguments.overwrite_card,
        message=arguments.message,
    )
    for name, size in published.num_bytes.items():
        print(f"{name:<20}{format_bytes(size) if size >= 2**20 else f'{size} bytes':>12}")
    print(f"sha256 of model.safetensors: {published.sha256}")
    if arguments.dry_run:
        print(f"\n{published.card}")
        kind = "private " if arguments.private else ""
        print(f"Nothing was sent. Without --dry-run these files go to the {kind}repository {published.repo_id}.")
        return 0
    if published.kept_card:
        print("The card on the Hub was written or edited there and stays; replace it with --overwrite-card.")
    print(f"Published on {published.url}")
    print(f"Revision to pin: {published.revision}")
    print(f"Load it with `load_model({published.name!r})`.")
    return 0


def _publish_all(arguments: argparse.Namespace) -> int:
    """Publish every bundled weight and print the table of pins."""
    if arguments.owner is None or arguments.checkpoint or arguments.repo_id or arguments.message:
        raise ConfigError(
            "`vos-zoo publish --all` takes `--owner OWNER`, and neither a folder nor `--repo-id` nor `--message`."
        )
    from vos_zoo.weights.publish import publish_all, source_pins

    pins = arguments.pins or source_pins()
    rows: list[tuple[str, ...]] = [("WEIGHT", "FILE", "REPOSITORY", "REVISION")]
    kept = []
    options = {name: getattr(arguments, name) for name in ("private", "dry_run", "overwrite_card")}
    for weight, published in publish_all(arguments.owner, pins, **options):
        size = format_bytes(sum(published.num_bytes.values()))
        rows.append((weight.name, size, published.repo_id, published.revision or "not sent"))
        kept += [published.repo_id] if published.kept_card else []
    print("\n".join(aligned(rows)))
    if arguments.dry_run:
        print("Nothing was sent and no pin written. Without --dry-run the files go to these repositories.")
        return 0
    if kept:
        print(f"Cards that were written or edited on the Hub stay; --overwrite-card replaces them: {', '.join(kept)}.")
    print(f"The pins are in {pins}. Commit it: copies installed from then on fetch by name what they do not hold.")
    return 0
