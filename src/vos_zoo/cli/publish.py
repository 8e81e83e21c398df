"""``vos-zoo publish``: put a checkpoint on the Hugging Face Hub."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vos_zoo.cli.output import format_bytes

if TYPE_CHECKING:
    import argparse

SUMMARY = "Publish a checkpoint folder on the Hugging Face Hub."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("checkpoint", metavar="FOLDER", help="checkpoint folder, or a name of `vos-zoo list --weights`")
    parser.add_argument("--repo-id", required=True, metavar="OWNER/NAME", help="repository; created if it is not there")
    parser.add_argument("--private", action="store_true", help="only people with access may see the repository")
    parser.add_argument("--dry-run", action="store_true", help="check everything and show the card, but send nothing")
    parser.add_argument(
        "--overwrite-card", action="store_true", help="replace a model card that somebody wrote or edited on the Hub"
    )
    parser.add_argument("--message", metavar="TEXT", help="commit message")


def run(arguments: argparse.Namespace) -> int:
    """Publish and print the revision to pin."""
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
