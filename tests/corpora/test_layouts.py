"""Layouts that the user chooses: one for each corpus, and what the messages call them."""

import json

import pytest

from jdann import corpora
from jdann.configuration import load_config
from jdann.corpora import Naming
from jdann.errors import InputError
from jdann.experiments.settings import naming_of

EMOTIONS = ("neutral", "happy", "angry", "sad", "surprise")
ESD = "0011/Angry/0011_000351.wav"


@pytest.fixture
def folders(tmp_path):
    """Three folders whose files are named as in ESD, but lie in folders of other emotions."""
    for name in ("a", "b", "c"):
        file = tmp_path / name / "Sad" / ESD.rpartition("/")[2]
        file.parent.mkdir(parents=True)
        file.touch()
    return [str(tmp_path / name) for name in ("a", "b", "c")]


def layouts_read(folders, layout):
    """What each folder was read as: "esd", or None for a plain folder."""
    naming = Naming(layout)
    parts = [
        corpora.load(folder, EMOTIONS, naming=of_folder)
        for folder, of_folder in zip(folders, corpora.namings_of_each(naming, folders), strict=True)
    ]
    merged = corpora.load_all(folders, EMOTIONS, naming=naming)
    speakers = [u.speaker for part in parts for u in part.utterances]
    known = [None if u.speaker is None else u.speaker.split("/")[1] for u in merged.utterances]
    assert known == speakers
    return [u.corpus for part in parts for u in part.utterances]


def test_each_corpus_has_its_layout(folders):
    assert layouts_read(folders, "auto") == ["esd"] * 3
    assert layouts_read(folders, "plain") == [None] * 3
    assert layouts_read(folders, "plain, ESD,auto") == [None, "esd", "esd"]
    for layout in ("plain,esd", "plain,esd,auto,auto"):
        with pytest.raises(InputError, match=r"names \d layouts, and there are 3 corpora; give"):
            corpora.load_all(folders, EMOTIONS, naming=Naming(layout))


@pytest.mark.parametrize("domain", ["source", "target"])
def test_source_and_target_have_their_own(folders, domain):
    other = {"source": "target", "target": "source"}[domain]
    config = load_config("base", [(f"{domain}_layout", "plain")])
    for name, expected in ((domain, None), (other, "esd")):
        naming = naming_of(config, name)
        (utterance,) = corpora.load_all(folders[0], EMOTIONS, naming=naming).utterances
        assert utterance.corpus == expected
    with pytest.raises(InputError, match=rf"^--config\.{domain}_layout=x: no such layout"):
        corpora.load_all(
            folders[0], EMOTIONS, naming=naming_of(config, domain)._replace(layout="x")
        )


def test_a_name_of_no_layout_is_refused_for_tables_too(folders, tmp_path):
    table = tmp_path / "a.csv"
    table.write_text(f"file\na/Sad/{ESD.rpartition('/')[2]}\n")
    with pytest.raises(InputError, match=r"--layout=emobd: no such layout; expected auto, plain"):
        corpora.load_all(str(table), EMOTIONS, naming=Naming("emobd"))


@pytest.mark.parametrize("form", ["py", "json", "override"])
def test_layout_of_an_earlier_config_holds_for_both(tmp_path, form):
    path, overrides = tmp_path / f"config.{form}", []
    if form == "py":
        path.write_text(
            "from jdann.configuration import base_config\n\ndef get_config():\n"
            "    config = base_config()\n    config.layout = 'plain'\n    return config\n"
        )
    elif form == "json":
        path.write_text(json.dumps({"source": "a", "layout": "plain"}))
    else:
        path, overrides = "base", [("layout", "plain")]
    config = load_config(str(path), overrides)
    assert config.source_layout == config.target_layout == "plain" and "layout" not in config


@pytest.mark.parametrize("domain", ["source", "target"])
def test_a_model_of_an_earlier_version_keeps_its_layout(domain):
    assert naming_of({"layout": "esd"}, domain).layout == "esd"
    assert naming_of({}, domain).layout == "auto"
