"""Encoders are found on this machine first, and the Hub's refusals become one sentence each."""

import functools
import pickle
import socket
import sys
from pathlib import Path

import numpy as np
import pytest

from jdann.errors import InputError
from jdann.pretrained.catalogue import CATALOGUE
from jdann.pretrained.hub import find_on_machine, find_or_fetch, parse_id
from tests.support.fake_hub import FakeHub, serving
from tests.support.tiny_encoder import random_tensors, write_encoder, write_shards

ID = "some-lab/tiny-encoder_1.0"
PREPROCESSOR = {"preprocessor_config.json": b'{"do_normalize": true}'}


@pytest.fixture
def connections(monkeypatch) -> list:
    """The addresses that anything wanted to reach; none is reached."""
    wanted = []

    def refuse(_, address):
        wanted.append(address)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *address, **_: refuse(None, address))
    return wanted


@pytest.fixture
def library(monkeypatch, tmp_path):
    """huggingface_hub with an empty cache."""
    huggingface_hub = pytest.importorskip("huggingface_hub")
    cache = tmp_path / "hub-cache"
    snapshot_download = functools.partial(huggingface_hub.snapshot_download, cache_dir=cache)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    return huggingface_hub


@pytest.fixture
def server(monkeypatch, library):
    """A hub on this machine, which huggingface_hub asks."""
    with serving() as hub:
        ask_here = functools.partial(library.snapshot_download, endpoint=hub.url, token=False)
        monkeypatch.setattr(library, "snapshot_download", ask_here)
        yield hub


@pytest.fixture
def no_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)


def refusal(name: str, data_dir: Path) -> str:
    with pytest.raises(InputError) as caught:
        find_or_fetch(name, data_dir)
    return str(caught.value)


@pytest.mark.parametrize("revision", ["v1", "main", "refs/pr/3", "0af" * 13])
def test_an_id_may_name_a_revision(revision):
    assert parse_id(ID) == (ID, None)
    assert parse_id(f"{ID}@{revision}") == (ID, revision)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            "encoder",
            "a/b/c",
            "~/a",
            "~nobody-here/a",
            "../a",
            "a/..",
            "a/b@",
            "a/b@../c",
        ),
        *("a/b@-\n", "a b/c", "https://huggingface.co/a/b", "a/b\0", "é/b", "x" * 5000, "a/b@c d"),
    ],
)
def test_what_is_no_folder_and_no_id_is_refused(tmp_path, name, connections):
    message = refusal(name, tmp_path)
    assert "neither a folder nor an id of the Hub" in message and len(message) < 400
    assert not connections


def test_a_folder_that_has_gone_is_named(tmp_path, connections):
    folder = str(tmp_path / "gone")
    assert f"{folder!r}: there is no such folder; put it back" in refusal(folder, tmp_path)
    assert not connections


@pytest.mark.parametrize(
    "name", ["hubert-base-ls960", "facebook/hubert-base-ls960/", "HuBERT-base-ls960"]
)
def test_a_similar_id_is_suggested(tmp_path, name):
    assert "did you mean facebook/hubert-base-ls960?" in refusal(name, tmp_path)


def test_a_folder_comes_before_an_id(tmp_path, monkeypatch, connections):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    write_encoder(tmp_path / ID)
    assert find_or_fetch(ID, tmp_path) == Path(ID)
    assert find_or_fetch(f"~/{ID}", tmp_path) == tmp_path / ID
    assert not connections


@pytest.mark.parametrize("name", [ID, f"{ID}@refs/pr/3"])
def test_files_in_the_data_directory_need_no_library(tmp_path, no_library, connections, name):
    folder = tmp_path / "jdann" / "encoders" / name.replace("/", "--")
    write_encoder(folder)
    assert find_or_fetch(name, tmp_path) == folder
    assert find_on_machine(f"{ID}@other", tmp_path) is None
    assert not connections


def test_without_the_library_the_sentence_says_how_to_go_on(tmp_path, no_library):
    message = refusal(ID, tmp_path)
    assert 'pip install "jdann[encoders]"' in message
    assert str(tmp_path / "jdann" / "encoders" / "some-lab--tiny-encoder_1.0") in message


def test_offline_only_this_machine_is_asked(tmp_path, library, monkeypatch, connections):
    monkeypatch.setattr(library.constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in refusal(ID, tmp_path)
    assert "HF_HUB_OFFLINE" in refusal("facebook/hubert-base-ls960", tmp_path)
    assert not connections


def test_without_a_network_the_sentence_says_how_to_go_on(tmp_path, library, connections):
    message = refusal(ID, tmp_path)
    assert "cannot be fetched from" in message and str(tmp_path / "jdann") in message
    assert connections


def test_what_was_fetched_once_is_found_without_a_network(
    tmp_path, server: FakeHub, library, monkeypatch
):
    more = {"pytorch_model.bin": b"", "model.fp32-00001-of-00002.safetensors": b"", "a.md": b""}
    server.add(ID, write_encoder(tmp_path / "published"), **more, **PREPROCESSOR)
    assert find_on_machine(ID, tmp_path) is None
    folder = find_or_fetch(ID, tmp_path)
    names = {"config.json", "preprocessor_config.json", "model.safetensors"}
    assert {path.name for path in folder.iterdir()} == names
    asked = len(server.requests)
    assert find_or_fetch(ID, tmp_path) == find_on_machine(ID, tmp_path) == folder
    monkeypatch.setattr(library.constants, "HF_HUB_OFFLINE", True)
    assert find_or_fetch(ID, tmp_path) == folder
    assert len(server.requests) == asked


def test_shards_are_fetched_and_counted(tmp_path, server: FakeHub):
    published = write_shards(tmp_path / "published", random_tensors())
    server.add(ID, published, **PREPROCESSOR)
    folder = find_or_fetch(ID, tmp_path)
    assert len(list(folder.glob("model-*.safetensors"))) == 3
    next(folder.glob("model-*.safetensors")).unlink()
    assert find_on_machine(ID, tmp_path) is None


def test_an_incomplete_copy_is_completed_or_used_as_it_is(tmp_path, server: FakeHub, library):
    published = write_encoder(tmp_path / "published")
    server.add(ID, published, **PREPROCESSOR)
    library.snapshot_download(ID, allow_patterns=["config.json", "model.safetensors"])
    server.refusals[ID] = (500, "")
    folder = find_or_fetch(ID, tmp_path)
    assert not (folder / "preprocessor_config.json").exists()
    server.refusals.clear()
    assert (find_or_fetch(ID, tmp_path) / "preprocessor_config.json").exists()


def test_known_conversions_to_safetensors_are_used(tmp_path, server: FakeHub):
    name = "facebook/hubert-base-ls960"
    published = write_encoder(tmp_path / "published")
    server.add(name, published, CATALOGUE[name].safetensors_revision, **PREPROCESSOR)
    (published / "model.safetensors").unlink()
    server.add(name, published, **{"pytorch_model.bin": pickle.dumps(np.ones(3))})
    folder = find_or_fetch(name, tmp_path)
    assert (folder / "model.safetensors").exists()
    asked = len(server.requests)
    assert find_or_fetch(name, tmp_path) == folder
    assert len(server.requests) == asked
    assert "has no safetensors" in refusal(f"{name}@main", tmp_path)


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (401, "RepoNotFound", "is not on the Hub, or it is private"),
        (404, "RepoNotFound", "is not on the Hub, or it is private"),
        (403, "GatedRepo", "is only for those who accept its conditions"),
        (401, "GatedRepo", "is only for those who accept its conditions"),
        (404, "RevisionNotFound", "no such revision"),
        (500, "", "cannot be fetched"),
        (403, "", "cannot be fetched"),
        (418, "", "cannot be fetched"),
    ],
)
def test_each_refusal_of_the_hub_is_a_sentence(tmp_path, server: FakeHub, status, code, says):
    server.refusals[ID] = (status, code)
    message = refusal(ID, tmp_path)
    assert says in message and ID in message and "\n" not in message


def test_a_model_without_safetensors_is_refused(tmp_path, server: FakeHub):
    published = write_encoder(tmp_path / "published")
    (published / "model.safetensors").rename(published / "pytorch_model.bin")
    server.add(ID, published)
    assert f"choose {ID}@refs/pr/N" in refusal(ID, tmp_path)


def test_a_repository_that_is_no_model_is_refused(tmp_path, server: FakeHub):
    (tmp_path / "published").mkdir()
    server.add(ID, tmp_path / "published", **{"notes.md": b"notes"})
    assert "has no config.json on the Hub" in refusal(ID, tmp_path)


def test_a_name_that_only_the_hub_refuses_is_a_sentence(tmp_path, library):
    assert "is no id of the Hub" in refusal(f"lab/{'x' * 100}", tmp_path)


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device", "blobs/1"),
        PermissionError(13, "Permission denied", "blobs/1"),
    ],
    ids=repr,
)
def test_a_full_disk_is_not_blamed_on_the_network(tmp_path, library, monkeypatch, error):
    def download(*_, local_files_only=False, **__):
        raise library.errors.LocalEntryNotFoundError("") if local_files_only else error

    monkeypatch.setattr(library, "snapshot_download", download)
    message = refusal(ID, tmp_path)
    assert f"cannot be written to {library.constants.HF_HUB_CACHE}" in message
    assert error.strerror in message


@pytest.mark.parametrize("error", [RuntimeError("Xet: \nlong trace"), ValueError(), TimeoutError()])
def test_errors_of_every_other_kind_are_a_sentence_too(tmp_path, library, monkeypatch, error):
    def download(*_, local_files_only=False, **__):
        raise library.errors.LocalEntryNotFoundError("") if local_files_only else error

    monkeypatch.setattr(library, "snapshot_download", download)
    message = refusal(ID, tmp_path)
    assert "cannot be fetched from" in message and "long trace" not in message


def test_an_interrupt_stays_one(tmp_path, library, monkeypatch):
    def download(*_, local_files_only=False, **__):
        raise library.errors.LocalEntryNotFoundError("") if local_files_only else KeyboardInterrupt

    monkeypatch.setattr(library, "snapshot_download", download)
    with pytest.raises(KeyboardInterrupt):
        find_or_fetch(ID, tmp_path)
