"""Where the files of an encoder are: in a folder, on this machine, or on the Hugging Face Hub."""

import difflib
import logging
import re
from pathlib import Path
from typing import NamedTuple

from jdann.errors import InputError
from jdann.parameters import shown
from jdann.pretrained.catalogue import CATALOGUE
from jdann.pretrained.weights import CONFIG, INDEX, ONE_FILE, is_complete
from jdann.progress import shows_bars

log = logging.getLogger("jdann")
PREPROCESSOR = "preprocessor_config.json"
# Some repositories hold the same weights a second time, as model.fp32-00001-of-00002.safetensors.
_WANTED = [CONFIG, PREPROCESSOR, ONE_FILE, INDEX, "model-*.safetensors"]
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9_.-]+")
_REVISION = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_./-]*")


class HubId(NamedTuple):
    """A model on the Hub."""

    repository: str  # such as "facebook/hubert-base-ls960"
    revision: str | None  # a branch, a tag, a commit or refs/pr/N; None: the main one

    def __str__(self) -> str:
        return f"{self.repository}@{self.revision}" if self.revision else self.repository


def find_or_fetch(name: str, data_dir: Path) -> Path:
    """The folder of an encoder. What is not on this machine is fetched from the Hub.

    Args:
      name: a folder, or an id of the Hub, with "@REVISION" where it is not the main one.
      data_dir: the folder of prepared corpora and cached features.

    Raises:
      InputError: there is no such folder or id, or it cannot be fetched.
    """
    folder = local_folder(name)
    if folder is not None:
        return folder
    local = find_on_machine(name, data_dir)
    if local is not None and not _lacks_preprocessing(local):
        return local
    try:
        return _fetch(parse_id(name), data_dir)
    except InputError as error:
        if local is None:
            raise
        log.warning("%s is used without %s: %s", name, PREPROCESSOR, error)
        return local


def find_on_machine(name: str, data_dir: Path) -> Path | None:
    """The folder of an encoder if it is on this machine; the network is not asked.

    Raises:
      InputError: `name` is neither a folder nor an id of the Hub.
    """
    folder = local_folder(name)
    if folder is not None:
        return folder
    hub_id = parse_id(name)
    own = own_folder(hub_id, data_dir)
    if own.is_dir():
        return own
    cached = map(_find_in_hub_cache, _with_conversion(hub_id))
    return next((folder for folder in cached if folder is not None), None)


def _lacks_preprocessing(folder: Path) -> bool:
    """Whether other programs have fetched only a part of the files to the Hub's cache."""
    return folder.parent.name == "snapshots" and not (folder / PREPROCESSOR).exists()


def _with_conversion(hub_id: HubId) -> list[HubId]:
    """The id, and the revision with its weights as safetensors where the main one has none."""
    known = CATALOGUE.get(hub_id.repository)
    if hub_id.revision is None and known is not None and known.safetensors_revision is not None:
        return [hub_id, HubId(hub_id.repository, known.safetensors_revision)]
    return [hub_id]


def own_folder(hub_id: HubId, data_dir: Path) -> Path:
    """Where the files of an id may be put by hand."""
    return data_dir / "jdann" / "encoders" / str(hub_id).replace("/", "--")


def local_folder(name: str) -> Path | None:
    """The folder of this name, if there is one."""
    try:
        folder = Path(name).expanduser()
        return folder if name and folder.is_dir() else None
    except (OSError, RuntimeError, ValueError):  # no such user, too long, or a zero byte
        return None


def parse_id(name: str) -> HubId:
    """The id of a model on the Hub, which is written REPOSITORY or REPOSITORY@REVISION.

    Raises:
      InputError: the name is no valid id; the message names similar ids that are known.
    """
    repository, at, revision = name.partition("@")
    if _ID.fullmatch(repository) and (not at or _REVISION.fullmatch(revision)) and ".." not in name:
        return HubId(repository, revision or None)
    by_end = {known.rpartition("/")[2]: known for known in CATALOGUE if "/" in known}
    end = repository.rstrip("/").rpartition("/")[2].lower()
    if Path(name).is_absolute():
        raise InputError(
            f"the encoder {shown(name)}: there is no such folder; put it back, or name the folder "
            "where its config.json and model.safetensors are now"
        )
    near = difflib.get_close_matches(end, by_end, n=1)
    hint = f"did you mean {by_end[near[0]]}? " if near else ""
    raise InputError(
        f"the encoder {shown(name)} is neither a folder nor an id of the Hub; {hint}expected e.g. "
        "facebook/hubert-base-ls960; jdann encoders lists more"
    )


def _find_in_hub_cache(hub_id: HubId) -> Path | None:
    """The folder in the cache that all programs of the Hub share, if its weights are whole."""
    try:
        import huggingface_hub  # an extra, and slow to import
        from huggingface_hub import errors
    except ImportError:
        return None
    try:
        folder = huggingface_hub.snapshot_download(
            hub_id.repository,
            revision=hub_id.revision,
            allow_patterns=_WANTED,
            local_files_only=True,
        )
    except errors.HFValidationError as error:
        raise InputError(f"{hub_id} is no id of the Hub: {error}") from error
    except OSError as error:
        # A part of the files may be all that the encoder needs.
        folder = getattr(error, "snapshot_path", None)
    return Path(folder) if folder and is_complete(Path(folder)) else None


def _fetch(hub_id: HubId, data_dir: Path) -> Path:
    """The folder in the Hub's cache, after a download."""
    by_hand = f"or put {CONFIG} and the .safetensors files into {own_folder(hub_id, data_dir)}"
    try:
        from huggingface_hub import constants
    except ImportError as error:
        raise InputError(
            f"{hub_id} is not on this machine, and huggingface_hub, which fetches it, is not "
            f'installed: pip install "jdann[encoders]", {by_hand}'
        ) from error
    if constants.HF_HUB_OFFLINE:
        raise InputError(
            f"{hub_id} is not on this machine, and HF_HUB_OFFLINE forbids to fetch it; unset the "
            f"variable, {by_hand}"
        )
    for version in _with_conversion(hub_id):
        folder = _download(version, by_hand)
        if is_complete(folder):
            return folder
        if not (folder / CONFIG).exists():
            raise InputError(
                f"{version} has no {CONFIG} on the Hub; expected a speech encoder as transformers "
                "writes it"
            )
    raise InputError(
        f"{hub_id} has no safetensors on the Hub, and jdann reads no pickle; a pull request of the "
        f"repository may have them: choose {hub_id.repository}@refs/pr/N; or convert them where "
        "transformers is installed (docs/encoders.md)"
    )


def _download(hub_id: HubId, by_hand: str) -> Path:
    """The folder of those files of a revision that an encoder may need."""
    import huggingface_hub  # an extra, and slow to import
    from huggingface_hub import utils

    known = CATALOGUE.get(hub_id.repository)
    log.info("fetching %s from the Hub%s", hub_id, f" ({known.megabytes} MB)" if known else "")
    hide_bars = not shows_bars() and not utils.are_progress_bars_disabled()
    if hide_bars:
        utils.disable_progress_bars()
    try:
        folder = huggingface_hub.snapshot_download(
            hub_id.repository, revision=hub_id.revision, allow_patterns=_WANTED
        )
    # The kinds of its errors differ between versions and ways to fetch.
    except Exception as error:
        raise _explained(error, hub_id, by_hand) from error
    finally:
        if hide_bars:
            utils.enable_progress_bars()
    return Path(folder)


def _explained(error: Exception, hub_id: HubId, by_hand: str) -> InputError:
    """Why the Hub did not give an encoder, and what to do."""
    from huggingface_hub import constants, errors

    page = f"{constants.ENDPOINT}/{hub_id.repository}"
    if isinstance(error, errors.GatedRepoError):
        reason = f"is only for those who accept its conditions: accept them at {page}, then run "
        reason += "hf auth login"
    elif isinstance(error, errors.RepositoryNotFoundError):
        reason = f"is not on the Hub, or it is private: look at {page}; if you have access, run "
        reason += "hf auth login"
    elif isinstance(error, errors.RevisionNotFoundError):
        reason = f"is not on the Hub, which has no such revision: look at {page}"
    elif isinstance(error, errors.HFValidationError):
        reason = f"is no id of the Hub: {error}"
    elif isinstance(error, OSError) and error.filename is not None:
        reason = f"cannot be written to {constants.HF_HUB_CACHE} ({error.strerror}): free some "
        reason += "space, or set HF_HUB_CACHE to another folder"
    else:
        cause = error.__cause__ or error  # the library hides a failed connection in a longer text
        first_line = (str(cause).strip() or repr(cause)).splitlines()[0]
        reason = f"cannot be fetched from {constants.ENDPOINT} ({first_line}); try again later, "
        reason += by_hand
    return InputError(f"{hub_id} {reason}")
