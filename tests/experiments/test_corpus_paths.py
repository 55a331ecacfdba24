"""Corpora that a config names by path are the same ones from any current directory."""

import pytest

from jdann.configuration import load_config
from jdann.experiments.corpus_paths import make_absolute, with_absolute_paths
from jdann.experiments.evaluate import folder_name


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current directory, with a manifest and a folder of audio."""
    folder = (tmp_path / "work").resolve()
    (folder / "clips").mkdir(parents=True)
    (folder / "a.csv").write_text("file\n")
    (folder.parent / "b.csv").write_text("file\n")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("demo:en", "demo:en"),
        ("auto:zh", "auto:zh"),
        ("a.csv", "{folder}/a.csv"),
        ("./a.csv", "{folder}/a.csv"),
        ("../b.csv", "{folder}/../b.csv"),
        ("clips", "{folder}/clips"),
        ("clips/", "{folder}/clips"),
        (".", "{folder}"),
        ("a.csv:en", "{folder}/a.csv:en"),
        ("a.csv, demo:en,clips:zh", "{folder}/a.csv,demo:en,{folder}/clips:zh"),
        ("absent.csv", "absent.csv"),
        ("~nobody-of-this-name/a.csv", "~nobody-of-this-name/a.csv"),
        ("", ""),
    ],
)
def test_paths_become_absolute_and_names_stay(folder, spec, expected):
    absolute = make_absolute(spec)
    assert absolute == expected.format(folder=folder).replace(f"{folder}/..", str(folder.parent))
    assert make_absolute(absolute) == absolute


def test_the_home_directory_and_links_keep_their_meaning(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    assert make_absolute("~/a.csv") == f"{folder}/a.csv"
    (folder / "link.csv").symlink_to("a.csv")  # a corpus is named after the link
    assert make_absolute("link.csv") == f"{folder}/link.csv"


def test_a_comma_in_a_folder_does_not_split_its_path(folder, monkeypatch):
    (folder / "x,y").mkdir()
    (folder / "x,y" / "a.csv").write_text("file\n")
    (folder / "x,y" / "b.csv").write_text("file\n")
    assert make_absolute("x,y/a.csv") == f"{folder}/x,y/a.csv"
    monkeypatch.chdir(folder / "x,y")
    assert make_absolute("a.csv,b.csv") == "a.csv,b.csv"  # there is no unambiguous form


def test_only_the_two_domains_of_a_config_change(folder):
    config = load_config("base", [("source", "a.csv"), ("target", "demo:zh")])
    changed = with_absolute_paths(config)
    assert (changed.source, changed.target) == (f"{folder}/a.csv", "demo:zh")
    assert changed.to_dict() == config.to_dict() | {"source": f"{folder}/a.csv"}


def test_every_corpus_has_a_folder_of_its_own_in_evaluation(folder):
    specs = [
        "demo:en",
        "/data/demo-en",
        "/data/a/b.csv",
        "/data/a-b.csv",
        "/other/a-b.csv",
        "/data/a-b.csv,demo:en",
        "/data/" + "long" * 60,
        "/data/语音.csv",
        "/",
    ]
    names = [folder_name(spec) for spec in specs]
    assert len(set(names)) == len(specs)
    assert names[0] == "demo-en" and names[2].startswith("b.csv-")
    for name in names:
        (folder / "evaluation" / name).mkdir(parents=True)
    assert {path.name for path in (folder / "evaluation").iterdir()} == set(names)
