"""Recipes of a pretrained encoder: the numbers of the encoder itself, and their cache."""

from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from jdann import audio, corpora
from jdann.errors import InputError
from jdann.features import journal, store
from jdann.features.journal import Journal
from jdann.features.pretrained_recipes import layer_numbers
from jdann.features.prosody import PROSODIC
from jdann.features.recipe import make_recipe
from jdann.pretrained.load import load_encoder
from tests.support.corpora import EMOTIONS

ENCODER = str(Path(__file__).parents[1] / "pretrained" / "references" / "hubert_base")
SETTINGS = {"encoder": ENCODER, "encoder_digest": "", "layers": "1,2", "beside": "prosody"}
WIDTH, LAYERS = 24, 3
FAMILIES = sorted(path.parent.name for path in Path(ENCODER).parent.glob("*/config.json"))
TONES = audio.AudioSettings(speech_only=False)


@pytest.fixture(scope="module")
def clips() -> tuple[np.ndarray, np.ndarray]:
    """Noise [2, samples] whose padding is not silent, and lengths [2]."""
    samples = np.random.default_rng(0).normal(size=(2, 16000)).astype(np.float32)
    return samples, np.array([9000, 16000], np.int32)


def extract(corpus, folder, **changes):
    settings = SETTINGS | changes
    recipe = settings.pop("recipe", "pretrained")
    return store.extract(
        corpus, recipe_name=recipe, settings=settings, audio_settings=TONES, cache=folder
    )


def test_vectors_are_means_and_deviations_of_the_frames_of_each_layer(clips):
    samples, length = clips
    encoder = load_encoder(ENCODER)
    hidden = encoder.architecture.module.apply({"params": encoder.params}, samples, length)
    recipe = make_recipe("pretrained", SETTINGS | {"beside": "none"}, 16000)
    values, frames = jax.jit(recipe.extract)(samples, length)
    assert (frames == 1).all() and values.shape == (2, len(recipe.bins))
    for clip in range(2):
        expected = []
        for layer in (1, 2):
            valid = np.asarray(hidden.states[layer][clip, : hidden.length[clip]])
            expected += [valid.mean(0), valid.std(0)]
        np.testing.assert_allclose(values[clip], np.concatenate(expected), rtol=2e-3, atol=2e-3)
    assert recipe.bins[0] == "layer1_mean_00" and recipe.bins[-1] == "layer2_std_23"


def test_frames_are_the_states_of_the_layer(clips):
    samples, length = clips
    encoder = load_encoder(ENCODER)
    hidden = encoder.architecture.module.apply({"params": encoder.params}, samples, length)
    recipe = make_recipe("pretrained_frames", SETTINGS | {"layers": "2"}, 16000)
    frames, count = recipe.extract(samples, length)
    np.testing.assert_array_equal(count, hidden.length)
    np.testing.assert_allclose(frames, hidden.states[2], rtol=1e-3, atol=1e-3)  # float16
    assert recipe.hop_s == 0.02 and not recipe.is_vector and recipe.dtype == "float16"


def test_weights_are_an_argument_or_constants_with_the_same_result(clips):
    recipe = make_recipe("pretrained", SETTINGS | {"beside": "none"}, 16000)
    first = jax.jit(recipe.extract)(*clips)
    second = jax.jit(recipe.compute)(recipe.weights, *clips)
    np.testing.assert_allclose(first[0], second[0], rtol=1e-4, atol=1e-4)
    assert make_recipe("frames", {}, 16000).weights == ()


def test_another_choice_of_layers_computes_nothing_again(tones, tmp_path, monkeypatch):
    corpus = corpora.load(str(tones[0]), EMOTIONS, tmp_path)
    both = extract(corpus, tmp_path / "cache")
    assert both.bins == len(PROSODIC) + 2 * 2 * WIDTH
    stored = {path.name for path in (tmp_path / "cache").rglob("values.*")}
    assert stored == {"values.f16", "values.f32"}
    monkeypatch.setattr(store, "write_computed", lambda *_: pytest.fail("computed again"))
    second = extract(corpus, tmp_path / "cache", layers="2")
    alone = extract(corpus, tmp_path / "cache", layers="all", beside="none")
    for i in (0, 17, 59):
        (joined,), (one,), (every,) = (x.read([i]) for x in (both, second, alone))
        np.testing.assert_array_equal(joined[:, : len(PROSODIC)], one[:, : len(PROSODIC)])
        np.testing.assert_array_equal(joined[:, -2 * WIDTH :], one[:, len(PROSODIC) :])
        np.testing.assert_array_equal(joined[:, len(PROSODIC) :], every[:, 2 * WIDTH :])
    assert alone.bins == LAYERS * 2 * WIDTH


@pytest.mark.slow
def test_stored_values_are_those_of_each_clip_alone(tones, tmp_path):
    corpus = corpora.load(str(tones[0]), EMOTIONS, tmp_path)
    features = extract(corpus, tmp_path / "cache")
    recipe = make_recipe("pretrained", SETTINGS, 16000)
    for i in (0, 59):
        clip = audio.prepare(*audio.read(features.utterances[i].path), TONES).samples
        alone, _ = recipe.extract(clip[None], np.array([len(clip)], np.int32))
        (stored,) = features.read([i])
        np.testing.assert_allclose(stored, alone, rtol=3e-3, atol=3e-3)
        prosody, _ = make_recipe("prosody", {}, 16000).extract(clip[None], np.array([len(clip)]))
        first = stored[:, : len(PROSODIC)]
        np.testing.assert_allclose(first, prosody, rtol=3e-3, atol=3e-3)


def test_the_cache_depends_on_the_weights_and_not_on_their_place(tmp_path):
    copy = tmp_path / "elsewhere"
    copy.mkdir()
    for name in ("config.json", "model.safetensors"):
        (copy / name).write_bytes((Path(ENCODER) / name).read_bytes())
    names = [
        store.cache_name("0123", "layer_statistics", SETTINGS | {"encoder": encoder}, TONES)
        for encoder in (ENCODER, str(copy), ENCODER.replace("hubert_base", "wav2vec2_base"))
    ]
    assert names[0] == names[1] != names[2]


def test_each_precision_has_a_cache_of_its_own(tones, tmp_path):
    corpus = corpora.load(str(tones[0]), EMOTIONS, tmp_path)
    exact, mixed = (
        extract(corpus, tmp_path / "cache", encoder_precision=precision)
        for precision in ("float32", "mixed")
    )
    kept = sorted(path.name for path in (tmp_path / "cache").rglob("values.*"))
    assert kept == ["values.f16", "values.f16", "values.f32"]  # both share the prosody
    acoustic = len(PROSODIC)
    for (one,), (other,) in ((exact.read([i]), mixed.read([i])) for i in (0, 17, 59)):
        np.testing.assert_array_equal(one[:, :acoustic], other[:, :acoustic])
        assert not np.array_equal(one, other)
        assert_within_bfloat16(other[:, acoustic:], one[:, acoustic:])


def test_caches_of_float32_keep_the_names_that_they_had_without_other_precisions():
    for recipe, name in (
        ("layer_statistics", "3187761f9a348a3f217d"),
        ("pretrained_frames", "a8ece1152eb5e0957c33"),
    ):
        for settings in (SETTINGS, SETTINGS | {"encoder_precision": "float32"}):
            assert store.cache_name("0123", recipe, settings, TONES) == name
        mixed = SETTINGS | {"encoder_precision": "mixed"}
        assert store.cache_name("0123", recipe, mixed, TONES) != name


def assert_within_bfloat16(actual, expected):
    """Each factor is rounded by 1/256 of its size at most, and there are a dozen products."""
    assert np.linalg.norm(actual - expected) < 0.03 * np.linalg.norm(expected)


@pytest.mark.parametrize(
    "name", ["wav2vec2_large", pytest.param("wavlm_base", marks=pytest.mark.slow)]
)
def test_mixed_precision_changes_the_frames_a_little(name, clips):
    settings = SETTINGS | {"encoder": str(Path(ENCODER).with_name(name)), "layers": "2"}
    exact, mixed = (
        make_recipe("pretrained_frames", settings | {"encoder_precision": precision}, 16000)
        for precision in ("float32", "mixed")
    )
    (expected, _), (actual, count) = (jax.jit(r.extract)(*clips) for r in (exact, mixed))
    assert exact.bins == mixed.bins and actual.dtype == np.float32
    for clip in range(2):
        rows = slice(0, count[clip])
        assert not np.array_equal(actual[clip, rows], expected[clip, rows])
        assert_within_bfloat16(actual[clip, rows], expected[clip, rows])


@pytest.mark.parametrize(
    ("recipe", "changes", "message"),
    [
        ("pretrained", {"layers": "3"}, "numbers from 0 to 2"),
        ("pretrained", {"layers": "1,1"}, "each once"),
        ("pretrained", {"layers": "auto"}, 'expected "all"'),
        ("pretrained_frames", {"layers": "-1"}, "numbers from 0 to 2"),
        ("pretrained", {"encoder": ""}, "features.encoder"),
        ("pretrained", {"encoder": "nowhere/at all"}, "nowhere/at all"),
        ("pretrained_frames", {"encoder_digest": "0" * 32}, "0" * 32 + " is expected"),
        ("pretrained", {"beside": "nothing"}, "beside"),
        ("pretrained_frames", {"encoder_precision": "bfloat16"}, "one of float32, mixed"),
    ],
)
def test_what_cannot_be_used_is_named(recipe, changes, message):
    with pytest.raises(InputError, match=message):
        make_recipe(recipe, SETTINGS | changes, 16000)


def test_another_sampling_rate_is_refused():
    with pytest.raises(InputError, match="16000"):
        make_recipe("pretrained", SETTINGS, 22050)


def test_layers_are_listed_by_number_or_all():
    assert layer_numbers("all", 3, "x") == (0, 1, 2)
    assert layer_numbers("2, 0", 3, "x") == (2, 0)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("recipe", ["pretrained", "pretrained_frames"])
def test_every_family_can_be_traced(recipe, name):
    encoder = str(Path(ENCODER).with_name(name))
    assert make_recipe(recipe, SETTINGS | {"encoder": encoder}, 16000).bins


@pytest.mark.parametrize(
    ("error", "lost"),
    [(OSError("stopped"), 11), (MemoryError("stopped"), 0)],
    ids=["kill", "error"],
)
def test_an_end_in_the_middle_costs_little(tones, tmp_path, monkeypatch, error, lost):
    """By a clock on which the encoder needs a second for each clip.

    The journal writes nothing at an OSError, as at a kill.
    """
    corpus = corpora.load(str(tones[0]), EMOTIONS, tmp_path)
    whole = extract(corpus, tmp_path / "whole", beside="none")
    noted, kept = [], []
    note, continued = Journal._note, Journal.__enter__

    def note_or_stop(self, i, entry):
        if len(noted) == 45:
            raise error
        noted.append(i)
        note(self, i, entry)

    monkeypatch.setattr(journal, "time", SimpleNamespace(monotonic=lambda: float(len(noted))))
    with monkeypatch.context() as patch, pytest.raises(type(error), match="stopped"):
        patch.setattr(Journal, "_note", note_or_stop)
        extract(corpus, tmp_path / "cache", beside="none")

    def enter(self):
        kept.extend(self.entries)
        return continued(self)

    monkeypatch.setattr(Journal, "__enter__", enter)
    repeated = extract(corpus, tmp_path / "cache", beside="none")
    assert kept == noted[: len(kept)] and 45 - lost <= len(kept) <= 45
    assert repeated.path.read_bytes() == whole.path.read_bytes()
