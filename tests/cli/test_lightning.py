from __future__ import annotations

import dataclasses
import errno
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from vos_zoo import registry
from vos_zoo.cli import lightning
from vos_zoo.training import PredictionWriter

RECIPE = """
seed_everything: 3
trainer:
  accelerator: cpu
  max_steps: 1
  logger: {class_path: CSVLogger, init_args: {save_dir: runs}}
  enable_progress_bar: false
  enable_model_summary: false
  num_sanity_val_steps: 0
  limit_val_batches: 0
model:
  class_path: RDEModule
  init_args: {config: tiny}
data:
  class_path: SyntheticDataModule
  init_args: {batch_size: 1, crop_size: 64, num_frames: 5, samples_per_epoch: 4, num_workers: 0}
"""


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    # A process of its own: Lightning sets handlers and warnings for the whole process.
    code = "import sys; from vos_zoo.cli.lightning import main; sys.exit(main())"
    # The process works in another folder, where relative entries of the path would lead nowhere.
    search_path = os.pathsep.join(str(Path(entry).resolve()) for entry in sys.path)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": search_path}
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def parsed(monkeypatch, capsys, tmp_path):
    """Run words that go no further than being parsed in this process, in an empty folder; return the exit code."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")

    def run(*words: str) -> tuple[object, str, str]:
        try:
            code: object = lightning.main(words)
        except SystemExit as stopped:
            code = stopped.code
        return code, *capsys.readouterr()

    return run


@pytest.mark.slow
def test_a_recipe_trains_says_where_it_writes_and_goes_on(tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    first = run(tmp_path, "fit", "--config", "recipe.yaml")
    assert first.returncode == 0, first.stderr
    folder = next(
        line.removeprefix("Writing to ") for line in first.stdout.splitlines() if line.startswith("Writing to")
    )
    assert folder.startswith("runs")
    checkpoints = list((tmp_path / folder).rglob("*.ckpt"))
    assert len(checkpoints) == 1
    assert (tmp_path / folder / "config.yaml").is_file()

    words = ["fit", "--config", "recipe.yaml", "--trainer.max_steps", "2", "--ckpt_path", str(checkpoints[0])]
    second = run(tmp_path, *words)
    assert second.returncode == 0, second.stderr
    assert "step=2" in "".join(path.name for path in tmp_path.rglob("*.ckpt"))


def test_options_of_the_data_need_no_class_path(tmp_path, parsed):
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    code, printed, _ = parsed("fit", "--config", "recipe.yaml", "--data.crop_size", "96", "--print_config")
    assert code == 0
    assert "crop_size: 96" in printed
    assert "class_path: vos_zoo.models.rde" in printed


@pytest.mark.slow
def test_our_errors_become_one_message(tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("config: tiny", "config: huge"))
    result = run(tmp_path, "fit", "--config", "recipe.yaml")
    assert result.returncode == 2
    assert "no variant 'huge'" in result.stderr


@pytest.mark.parametrize("words", [["run", "app"], ["login"], ["fitt"], []])
def test_words_of_other_programs_get_help(capsys, words):
    assert lightning.main(words) == 2
    message = capsys.readouterr().err
    assert "lightning: error: this `lightning` trains the models of vos_zoo" in message
    assert "fit, validate, test, predict" in message
    assert "--config rde`" in message
    if words:
        assert repr(words[0]) in message


def test_a_broken_model_of_another_package_is_left_out(monkeypatch, caplog):
    toy = dataclasses.replace(registry.find_architecture("stm"), name="toy", module_class="no_such_package:ToyModule")
    monkeypatch.setattr(registry, "_FROM_OUTSIDE", {"toy": toy})
    lightning.import_nameable_classes()
    (record,) = caplog.records
    assert "'toy' is registered with module_class='no_such_package:ToyModule'" in record.getMessage()


def test_a_recipe_is_found_by_its_name_from_any_folder(parsed):
    code, printed, complaints = parsed("fit", "--config", "rde", "--print_config")
    assert code == 0, complaints
    assert "class_path: vos_zoo.models.rde" in printed
    assert "crop_size: 224" in printed


def test_a_missing_recipe_is_one_line(parsed):
    code, _, complaints = parsed("fit", "--config", "recipes/rde.yaml")
    assert code == 2
    assert len(complaints.splitlines()) == 1
    assert "Did you mean `rde`?" in complaints


def test_help_lists_every_command(parsed):
    code, printed, _ = parsed("--help")
    assert code == 0
    assert all(f"\n    {command} " in printed for command in ("fit", "validate", "test", "predict"))


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_help_of_a_command_lists_its_options(parsed, command):
    code, printed, _ = parsed(command, "--help")
    assert code == 0
    assert "--trainer.max_steps" in printed
    assert f"lightning [options] {command} " in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--trainer.max_stepz", "3"], "error: unrecognized arguments: --trainer.max_stepz 3"),
        (["--trainer.max_steps", "many"], 'Parser key "trainer.max_steps"'),
    ],
)
def test_a_mistake_gets_its_message_and_no_pages_of_options(parsed, words, message):
    code, _, complaints = parsed("fit", "--config", "rde", *words)
    assert code == 2
    assert message in complaints
    assert "lightning fit --help" in complaints
    assert len(complaints.splitlines()) <= 5


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EIO, "Input/output error"), "the system refused something: Input/output error"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "Connection refused"),
        (OSError("no errno at all"), "no errno at all"),
        (OSError(errno.ENOSPC, "No space left on device"), "no space is left on the disk"),
    ],
)
@pytest.mark.parametrize("has_checkpoint", [True, False])
def test_what_the_system_refuses_is_one_line_that_says_what_survived(
    monkeypatch, capsys, error, said, has_checkpoint, tmp_path
):
    writer = PredictionWriter()
    writer.root = tmp_path

    def failing(arguments, kept):
        keeper = SimpleNamespace(last_model_path="", best_model_path="runs/last.ckpt") if has_checkpoint else None
        kept.trainer = SimpleNamespace(checkpoint_callback=keeper, callbacks=[writer])
        raise error

    monkeypatch.setattr(lightning, "_run", failing)
    assert lightning.main(["fit"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("lightning: error: ")
    assert said in line
    assert "What is finished is kept" in line
    assert ("The last checkpoint is runs/last.ckpt" if has_checkpoint else f"Finished videos are in {tmp_path}") in line


def test_what_the_system_refuses_before_there_is_a_trainer_is_one_line(monkeypatch, capsys):
    def failing(arguments, kept):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(lightning, "_run", failing)
    assert lightning.main(["fit"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
