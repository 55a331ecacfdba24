"""What is known about published encoders, and how `jdann encoders` shows it."""

import json
import sys

import pytest

from jdann.cli import main
from jdann.pretrained import load
from jdann.pretrained.catalogue import CATALOGUE, RESEMBLYZER
from jdann.pretrained.hub import parse_id
from tests.support.tiny_encoder import SETTINGS, write_encoder


@pytest.fixture(autouse=True)
def without_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.setitem(load.FAMILIES, "tiny", "tests.support.tiny_encoder")


def printed(capsys, *arguments) -> str:
    main(["encoders", *map(str, arguments)])
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("name", CATALOGUE)
def test_each_entry_can_be_asked_for(name):
    known = CATALOGUE[name]
    if known.package is None:
        assert parse_id(name).revision is None
        assert known.family in load.FAMILIES
        if known.safetensors_revision is not None:
            parse_id(f"{name}@{known.safetensors_revision}")
    # Weights of 4 or 2 bytes each; a wheel is packed and may hold more than one model.
    assert 1.9 < known.megabytes / known.parameters_m < 4.2 or known.package is not None
    assert known.source.startswith(("arXiv:", "github.com/"))


def test_all_that_are_known_are_listed(tmp_path, capsys):
    write_encoder(tmp_path / "jdann" / "encoders" / "microsoft--wavlm-base")
    text = printed(capsys, "--data-dir", tmp_path)
    for name, known in CATALOGUE.items():
        assert name in text and known.licence in text
    assert "microsoft/wavlm-base 378 MB yes" in text
    assert "microsoft/wavlm-large 1260 MB no" in text
    assert "smart-turn-v3.2 12 MB by pip" in text


@pytest.mark.parametrize("name", CATALOGUE)
def test_one_is_described_before_it_is_fetched(tmp_path, capsys, name):
    text = printed(capsys, name, "--data-dir", tmp_path)
    known = CATALOGUE[name]
    assert known.licence in text and known.source in text
    assert " ".join(known.trained_on.split()) in text
    assert ("not on this machine" in text) == (name != RESEMBLYZER)


def test_one_on_this_machine_is_described_by_its_files(tmp_path, capsys):
    folder = write_encoder(tmp_path / "jdann" / "encoders" / "facebook--hubert-base-ls960")
    text = printed(capsys, "facebook/hubert-base-ls960", "--data-dir", tmp_path)
    assert "Apache-2.0" in text and str(folder) in text.replace(" ", "")
    assert "tiny, 2 blocks, 3 hidden states of width 6" in text
    assert "used parameters 1,992" in text
    assert load.load_encoder(str(folder)).digest in text


def test_a_folder_is_described(tmp_path, capsys):
    text = printed(capsys, write_encoder(tmp_path / "mine"))
    assert "50 per second" in text and "licence" not in text


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("config.json", json.dumps(SETTINGS | {"model_type": "bert"}), "is 'bert'"),
        ("model.safetensors", "", "is damaged"),
    ],
)
def test_what_is_wrong_with_a_folder_is_said(tmp_path, capsys, name, content, says):
    folder = write_encoder(tmp_path / "jdann" / "encoders" / "facebook--hubert-base-ls960")
    (folder / name).write_text(content)
    with pytest.raises(SystemExit) as end:
        main(["encoders", "facebook/hubert-base-ls960", "--data-dir", str(tmp_path)])
    output = capsys.readouterr()
    assert end.value.code == 2 and says in output.err and "Apache-2.0" in output.out


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("hubert", "neither a folder nor an id"),
        ("", "neither a folder nor an id"),
        ("/no/such/folder", "there is no such folder"),
    ],
)
def test_what_is_no_encoder_is_refused(capsys, name, says):
    with pytest.raises(SystemExit) as end:
        main(["encoders", name])
    assert end.value.code == 2 and says in capsys.readouterr().err
