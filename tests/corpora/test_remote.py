"""Corpora at URLs: the same features as from a folder; what cannot be fetched is listed."""

import shutil
import sys
from pathlib import Path

import pytest

from jdann import audio, corpora
from jdann.configuration import base_config
from jdann.errors import InputError
from jdann.features import store
from jdann.inference.items import find_items
from tests.support.corpora import EMOTIONS, write_manifest
from tests.support.runs import read

fsspec = pytest.importorskip("fsspec")
FOLDER = "memory://bucket/corpus"


@pytest.fixture(scope="module")
def local(tones, tmp_path_factory) -> Path:
    """A manifest of five clips in a folder below its own."""
    folder = tmp_path_factory.mktemp("local")
    (folder / "clips").mkdir()
    rows = [(row["file"], row["emotion"]) for row in read(tones[0])][:5]
    for name, _ in rows:
        shutil.copy(tones[0].parent / name, folder / "clips" / name)
    return write_manifest(
        folder / "list.csv",
        [(f"clips/{name}", emotion) for name, emotion in rows],
        ("file", "emotion"),
    )


@pytest.fixture
def bucket(local):
    """The same files in memory, at FOLDER."""
    system = fsspec.filesystem("memory")
    system.put(str(local.parent), "/bucket/corpus", recursive=True)
    yield system
    system.rm("/bucket", recursive=True)


def features_of(spec, cache):
    return store.extract(
        corpora.load(str(spec), EMOTIONS),
        recipe_name="frames",
        settings=base_config().features,
        audio_settings=audio.AudioSettings(speech_only=False),
        cache=cache,
    )


@pytest.fixture
def expected(local, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "_BATCH", 4)
    return [values.tobytes() for values in features_of(local, tmp_path / "expected").read()]


def test_a_manifest_at_a_url_gives_the_same_features(bucket, expected, tmp_path):
    features = features_of(f"{FOLDER}/list.csv", tmp_path / "cache")
    assert [values.tobytes() for values in features.read()] == expected
    assert [u.path for u in features.utterances][:1] == [f"{FOLDER}/clips/0-0-0.wav"]
    assert not features.skipped


def test_a_manifest_on_disk_names_files_at_urls(bucket, local, expected, tmp_path):
    rows = [(f"{FOLDER}/{row['file']}", row["emotion"]) for row in read(local)]
    rows.insert(2, (f"{FOLDER}/clips/missing.wav", "sad"))
    rows.insert(4, (f"{FOLDER}/list.csv", "sad"))
    path = write_manifest(tmp_path / "urls.csv", rows, ("file", "emotion"))
    features = features_of(path, tmp_path / "cache")
    assert [values.tobytes() for values in features.read()] == expected
    assert {clip.file: clip.reason.partition(",")[0] for clip in features.skipped} == {
        f"{FOLDER}/clips/missing.wav": "file not found",
        f"{FOLDER}/list.csv": "not audio",
    }


def test_a_changed_file_changes_the_fingerprint(bucket):
    def fingerprint():
        return corpora.fingerprint(corpora.load(f"{FOLDER}/list.csv", EMOTIONS))

    before = fingerprint()
    assert fingerprint() == before
    bucket.pipe("/bucket/corpus/clips/0-0-0.wav", b"another content")
    assert fingerprint() != before


def test_predictions_take_urls(bucket):
    urls = [item.part.path for item in find_items([f"{FOLDER}/list.csv", f"{FOLDER}/a.wav"])]
    assert urls[0] == f"{FOLDER}/clips/0-0-0.wav" and urls[-1] == f"{FOLDER}/a.wav"
    samples, rate_hz = audio.read(urls[0])
    assert rate_hz == 16000 and len(samples) > 1000
    (first, *_) = audio.windows(urls[0], 0.1, 0.1)
    assert len(first[1]) == 1600


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (f"{FOLDER}/none.csv", "none.csv: file not found"),
        (FOLDER, "expected a manifest"),
        ("nothing://bucket/list.csv", "nothing://bucket/list.csv: cannot be opened"),
    ],
)
def test_a_wrong_url_gets_one_line(bucket, url, message):
    with pytest.raises(InputError, match=message) as error:
        corpora.load(url, EMOTIONS)
    assert "\n" not in str(error.value)


def test_a_mistake_in_a_manifest_is_told_by_its_url(bucket):
    bucket.pipe("/bucket/corpus/wrong.csv", b"file,emotion\na.wav,hapy\n")
    with pytest.raises(InputError, match=rf"^{FOLDER}/wrong.csv: .*the first in line 2"):
        corpora.load(f"{FOLDER}/wrong.csv", EMOTIONS)


def test_without_fsspec_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(InputError, match=r'needs fsspec: pip install "jdann\[cluster\]"'):
        corpora.load(f"{FOLDER}/list.csv", EMOTIONS)


def test_a_file_url_is_a_path(local):
    corpus = corpora.load(local.as_uri(), EMOTIONS)
    assert len(corpus.utterances) == 5
