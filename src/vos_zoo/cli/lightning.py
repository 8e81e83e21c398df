"""The console command ``lightning``: train, validate, test and predict by configuration files.

It is Lightning's own command line interface over this package's models and data modules; no released Lightning
package installs a command of that name any more.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from vos_zoo.errors import VosZooError
from vos_zoo.registry import ARCHITECTURES

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

EXIT_BAD_INPUT = 2
_COMMANDS = ("fit", "validate", "test", "predict")
_RUNS_FOLDER = "runs"


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``lightning`` and return its exit code.

    Args:
        argv: Arguments without the program's name; None takes them from the command line.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    first = next((word for word in arguments if not word.startswith("-")), None)
    if not arguments or (first is not None and first not in _COMMANDS and arguments[0] == first):
        found = f"{first!r} is no command of it" if first else "it needs a command"
        print(
            f"lightning: error: this `lightning` trains the models of vos_zoo, and {found}. "
            f"Commands: {', '.join(_COMMANDS)}; for example `lightning fit --config recipes/rde.yaml`. "
            "Commands of Lightning's own apps and of its cloud are not part of it.",
            file=sys.stderr,
        )
        return EXIT_BAD_INPUT
    try:
        # None lets LightningCLI read the command line itself; it warns if it is given both.
        _run(None if argv is None else arguments)
    except (VosZooError, ValueError) as error:  # jsonargparse wraps what a constructor raises in a ValueError
        ours = _our_error(error)
        if ours is None:
            raise
        print(f"lightning: error: {ours}", file=sys.stderr)
        return EXIT_BAD_INPUT
    return 0


def _our_error(error: BaseException | None) -> VosZooError | None:
    """Find an error of this package among those that led to another."""
    while error is not None and not isinstance(error, VosZooError):
        error = error.__cause__
    return error


def _run(arguments: list[str] | None) -> None:
    """Build the command line interface and run it; everything heavy is imported here."""
    from pytorch_lightning import LightningDataModule, Trainer
    from pytorch_lightning.cli import LightningArgumentParser, LightningCLI

    import vos_zoo.data.curriculum
    import vos_zoo.data.module  # noqa: F401  # both as the models below
    from vos_zoo.models.module import VOSModule

    # A class that is imported can be named without its module in a recipe.
    for architecture in ARCHITECTURES.values():
        architecture.load_class("module")

    class ZooCLI(LightningCLI):
        """LightningCLI that writes below ``runs/`` and says so."""

        def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
            parser.set_defaults({"trainer.default_root_dir": _RUNS_FOLDER})

        def before_fit(self) -> None:
            self._say_where()

        def before_validate(self) -> None:
            self._say_where()

        def before_test(self) -> None:
            self._say_where()

        def before_predict(self) -> None:
            self._say_where()

        def _say_where(self) -> None:
            trainer: Trainer = self.trainer
            if trainer.is_global_zero:
                print(f"Writing to {trainer.log_dir or trainer.default_root_dir}")

    ZooCLI(
        VOSModule,
        LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        args=arguments,
        parser_kwargs={"prog": "lightning"},
    )


if __name__ == "__main__":
    sys.exit(main())
