"""A recogniser that co-trains on new speakers: its answers, and what is saved and exported."""

import jax
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from jdann.inference import export
from jdann.inference.new_speakers import co_train, make_reference
from jdann.inference.recogniser import Recogniser
from tests.support.models import make_model, speech

pytestmark = pytest.mark.slow
CLIPS = [speech(1.0, 110 + 20 * i, i) for i in range(6)]
OTHERS = [speech(1.0, 215 + 15 * i, 10 + i) for i in range(4)]


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    model = make_model("mlp")
    random = np.random.default_rng(0)
    features = random.normal(size=(60, model.adaptation.mean.shape[1])).astype(np.float32)
    labels = np.eye(5)[np.arange(60) % 5]
    reference = make_reference(features + 0.3 * labels @ features[:5], labels)
    return Recogniser.of(model._replace(reference=reference))


def features_of(recogniser, clips):
    return [recogniser.features(clip) for clip in recogniser.prepare(clips, 16000)]


def test_views_and_network_answer_together_after_adaptation(recogniser):
    """An independent derivation from the normalised features, with NumPy and SciPy."""
    adapted = recogniser.adapt(CLIPS, 16000)
    parts = features_of(recogniser, CLIPS)
    normalised = np.concatenate(
        [recogniser.programs.normalise(tuple(adapted.adaptation), *part) for part in parts]
    )
    rows = np.concatenate([part.valid for part in parts])
    mean, std = adapted.adaptation.mean[0], adapted.adaptation.std[0]
    np.testing.assert_allclose(normalised, np.clip((rows - mean) / std, -20, 20), atol=1e-4)
    views = co_train(recogniser.reference, normalised)
    clipped = np.clip(normalised, -5, 5)
    of_views = [log_softmax(clipped @ w + b, axis=1) for w, b in zip(*views, strict=True)]
    network = recogniser.adapt(CLIPS, 16000, normalise_only=True)
    members = [
        network.programs.classify(tuple(network.adaptation), *part)[0][:, 0] for part in parts
    ]
    of_network = log_softmax(np.stack(members, 1), axis=-1)  # [members, clips, classes]
    share = len(CLIPS) / (len(CLIPS) + 20)
    mixed = (1 - share) * of_network + share * np.mean(of_views, 0)
    expected = softmax(mixed / recogniser.temperature, axis=-1).mean(0)
    np.testing.assert_allclose(adapted.probabilities(CLIPS, 16000), expected, atol=1e-4)
    assert not len(network.adaptation.bias)
    np.testing.assert_array_equal(network.adaptation.mean, adapted.adaptation.mean)
    assert np.abs(network.probabilities(CLIPS, 16000) - expected).max() > 0.01


def test_speakers_are_normalised_alone_and_learn_together(recogniser):
    speakers = [features_of(recogniser, clips) for clips in (CLIPS, OTHERS)]
    (alone,) = recogniser.adapt_to_features(speakers[:1])
    first, second = recogniser.adapt_to_features(speakers)
    np.testing.assert_array_equal(first.adaptation.mean, alone.adaptation.mean)
    assert np.abs(first.adaptation.mean - second.adaptation.mean).max() > 0.1
    np.testing.assert_array_equal(first.adaptation.weight, second.adaptation.weight)
    assert np.abs(first.adaptation.weight - alone.adaptation.weight).max() > 1e-4


def test_what_is_saved_and_exported_answers_alike(recogniser, tmp_path):
    adapted = recogniser.adapt(CLIPS, 16000).only("sad", "happy", "angry")
    expected = adapted.probabilities(OTHERS, 16000)
    adapted.save(tmp_path / "model")
    loaded = Recogniser.load(tmp_path / "model")
    np.testing.assert_allclose(loaded.probabilities(OTHERS, 16000), expected, atol=1e-6)
    # What is loaded adapts anew: among its own classes, from the same reference.
    again = loaded.adapt(OTHERS, 16000)
    assert again.labels == ("sad", "happy", "angry") and again.adaptation.weight.shape[-1] == 3
    recogniser.only("sad", "angry").save(tmp_path / "two")
    np.testing.assert_allclose(
        recogniser.only("sad", "angry").adapt(CLIPS, 16000).probabilities(OTHERS, 16000),
        Recogniser.load(tmp_path / "two").adapt(CLIPS, 16000).probabilities(OTHERS, 16000),
        atol=1e-4,
    )
    samples = np.stack(OTHERS)
    length = np.full(len(OTHERS), samples.shape[1], np.int32)
    program = jax.jit(export.probabilities(adapted))
    np.testing.assert_allclose(program(samples, length), expected, atol=1e-4)
