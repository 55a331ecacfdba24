"""The feature cache: computed once, blind to labels, mended where damaged."""

import numpy as np
import pytest
from ml_collections import FrozenConfigDict

from jdann import corpora
from jdann.configuration import base_config
from jdann.features import store
from jdann.features.recipe import make_recipe
from tests.conftest import EMOTIONS


@pytest.fixture
def extracted(tones, tmp_path):
    config = base_config()

    def run():
        return store.extract(corpora.load(str(tones[0]), EMOTIONS, tmp_path), config.features, config.audio, tmp_path / "cache")

    return run


def test_stored_features_equal_those_of_each_clip_alone(extracted, tones):
    from jdann import audio

    config, features = base_config(), extracted()
    recipe = make_recipe(config.features, config.audio.sample_rate_hz)
    for i in (0, 17, 59):
        utterance = features.utterances[i]
        clip = audio.prepare(*audio.read(utterance.path), audio_config=config.audio).samples
        samples = np.zeros((32, 16000), np.float32)  # the shape that is compiled already
        samples[0, : len(clip)] = clip
        alone, length = recipe.extract(samples, np.array([len(clip)] + [1] * 31, np.int32))
        assert features.length[i] == length[0]
        stored = features.values[features.start[i] : features.start[i] + features.length[i]]
        np.testing.assert_allclose(stored, alone[0, : length[0]], rtol=1e-4, atol=1e-3)


def test_found_again_and_mended_where_damaged(extracted, tmp_path, monkeypatch):
    first = np.array(extracted().values)
    (folder,) = (p for p in (tmp_path / "cache").iterdir() if not p.name.startswith("."))
    with monkeypatch.context() as patch:
        patch.setattr(store, "_write", lambda *_: pytest.fail("computed again"))
        np.testing.assert_array_equal(extracted().values, first)
    for name in ("values.f32", "index.npz", "skipped.json"):
        (folder / name).write_bytes((folder / name).read_bytes()[:-3])
        np.testing.assert_array_equal(extracted().values, first)
    assert [p.name for p in (tmp_path / "cache").iterdir()] == [folder.name]


def test_the_corpora_of_a_run_share_one_program(tones, tmp_path):
    config = base_config()
    for manifest in tones:
        corpus = corpora.load(str(manifest), EMOTIONS, tmp_path)
        store.extract(corpus, config.features, config.audio, tmp_path / "cache")
    _, program = store._program(FrozenConfigDict(config.features), config.audio.sample_rate_hz)
    assert program._cache_size() == 1  # pyright: ignore[reportFunctionMemberAccess]
