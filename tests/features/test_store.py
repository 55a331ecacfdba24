"""The feature cache: found again, repaired after damage, continued after an interruption."""

import shutil
import zlib

import numpy as np
import pytest

from jdann import audio, corpora
from jdann.configuration import base_config
from jdann.features import store
from jdann.features.journal import Entry, Journal
from jdann.features.recipe import make_recipe, recipe_sizes
from tests.support.corpora import EMOTIONS

TONES = audio.AudioSettings(speech_only=False)  # the corpus holds tones
CHANGED_NAME = "5456293e314c706ba9d9"


@pytest.fixture
def extracted(tones, tmp_path):
    def run():
        return extract(corpora.load(str(tones[0]), EMOTIONS, tmp_path), tmp_path / "cache")

    return run


def extract(corpus, cache):
    return store.extract(
        corpus,
        recipe_name="frames",
        settings=base_config().features,
        audio_settings=TONES,
        cache=cache,
    )


def test_the_cache_keeps_its_names_until_features_change(extracted, tones, tmp_path):
    settings = base_config().features
    # These names were computed by features of version 3, for the fingerprint "0123abcd".
    name = store.cache_name("0123abcd", "frames", settings, TONES)
    assert name == "d815fcd88afe98f2725a"
    settings.n_mels, settings.voice = 80, True
    unlevelled = TONES._replace(level_db=0.0)
    assert store.cache_name("0123abcd", "statistics", settings, unlevelled) == CHANGED_NAME
    # Settings that do not change the features do not change the name.
    settings.relevance, settings.normalise = 7.0, "corpus"
    assert store.cache_name("0123abcd", "statistics", settings, unlevelled) == CHANGED_NAME
    # Missing settings are the defaults.
    assert store.cache_name("0123abcd", "frames", {}, TONES) == name

    corpus = corpora.load(str(tones[0]), EMOTIONS, tmp_path)
    settings = base_config().features
    expected = store.cache_name(corpora.fingerprint(corpus), "frames", settings, TONES)
    extracted()
    assert [folder.name for folder in (tmp_path / "cache").iterdir()] == [expected]


def test_stored_features_equal_those_of_each_clip_alone(extracted, tones):
    config, features = base_config(), extracted()
    recipe = make_recipe("frames", config.features, config.audio.sample_rate_hz)
    for i in (0, 17, 59):
        utterance = features.utterances[i]
        clip = audio.prepare(*audio.read(utterance.path), TONES).samples
        samples = np.zeros((32, 16000), np.float32)  # a shape that has been compiled
        samples[0, : len(clip)] = clip
        alone, length = recipe.extract(samples, np.array([len(clip)] + [1] * 31, np.int32))
        assert features.length[i] == length[0]
        (stored,) = features.read([i])
        np.testing.assert_allclose(stored, alone[0, : length[0]], rtol=1e-4, atol=1e-3)


def test_features_are_found_again_and_repaired_after_damage(extracted, tmp_path, monkeypatch):
    first = np.concatenate(list(extracted().read()))
    (folder,) = (p for p in (tmp_path / "cache").iterdir() if not p.name.startswith("."))
    with monkeypatch.context() as patch:
        patch.setattr(store, "write_computed", lambda *_: pytest.fail("computed again"))
        np.testing.assert_array_equal(np.concatenate(list(extracted().read())), first)
    for name in ("values.f32", "index.npz", "skipped.json"):
        (folder / name).write_bytes((folder / name).read_bytes()[:-3])
        np.testing.assert_array_equal(np.concatenate(list(extracted().read())), first)
    assert [p.name for p in (tmp_path / "cache").iterdir()] == [folder.name]


def test_an_interrupted_run_is_continued_to_the_same_features(extracted, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "_BATCH", 8)
    whole = extracted()
    (folder,) = (tmp_path / "cache").iterdir()
    shutil.rmtree(folder)
    prepare, calls = audio.prepare, []

    def interrupted(*args, **options):
        calls.append(args)
        if len(calls) == 45:
            raise KeyboardInterrupt
        return prepare(*args, **options)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(audio, "prepare", interrupted)
        patch.setattr(store, "_DECODED", 1)
        extracted()
    assert not folder.exists()
    calls.clear()
    monkeypatch.setattr(
        audio, "prepare", lambda *args, **options: calls.append(args) or prepare(*args, **options)
    )
    repeated = extracted()
    assert 16 <= len(calls) <= 36  # of sixty: the first run stored at least three batches of eight
    assert [p.name for p in (tmp_path / "cache").iterdir()] == [folder.name]
    assert repeated.utterances == whole.utterances and not repeated.skipped
    np.testing.assert_array_equal(repeated.length, whole.length)
    np.testing.assert_array_equal(repeated.duration_s, whole.duration_s)
    for rows in zip(repeated.read(), whole.read(), strict=True):
        np.testing.assert_allclose(*rows, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("damage", ["torn line", "values lost", "nonsense"])
def test_a_damaged_journal_keeps_its_intact_entries(tmp_path, damage):
    rows = [np.full((n, 2), n, np.float32) for n in (1, 2, 3)]
    with Journal(tmp_path, 2, count=9) as journal:
        for i, x in enumerate(rows):
            journal.add(i, x, duration_s=0.5, cut=i == 1)
        journal.skip(7, "silent")
    lines, values = tmp_path / "journal.jsonl", tmp_path / "values.f32"
    if damage == "torn line":
        lines.write_bytes(lines.read_bytes()[:-3])
    elif damage == "values lost":
        values.write_bytes(values.read_bytes()[:-1])
    else:
        lines.write_text(lines.read_text().replace("[2,", "{2,"))
    kept = {"torn line": [0, 1, 2], "values lost": [0, 1], "nonsense": [0, 1]}[damage]
    with Journal(tmp_path, 2, count=9) as journal:
        assert list(journal.entries) == kept
        assert journal.entries[1] == Entry(1, 2, 0.5, True, checksum=zlib.crc32(rows[1].tobytes()))
        journal.add(5, np.full((4, 2), 9, np.float32), duration_s=1.0, cut=False)
    stored = np.fromfile(values, np.float32).reshape(-1, 2)
    np.testing.assert_array_equal(
        stored, np.concatenate([*(rows[i] for i in kept), np.full((4, 2), 9)])
    )


def test_a_killed_run_keeps_what_was_flushed(tmp_path):
    with Journal(tmp_path, 1, count=9) as killed:  # closed only after all has been compared
        killed.add(0, np.ones((5, 1)), duration_s=1.0, cut=False)
        killed.flush()
        killed.add(1, np.ones((5, 1)), duration_s=1.0, cut=False)
        with Journal(tmp_path, 1, count=9) as journal:
            assert list(journal.entries) == [0]
        assert (tmp_path / "values.f32").stat().st_size == 20


def test_the_corpora_of_a_run_share_one_program(tones, tmp_path):
    for manifest in tones:
        corpus = corpora.load(str(manifest), EMOTIONS, tmp_path)
        extract(corpus, tmp_path / "cache")
    sizes = tuple(recipe_sizes("frames").items())
    _, program = store.compiled_recipe("frames", sizes, 16000, store._BATCH)
    assert program.cache_info().misses == 1  # pyright: ignore[reportFunctionMemberAccess]
