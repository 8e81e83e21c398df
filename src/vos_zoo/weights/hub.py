"""The one place that talks to the Hugging Face Hub.

The client is ``huggingface_hub``, which knows the user's settings: ``HF_HOME`` and ``HF_HUB_CACHE`` for the cache,
``HF_HUB_OFFLINE``, ``HF_ENDPOINT``, and the token of ``HF_TOKEN`` or ``hf auth login``. It is imported on first use.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vos_zoo.errors import CheckpointError, ConfigError, HubError, MissingFileError, VosZooError
from vos_zoo.version import __version__
from vos_zoo.weights.checkpoint import CARD_FILE, CONFIG_FILE
from vos_zoo.weights.checksum import remembered_sha256

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Fetched", "Remote", "fetch", "open_remote", "upload"]

_LOGIN = "Log in with `hf auth login` or set HF_TOKEN"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_READ_ONLY = {errno.EACCES, errno.EPERM, errno.EROFS}

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fetched:
    """A repository's checkpoint in the cache.

    Attributes:
        folder: Folder with the tensors and ``config.json``.
        revision: The commit, 40 hexadecimal digits.
    """

    folder: Path
    revision: str


@dataclass(frozen=True)
class Remote:
    """A repository that files are going to be committed to.

    Attributes:
        repo_id: ``owner/name``.
        url: Its page.
        revision: Newest commit of the branch; None for an empty repository.
        card: Text of its model card; None if it has none.
    """

    repo_id: str
    url: str
    revision: str | None
    card: str | None


def fetch(repo_id: str, revision: str | None, file: str) -> Fetched:
    """Download a checkpoint into the client's cache, unless it is there, and check that it came whole.

    Args:
        repo_id: ``owner/name``.
        revision: A commit of 40 hexadecimal digits, which needs no network once it is in the cache; or a branch or tag,
            which is looked up each time. None means the main branch.
        file: Name of the file with the tensors.

    Raises:
        MissingFileError: If there is no such repository, revision or file.
        HubError: If the Hub cannot be reached or refuses, or the disk takes no more.
        CheckpointError: If the file is not the one that the Hub announced.
    """
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache

    place = f"{repo_id} at {revision}" if revision else repo_id
    client = {"library_name": "vos_zoo", "library_version": __version__}
    with _explained(repo_id, revision):
        is_known = isinstance(try_to_load_from_cache(repo_id, file, revision=revision), str)
        if not is_known and not constants.HF_HUB_OFFLINE:
            _logger.info("Downloading %s from %s ...", place, constants.ENDPOINT)
        config = Path(hf_hub_download(repo_id, CONFIG_FILE, revision=revision, user_agent=client))
        # The second file comes from the commit of the first, even if the branch has moved on in between.
        commit = config.parent.name
        path = Path(hf_hub_download(repo_id, file, revision=commit, user_agent=client))
    if not _COMMIT.fullmatch(revision or ""):
        _logger.warning(
            "%s may mean other weights tomorrow; hf-hub:%s@%s always means those loaded now.", place, repo_id, commit
        )
    announced = _announced_sha256(path, repo_id, commit, file)
    if announced is not None and (found := remembered_sha256(path)) != announced:
        raise CheckpointError(
            f"{path} has sha256 {found}. {repo_id} at {commit} has {announced}. The download was damaged, or somebody "
            f"changed the cache. Remove {path.resolve()} and load again."
        )
    return Fetched(config.parent, commit)


def open_remote(repo_id: str, *, private: bool) -> Remote:
    """Create a repository, unless it exists, and look at what it holds.

    Args:
        repo_id: ``owner/name``.
        private: Only people with access may see it. An existing public repository is then refused.

    Raises:
        HubError: If the Hub cannot be reached or refuses.
        ConfigError: If the name is none, or the repository is public and ``private`` is True.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import EntryNotFoundError

    with _explained(repo_id, None):
        client = HfApi(library_name="vos_zoo", library_version=__version__)
        url = client.create_repo(repo_id, private=private or None, exist_ok=True)
        info = client.repo_info(repo_id)
        if private and not info.private:
            raise ConfigError(
                f"{repo_id} exists and is public, but a private repository was asked for. Make it private in its "
                "settings, choose another name, or publish without `private`."
            )
        try:
            card = client.hf_hub_download(repo_id, CARD_FILE, revision=info.sha) if info.sha else None
        except EntryNotFoundError:
            card = None
    text = None if card is None else Path(card).read_text(encoding="utf-8", errors="replace")
    return Remote(repo_id, str(url), info.sha, text)


def upload(remote: Remote, files: Mapping[str, Path | bytes], *, message: str) -> str:
    """Commit files to a repository in one step and return the commit.

    Args:
        remote: The repository, as it was when the files were chosen. Changes by others since then are not overwritten.
        files: Contents by their names.
        message: Commit message.

    Raises:
        HubError: If the Hub cannot be reached or refuses, or if the repository has changed in the meantime.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    _logger.info("Uploading to %s ...", remote.repo_id)
    with _explained(remote.repo_id, None, doing="upload"):
        commit = HfApi(library_name="vos_zoo", library_version=__version__).create_commit(
            remote.repo_id,
            operations=[
                CommitOperationAdd(name, str(content) if isinstance(content, Path) else content)
                for name, content in files.items()
            ],
            commit_message=message,
            parent_commit=remote.revision,
        )
    revision: str = commit.oid
    return revision


def _announced_sha256(path: Path, repo_id: str, commit: str, file: str) -> str | None:
    """Return the checksum that the Hub announced for a file in the cache; None if it announced none."""
    try:
        # The cache names a file by what the Hub announced, and the entry of the snapshot is a link to it. Only the
        # first link counts: the file may be linked further, to a store that names files otherwise.
        announced = path.readlink().name
    except OSError:  # a cache without symbolic links, as on many Windows machines
        announced = _ask_for_etag(repo_id, commit, file)
    return announced if re.fullmatch(r"[0-9a-f]{64}", announced) else None


def _ask_for_etag(repo_id: str, commit: str, file: str) -> str:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    try:
        with _explained(repo_id, commit):
            return get_hf_file_metadata(hf_hub_url(repo_id, file, revision=commit)).etag or ""
    except (HubError, MissingFileError) as error:  # offline: the file was checked when it came
        _logger.debug("The checksum of %s is not known: %s", file, error)
        return ""


@contextlib.contextmanager
def _explained(
    repo_id: str, revision: str | None, *, doing: Literal["download", "upload"] = "download"
) -> Iterator[None]:
    """Turn what the client raises into errors of this package."""
    from huggingface_hub.errors import HfHubHTTPError

    # The client's transport library is another one in 2.x than in 1.x; its base error is a base of this error.
    transport: tuple[type[Exception], ...] = tuple(
        base for base in HfHubHTTPError.__bases__ if base is not OSError and issubclass(base, Exception)
    )
    failures: tuple[type[Exception], ...] = (OSError, RuntimeError, ValueError, *transport)
    try:
        yield
    except VosZooError:
        raise
    except failures as error:
        explained = _explain(error, repo_id, revision, transport, doing)
        if explained is None:
            raise
        raise explained from error


def _explain(
    error: Exception,
    repo_id: str,
    revision: str | None,
    transport: tuple[type[Exception], ...],
    doing: Literal["download", "upload"],
) -> VosZooError | None:
    from huggingface_hub import constants, errors

    hub, place = constants.ENDPOINT, f"{repo_id} at {revision}" if revision else repo_id
    cause = error.__cause__
    if isinstance(error, errors.LocalEntryNotFoundError) and not constants.HF_HUB_OFFLINE:
        if isinstance(cause, errors.FileMetadataError):
            return HubError(
                f"{hub} does not answer for {place} as a Hub does ({_first_line(cause)}). Check HF_ENDPOINT and proxy "
                "settings."
            )
        if not isinstance(cause, errors.HfHubHTTPError):
            return _unreachable(hub, place, cause or error)
        error = cause  # the Hub answered, and what it said is the reason
    if isinstance(error, errors.OfflineModeIsEnabled):
        return HubError(f"HF_HUB_OFFLINE forbids to talk to {hub} about {repo_id}. Unset it and try again.")
    if isinstance(error, errors.LocalEntryNotFoundError):
        return HubError(
            f"{place} is not in the cache {constants.HF_HUB_CACHE}, and HF_HUB_OFFLINE forbids to ask {hub}. Unset "
            "HF_HUB_OFFLINE, or let HF_HOME name the folder of a cache that has it."
        )
    if isinstance(error, errors.GatedRepoError):
        return HubError(
            f"{repo_id} is gated: its owner decides who may download it. Ask for access on {hub}/{repo_id}. "
            f"{_LOGIN} once you have it."
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return MissingFileError(
            f"{hub} has no repository {repo_id}, or it is private and you may not see it. Check the name. {_LOGIN} if "
            "it is private."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return MissingFileError(
            f"{repo_id} has no revision {revision}. Its commits are listed on {hub}/{repo_id}/commits/main."
        )
    if isinstance(error, errors.EntryNotFoundError):
        return MissingFileError(
            f"{place} lacks a file of a checkpoint. A repository of this package holds model.safetensors and "
            f"{CONFIG_FILE}. Check name and revision."
        )
    if isinstance(error, errors.HfHubHTTPError):
        return _refused(error, hub, repo_id)
    if isinstance(error, errors.HFValidationError):
        return ConfigError(f"{repo_id!r} is not a name of a repository. Expected owner/name. {_first_line(error)}")
    if isinstance(error, transport):
        return _unreachable(hub, place, error)
    if isinstance(error, OSError):
        return _not_sent(error, place) if doing == "upload" else _not_stored(error, place)
    if isinstance(error, RuntimeError):  # the client wraps what happened during an upload
        inner = None if not isinstance(cause, Exception) else _explain(cause, repo_id, revision, transport, doing)
        reason = _first_line(error) + (f" ({_first_line(cause)})" if cause is not None else "")
        return inner or HubError(f"The {doing} of {repo_id} failed: {reason} Try again.")
    if "README.md" in str(error):  # a ValueError: the Hub's own check of the card's metadata
        said = " ".join(str(error).split())
        return ConfigError(f"{hub} refuses the model card of {repo_id}: {said}. Correct the card's first lines.")
    return None


def _unreachable(hub: str, place: str, reason: BaseException) -> HubError:
    return HubError(
        f"{hub} cannot be reached for {place} ({type(reason).__name__}: {_first_line(reason)}). Check the network "
        "connection, proxy settings and HF_ENDPOINT, and try again. What is in the cache loads without a network by "
        "its commit."
    )


def _refused(error: OSError, hub: str, repo_id: str) -> HubError:
    response = error.response  # type: ignore[attr-defined]  # it is an HfHubHTTPError
    status, said = response.status_code, getattr(error, "server_message", None) or _first_line(error)
    if status == 401:
        return HubError(f"{hub} does not accept your token for {repo_id} ({said}). {_LOGIN} with a valid one.")
    if status == 403:
        return HubError(
            f"{hub} does not let you do this with {repo_id} ({said}). {_LOGIN} as somebody who may; publishing needs a "
            "token with the right to write."
        )
    if status in (409, 412):
        return HubError(f"{repo_id} was changed by somebody else in the meantime ({said}). Look at it and try again.")
    return HubError(f"{hub} answered with status {status} for {repo_id} ({said}). Try again later.")


def _not_sent(error: OSError, place: str) -> HubError:
    what = f" (`{error.filename}`)" if error.filename else ""
    return HubError(
        f"The upload to {place} broke off: {_first_line(error)}{what}. Nothing was published, since all files go up in "
        "one commit. Check that the files can be read and the network works; then try again."
    )


def _not_stored(error: OSError, place: str) -> HubError:
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    if error.errno in _FULL:
        existing = next(folder for folder in (cache, *cache.parents) if folder.is_dir())
        return HubError(
            f"No space is left for {place} in the cache {cache} ({shutil.disk_usage(existing).free / 2**20:.0f} MiB "
            "free). What is half-written is not used. Free some space, or let HF_HOME name a folder on another disk."
        )
    if error.errno in _READ_ONLY:
        return HubError(
            f"The cache {cache} cannot be written ({error.strerror}), and {place} is not in it. Let HF_HOME name a "
            "folder that you may write to."
        )
    return HubError(f"The download of {place} broke off: {_first_line(error)} What arrived is not used; try again.")


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
