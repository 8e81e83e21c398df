"""Publish with the real client to a Hub on this machine, and load what was published."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil

import pytest
import torch

from testing.hub_server import GUEST, READER, WRITER, card_errors
from vos_zoo import registry
from vos_zoo.errors import CheckpointError, ConfigError, HubError, MissingFileError
from vos_zoo.models.load import load_model
from vos_zoo.registry import DataSource, Score, Weight
from vos_zoo.weights import publish_checkpoint
from vos_zoo.weights.card import is_untouched
from vos_zoo.weights.publish import publish_all, source_pins

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


def test_a_published_checkpoint_comes_back_by_its_revision(writer, tiny_model):
    published = publish_checkpoint(tiny_model, REPOSITORY)
    assert published.revision == writer.repositories[REPOSITORY].head
    assert published.url == f"{writer.url}/{REPOSITORY}"
    assert published.sha256 == hashlib.sha256((tiny_model / "model.safetensors").read_bytes()).hexdigest()
    assert set(files_of(writer)) == {".gitattributes", "model.safetensors", "config.json", "README.md"}
    uploads = [request for request in writer.requests if request.startswith("PUT /lfs/")]
    assert uploads == [f"PUT /lfs/{published.sha256}"]
    model, original = load_model(published.name, device="cpu"), load_model(tiny_model, device="cpu")
    assert str(model.origin) == published.name
    for key, tensor in original.state_dict().items():
        assert torch.equal(model.state_dict()[key], tensor)


def test_an_older_revision_stays_what_it_was(writer, tiny_model, tmp_path):
    first = publish_checkpoint(tiny_model, REPOSITORY)
    model = load_model(tiny_model, device="cpu")
    with torch.no_grad():
        next(model.network.parameters()).add_(1)
    second = model.push_to_hub(REPOSITORY, message="Add one")
    assert second.revision != first.revision
    pair = [load_model(published.name, device="cpu").network for published in (first, second)]
    old, new = (next(network.parameters()) for network in pair)
    torch.testing.assert_close(new, old + 1, atol=1e-3, rtol=0)  # stored in half precision


def test_publishing_the_same_again_changes_nothing(writer, tiny_model):
    first = publish_checkpoint(tiny_model, REPOSITORY)
    uploads = sum(request.startswith("PUT") for request in writer.requests)
    second = publish_checkpoint(tiny_model, REPOSITORY)
    assert sum(request.startswith("PUT") for request in writer.requests) == uploads
    assert files_of(writer, first.revision) == files_of(writer, second.revision)


def test_a_dry_run_sends_nothing(hub, tiny_model):
    published = publish_checkpoint(tiny_model, REPOSITORY, dry_run=True)
    assert hub.requests == []
    assert published.revision is None
    assert published.name == f"hf-hub:{REPOSITORY}"
    assert published.num_bytes["model.safetensors"] == (tiny_model / "model.safetensors").stat().st_size
    assert "pipeline_tag: image-segmentation" in published.card


def test_a_card_written_on_the_hub_stays(writer, tiny_model):
    publish_checkpoint(tiny_model, REPOSITORY)
    writer.repositories[REPOSITORY].commit({"README.md": HAND_WRITTEN.encode()})
    published = publish_checkpoint(tiny_model, REPOSITORY)
    assert published.kept_card
    assert published.card == HAND_WRITTEN == files_of(writer)["README.md"].decode()
    published = publish_checkpoint(tiny_model, REPOSITORY, overwrite_card=True)
    assert not published.kept_card
    assert published.card == files_of(writer)["README.md"].decode() != HAND_WRITTEN


def test_a_card_edited_on_the_hub_stays_and_an_untouched_one_is_renewed(writer, tiny_model, folder):
    publish_checkpoint(tiny_model, REPOSITORY)
    (folder / "README.md").write_text("# Better card\n")
    assert not publish_checkpoint(folder, REPOSITORY).kept_card
    card = files_of(writer)["README.md"].decode()
    assert "# Better card" in card
    assert is_untouched(card)
    writer.repositories[REPOSITORY].commit({"README.md": card.replace("Better", "Even better").encode()})
    assert publish_checkpoint(folder, REPOSITORY).kept_card


def test_a_new_repository_is_as_private_as_asked(writer, tiny_model):
    publish_checkpoint(tiny_model, REPOSITORY, private=True)
    assert writer.repositories[REPOSITORY].private
    publish_checkpoint(tiny_model, "owner/open")
    assert not writer.repositories["owner/open"].private


def test_nothing_private_goes_to_a_public_repository(writer, tiny_model):
    writer.add(REPOSITORY)
    with pytest.raises(ConfigError, match="exists and is public"):
        publish_checkpoint(tiny_model, REPOSITORY, private=True)
    assert "model.safetensors" not in files_of(writer)


def test_a_change_in_between_is_not_overwritten(writer, tiny_model, monkeypatch):
    from vos_zoo.weights import hub

    original = hub.open_remote

    def slow(repo_id, *, private):
        remote = original(repo_id, private=private)
        writer.repositories[repo_id].commit({"README.md": HAND_WRITTEN.encode()})
        return remote

    monkeypatch.setattr(hub, "open_remote", slow)
    with pytest.raises(HubError, match="changed by somebody else"):
        publish_checkpoint(tiny_model, REPOSITORY)
    assert files_of(writer)["README.md"].decode() == HAND_WRITTEN


@pytest.mark.parametrize(
    ("token", "words"),
    [(None, "hf auth login"), ("hf_nonsense", "does not accept your token"), (READER, "right to write")],
)
def test_who_may_not_write_is_told_so(hub, tiny_model, monkeypatch, token, words):
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(HubError, match=words):
        publish_checkpoint(tiny_model, REPOSITORY)
    assert REPOSITORY not in hub.repositories


def test_a_repository_of_somebody_else_is_refused(hub, tiny_model, monkeypatch):
    hub.add(REPOSITORY)
    monkeypatch.setenv("HF_TOKEN", GUEST)
    with pytest.raises(HubError, match="does not let you"):
        publish_checkpoint(tiny_model, REPOSITORY)


def test_offline_mode_is_said(writer, tiny_model, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="HF_HUB_OFFLINE forbids"):
        publish_checkpoint(tiny_model, REPOSITORY)
    assert writer.requests == []


def test_an_interrupted_upload_is_said(writer, tiny_model):
    writer.faults.status["/lfs/"] = 500
    with pytest.raises(HubError, match="status 500"):
        publish_checkpoint(tiny_model, REPOSITORY)
    assert "model.safetensors" not in files_of(writer)


def test_metadata_that_the_hub_refuses_are_named(writer, folder):
    (folder / "README.md").write_text("---\npipeline_tag: dancing\n---\n# Card\n")
    with pytest.raises(ConfigError, match=r"refuses the model card.*pipeline_tag"):
        publish_checkpoint(folder, REPOSITORY)


@pytest.mark.parametrize("repo_id", ["name", "a/b/c", "", "owner/na me"])
def test_a_name_that_is_none_is_refused(tiny_model, repo_id):
    with pytest.raises(ConfigError, match="owner/name"):
        publish_checkpoint(tiny_model, repo_id, dry_run=True)


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


@pytest.mark.parametrize("error", [OSError(5, "Input/output error", "model.safetensors"), RuntimeError("no answer")])
def test_a_failed_upload_is_not_called_a_download(writer, tiny_model, monkeypatch, error, caplog):
    import huggingface_hub

    def broken(*arguments, **options):
        raise error

    monkeypatch.setattr(huggingface_hub.HfApi, "create_commit", broken)
    with caplog.at_level("INFO"), pytest.raises(HubError, match=r"The upload .*again\.") as raised:
        publish_checkpoint(tiny_model, REPOSITORY)
    assert "download" not in str(raised.value)
    assert f"Uploading to {REPOSITORY}" in caplog.text


@pytest.mark.parametrize("form", ["path", "text", "prefix", "name"])
def test_a_published_card_tells_no_local_path(tiny_model, tmp_path, monkeypatch, form):
    folder = tmp_path / "clients" / "secret"
    shutil.copytree(tiny_model, folder)
    monkeypatch.chdir(folder.parent)
    name = {"path": folder, "text": str(folder), "prefix": f"local-dir:{folder}", "name": "secret"}[form]
    published = load_model(name, device="cpu").push_to_hub(REPOSITORY, dry_run=True)
    body = published.card.split("---\n")[2]
    assert "secret" not in body
    assert "Written by vos_zoo" in body
    story = next(line for line in body.splitlines() if "Written by" in line)
    assert not {"/", "\\"} & set(story.partition("Written by")[2])


def test_a_published_card_tells_a_public_name(writer, tiny_model):
    published = publish_checkpoint(tiny_model, REPOSITORY)
    again = load_model(published.name, device="cpu").push_to_hub("owner/again", dry_run=True)
    assert f"Loaded from {published.name}." in again.card
    assert "Loaded from rde.small." in load_model("rde", device="cpu").push_to_hub("owner/again", dry_run=True).card


@pytest.fixture
def two_weights(monkeypatch):
    """A registry with a weight of the wheel and one that is in clones only."""
    chosen = {name: registry.WEIGHTS[name] for name in ("rde.small", "dmn_aoa.small")}
    monkeypatch.setattr(registry, "WEIGHTS", chosen)
    return chosen


@pytest.fixture
def pins(tmp_path):
    path = tmp_path / "hub_pins.json"
    path.write_text('{"other.small": {"repo_id": "o/n", "revision": "%s"}}' % ("a" * 40))
    return path


def test_all_weights_are_published_and_pinned(writer, two_weights, pins):
    done = {weight.name: published for weight, published in publish_all("owner", pins)}
    assert [published.repo_id for published in done.values()] == [
        "owner/vos-zoo-rde-small",
        "owner/vos-zoo-dmn-aoa-small",
    ]
    written = registry.read_pins(pins)
    assert written.keys() == {"other.small", *two_weights}
    for name, published in done.items():
        repository = writer.repositories[published.repo_id]
        assert written[name] == registry.HubRevision(published.repo_id, repository.head)
        content = repository.commits[repository.head]["model.safetensors"]
        assert hashlib.sha256(content).hexdigest() == two_weights[name].sha256


def test_a_copy_without_the_file_fetches_what_is_pinned(writer, two_weights, pins, monkeypatch, tmp_path):
    list(publish_all("owner", pins))
    hub = registry.read_pins(pins)["dmn_aoa.small"]
    weight = dataclasses.replace(two_weights["dmn_aoa.small"], hub=hub)
    monkeypatch.setitem(two_weights, "dmn_aoa.small", weight)
    monkeypatch.setattr("vos_zoo.weights.find.locate_weight", lambda weight: None)
    model = load_model("dmn_aoa", device="cpu")
    assert (model.origin.name, model.origin.revision, model.origin.sha256) == (
        "dmn_aoa.small",
        hub.revision,
        weight.sha256,
    )


def test_nothing_is_sent_if_one_weight_is_missing(writer, two_weights, pins, monkeypatch):
    lost = dataclasses.replace(two_weights["dmn_aoa.small"], folder="nowhere")
    monkeypatch.setitem(two_weights, "dmn_aoa.small", lost)
    before = pins.read_text()
    with pytest.raises(MissingFileError, match=r"dmn_aoa\.small"):
        list(publish_all("owner", pins))
    assert writer.requests == []
    assert pins.read_text() == before


def test_what_was_published_before_a_failure_stays_pinned(writer, two_weights, pins):
    writer.faults.status["vos-zoo-dmn-aoa-small/commit"] = 500
    with pytest.raises(HubError):
        list(publish_all("owner", pins))
    assert registry.read_pins(pins).keys() == {"other.small", "rde.small"}
    writer.faults.status.clear()
    uploads = sum(request.startswith("PUT") for request in writer.requests)
    list(publish_all("owner", pins))
    assert registry.read_pins(pins).keys() == {"other.small", *two_weights}
    assert sum(request.startswith("PUT") for request in writer.requests) == uploads  # no file goes up twice


def test_a_dry_run_of_all_sends_and_writes_nothing(hub, two_weights, pins):
    before = pins.read_text()
    assert [published.revision for _, published in publish_all("owner", pins, dry_run=True)] == [None, None]
    assert (hub.requests, pins.read_text()) == ([], before)


@pytest.mark.parametrize("owner", ["", "owner/name", "o wner"])
def test_an_owner_is_one_name(hub, pins, owner):
    with pytest.raises(ConfigError, match="not a name of a user"):
        list(publish_all(owner, pins))


def test_pins_go_to_a_file_that_exists(hub, tmp_path):
    with pytest.raises(MissingFileError, match=r"hub_pins\.json"):
        list(publish_all("owner", tmp_path / "gone.json"))


def test_an_installed_package_has_no_pins_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setattr("vos_zoo.weights.publish._SOURCE_TREE", tmp_path)
    with pytest.raises(ConfigError, match="--pins"):
        source_pins()
