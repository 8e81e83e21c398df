"""Publish with the real client to a Hub on this machine, and load what was published."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from testing.hub_server import GUEST, READER, WRITER, card_errors
from vos_zoo import registry
from vos_zoo.cli.main import main
from vos_zoo.errors import CheckpointError, ConfigError, HubError, MissingFileError
from vos_zoo.hub import load_model, publish_checkpoint
from vos_zoo.hub.card import is_untouched
from vos_zoo.models.rde import RDEModule
from vos_zoo.models.stm import STMModule
from vos_zoo.registry import DataSource, Score, Weight

# The client's own upload, with the release of its transport library that is newest at the time of writing.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
REPOSITORY = "owner/rde-tiny"
HAND_WRITTEN = "---\nlicense: mit\n---\n\n# My own words\n"


@pytest.fixture
def writer(hub, monkeypatch):
    """A Hub that this process may write to."""
    monkeypatch.setenv("HF_TOKEN", WRITER)
    return hub


def files_of(hub, revision=None):
    repository = hub.repositories[REPOSITORY]
    return repository.commits[revision or repository.head]


def test_a_published_checkpoint_comes_back_by_its_revision(writer, saved):
    published = publish_checkpoint(saved, REPOSITORY)
    assert published.revision == writer.repositories[REPOSITORY].head
    assert published.url == f"{writer.url}/{REPOSITORY}"
    assert published.sha256 == hashlib.sha256((saved / "model.safetensors").read_bytes()).hexdigest()
    assert set(files_of(writer)) == {".gitattributes", "model.safetensors", "config.json", "README.md"}
    uploads = [request for request in writer.requests if request.startswith("PUT /lfs/")]
    assert uploads == [f"PUT /lfs/{published.sha256}"]
    model, original = load_model(published.name, device="cpu"), load_model(saved, device="cpu")
    assert str(model.origin) == published.name
    for key, tensor in original.state_dict().items():
        assert torch.equal(model.state_dict()[key], tensor)


def test_an_older_revision_stays_what_it_was(writer, saved, tmp_path):
    first = publish_checkpoint(saved, REPOSITORY)
    model = load_model(saved, device="cpu")
    with torch.no_grad():
        next(model.network.parameters()).add_(1)
    second = model.push_to_hub(REPOSITORY, message="Add one")
    assert second.revision != first.revision
    pair = [load_model(published.name, device="cpu").network for published in (first, second)]
    old, new = (next(network.parameters()) for network in pair)
    torch.testing.assert_close(new, old + 1, atol=1e-3, rtol=0)  # stored in half precision


def test_publishing_the_same_again_changes_nothing(writer, saved):
    first = publish_checkpoint(saved, REPOSITORY)
    uploads = sum(request.startswith("PUT") for request in writer.requests)
    second = publish_checkpoint(saved, REPOSITORY)
    assert sum(request.startswith("PUT") for request in writer.requests) == uploads
    assert files_of(writer, first.revision) == files_of(writer, second.revision)


def test_a_dry_run_sends_nothing(hub, saved):
    published = publish_checkpoint(saved, REPOSITORY, dry_run=True)
    assert hub.requests == []
    assert published.revision is None
    assert published.name == f"hf-hub:{REPOSITORY}"
    assert published.num_bytes["model.safetensors"] == (saved / "model.safetensors").stat().st_size
    assert "pipeline_tag: image-segmentation" in published.card


def test_a_card_written_on_the_hub_stays(writer, saved):
    publish_checkpoint(saved, REPOSITORY)
    writer.repositories[REPOSITORY].commit({"README.md": HAND_WRITTEN.encode()})
    published = publish_checkpoint(saved, REPOSITORY)
    assert published.kept_card
    assert published.card == HAND_WRITTEN == files_of(writer)["README.md"].decode()
    published = publish_checkpoint(saved, REPOSITORY, overwrite_card=True)
    assert not published.kept_card
    assert published.card == files_of(writer)["README.md"].decode() != HAND_WRITTEN


def test_a_card_edited_on_the_hub_stays_and_an_untouched_one_is_renewed(writer, saved, folder):
    publish_checkpoint(saved, REPOSITORY)
    (folder / "README.md").write_text("# Better card\n")
    assert not publish_checkpoint(folder, REPOSITORY).kept_card
    card = files_of(writer)["README.md"].decode()
    assert "# Better card" in card
    assert is_untouched(card)
    writer.repositories[REPOSITORY].commit({"README.md": card.replace("Better", "Even better").encode()})
    assert publish_checkpoint(folder, REPOSITORY).kept_card


def test_a_new_repository_is_as_private_as_asked(writer, saved):
    publish_checkpoint(saved, REPOSITORY, private=True)
    assert writer.repositories[REPOSITORY].private
    publish_checkpoint(saved, "owner/open")
    assert not writer.repositories["owner/open"].private


def test_nothing_private_goes_to_a_public_repository(writer, saved):
    writer.add(REPOSITORY)
    with pytest.raises(ConfigError, match="exists and is public"):
        publish_checkpoint(saved, REPOSITORY, private=True)
    assert "model.safetensors" not in files_of(writer)


def test_a_change_in_between_is_not_overwritten(writer, saved, monkeypatch):
    from vos_zoo.hub import client

    original = client.open_remote

    def slow(repo_id, *, private):
        remote = original(repo_id, private=private)
        writer.repositories[repo_id].commit({"README.md": HAND_WRITTEN.encode()})
        return remote

    monkeypatch.setattr(client, "open_remote", slow)
    with pytest.raises(HubError, match="changed by somebody else"):
        publish_checkpoint(saved, REPOSITORY)
    assert files_of(writer)["README.md"].decode() == HAND_WRITTEN


@pytest.mark.parametrize(
    ("token", "words"),
    [(None, "hf auth login"), ("hf_nonsense", "does not accept your token"), (READER, "right to write")],
)
def test_who_may_not_write_is_told_so(hub, saved, monkeypatch, token, words):
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(HubError, match=words):
        publish_checkpoint(saved, REPOSITORY)
    assert REPOSITORY not in hub.repositories


def test_a_repository_of_somebody_else_is_refused(hub, saved, monkeypatch):
    hub.add(REPOSITORY)
    monkeypatch.setenv("HF_TOKEN", GUEST)
    with pytest.raises(HubError, match="does not let you"):
        publish_checkpoint(saved, REPOSITORY)


def test_offline_mode_is_said(writer, saved, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="HF_HUB_OFFLINE forbids"):
        publish_checkpoint(saved, REPOSITORY)
    assert writer.requests == []


def test_an_interrupted_upload_is_said(writer, saved):
    writer.faults.status["/lfs/"] = 500
    with pytest.raises(HubError, match="status 500"):
        publish_checkpoint(saved, REPOSITORY)
    assert "model.safetensors" not in files_of(writer)


def test_metadata_that_the_hub_refuses_are_named(writer, folder):
    (folder / "README.md").write_text("---\npipeline_tag: dancing\n---\n# Card\n")
    with pytest.raises(ConfigError, match=r"refuses the model card.*pipeline_tag"):
        publish_checkpoint(folder, REPOSITORY)


@pytest.mark.parametrize("repo_id", ["name", "a/b/c", "", "owner/na me"])
def test_a_name_that_is_none_is_refused(saved, repo_id):
    with pytest.raises(ConfigError, match="owner/name"):
        publish_checkpoint(saved, repo_id, dry_run=True)


def test_nothing_broken_is_published(hub, folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="cut off"):
        publish_checkpoint(folder, REPOSITORY)
    path.unlink()
    with pytest.raises(MissingFileError):
        publish_checkpoint(folder, REPOSITORY)
    assert hub.requests == []


def test_the_registry_completes_the_card_of_its_own_weights(writer, folder, monkeypatch):
    data = (folder / "model.safetensors").read_bytes()
    weight = Weight(
        name="rde.test",
        variant="tiny",
        folder="x",
        num_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        date="2026-01-31",
        licence="research only; see the card",
        trained_on=(DataSource("DAVIS 2016 (25 sequences)", "CC BY-NC 4.0", "https://davischallenge.org"),),
        scores=(Score("seven clips", 70.0, 60.0, 80.0, "DAVIS 2017"),),
    )
    monkeypatch.setattr(registry, "WEIGHTS", {weight.name: weight})
    card = publish_checkpoint(folder, REPOSITORY).card
    assert card_errors(card) == []
    for words in ("license: other", "license_name: research-only", "- davis-2016", "value: 70.0", "name: rde.test"):
        assert words in card


def test_a_module_says_what_it_was_trained_on(writer, saved):
    model = load_model(saved, device="cpu")
    published = model.push_to_hub(
        REPOSITORY,
        licence="apache-2.0",
        trained_on=[DataSource("My clips", "mine", "https://example.org")],
        scores=[Score("my clips", 70.0, 60.0, 80.0, "DAVIS 2017")],
    )
    for words in ("license: apache-2.0", "- my-clips", "# rde-tiny", f"Loaded from {saved}", "| my clips | 70.0 |"):
        assert words in published.card
    assert card_errors(published.card) == []


def test_a_module_loads_as_its_own_class_only(saved):
    assert isinstance(RDEModule.from_pretrained(saved, "cpu"), RDEModule)
    with pytest.raises(ConfigError, match="no STMModule"):
        STMModule.from_pretrained(saved, "cpu")


def run(words, environment, **options):
    search_path = os.pathsep.join(str(Path(entry).resolve()) for entry in sys.path)
    variables = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": search_path} | environment
    return subprocess.run(
        [sys.executable, *words], env=variables, capture_output=True, text=True, check=False, **options
    )


def test_the_command_publishes_and_a_new_process_loads_by_revision(hub, saved, tmp_path):
    publish = ["-m", "vos_zoo.cli.main", "publish", str(saved), "--repo-id", REPOSITORY, "--private"]
    written = run(publish, hub.environment(tmp_path / "writer", token=WRITER))
    assert written.returncode == 0, written.stderr
    revision = re.search(r"Revision to pin: ([0-9a-f]{40})\n", written.stdout)[1]
    assert revision == hub.repositories[REPOSITORY].head

    code = (
        "import sys, torch, vos_zoo\n"
        "model, saved = vos_zoo.load_model(sys.argv[1], 'cpu'), vos_zoo.load_model(sys.argv[2], 'cpu')\n"
        "pairs = zip(model.state_dict().values(), saved.state_dict().values(), strict=True)\n"
        "assert all(torch.equal(*pair) for pair in pairs)\n"
        "print(model.origin)\n"
    )
    name = f"hf-hub:{REPOSITORY}@{revision}"
    environment = hub.environment(tmp_path / "reader", token=READER)
    first = run(["-c", code, name, str(saved)], environment)
    assert (first.returncode, first.stdout) == (0, f"{name}\n"), first.stderr
    again = run(["-c", code, name, str(saved)], environment | {"HF_HUB_OFFLINE": "1"})
    assert (again.returncode, again.stdout) == (0, f"{name}\n"), again.stderr


def test_the_command_shows_the_card_first(hub, saved, capsys):
    assert main(["publish", str(saved), "--repo-id", REPOSITORY, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "library_name: vos_zoo" in printed
    assert "Nothing was sent." in printed
    assert hub.requests == []


def test_the_command_says_that_it_kept_a_card(writer, saved, capsys):
    writer.add(REPOSITORY)
    writer.repositories[REPOSITORY].commit({"README.md": HAND_WRITTEN.encode()})
    assert main(["publish", str(saved), "--repo-id", REPOSITORY]) == 0
    assert "--overwrite-card" in capsys.readouterr().out
    assert main(["publish", str(saved), "--repo-id", "name"]) == 2
    assert "owner/name" in capsys.readouterr().err
