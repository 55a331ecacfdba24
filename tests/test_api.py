"""The Python interface: what `jdann.train` takes and what it returns."""

import csv

import numpy as np
import pytest
import soundfile

import jdann
from jdann.errors import InputError

TINY = {
    "epochs": 2,
    "batch_size": 8,
    "encoder.channels": (8,),
    "encoder.strides": (1,),
    "encoder.kernel_size": 3,
    "evaluate_every": 1,
    "tsne": False,
    "baseline": False,
    "audio.speech_only": False,  # the corpora are tones
}


def tiny_training(source, target, data_dir, **more):
    return jdann.train(
        source,
        target,
        method="dann",
        encoder="conv1d",
        seeds=2,
        config="base",
        settings=TINY,
        data_dir=data_dir,
        **more,
    )


def waveforms(manifest, name, labels=True):
    with manifest.open(newline="") as file:
        rows = list(csv.DictReader(file))
    samples = [soundfile.read(manifest.parent / row["file"], dtype="float32")[0] for row in rows]
    return jdann.Waveforms(
        samples,
        16000,
        emotions=[row["emotion"] for row in rows] if labels else None,
        speakers=[row["speaker"] for row in rows],
        name=name,
    )


@pytest.fixture(scope="module")
def from_files(tones, data_dir):
    return tiny_training(*tones, data_dir)


def test_a_result_has_a_recogniser_a_table_and_predictions(from_files, tones, tmp_path):
    assert {row["method"] for row in from_files.rows} == {"source_only", "dann"}
    assert "dann" in from_files.table and str(from_files) == from_files.table
    assert len(from_files.predictions) == 2 * 60
    clip = sorted(tones[1].parent.glob("*.wav"))[0]
    probabilities = from_files.recogniser(clip)
    assert sum(probabilities.values()) == pytest.approx(1, abs=1e-5)
    saved = jdann.Recogniser.load(from_files.save(tmp_path / "model"))
    assert saved(clip) == pytest.approx(probabilities, abs=1e-6)


@pytest.mark.slow
def test_waveforms_in_memory_give_what_their_files_give(from_files, tones, data_dir):
    source, target = (waveforms(m, n) for m, n in zip(tones, ("source", "target"), strict=True))
    result = tiny_training(source, target, data_dir)
    values = [
        [float(row[f"p_{name}"]) for row in training.predictions for name in ("angry", "sad")]
        for training in (from_files, result)
    ]
    np.testing.assert_allclose(*values, atol=0.02)  # files hold 16 bits


@pytest.mark.slow
def test_an_unlabelled_target_in_memory_is_predicted_not_scored_and_not_read_again(tones, data_dir):
    target = waveforms(tones[1], "target", labels=False)
    result = tiny_training(str(tones[0]), target, data_dir)
    assert result.rows == [] and len(result.predictions) == 2 * 60
    with pytest.raises(InputError, match="target: was in memory during the training"):
        jdann.evaluate(result, data_dir=data_dir)


def test_a_result_can_be_evaluated_again(from_files, tones, data_dir):
    evaluated = jdann.evaluate(from_files, data_dir=data_dir)
    assert [r["uar"] for r in evaluated.rows] == [r["uar"] for r in from_files.rows]


@pytest.mark.slow
def test_a_sweep_has_a_row_per_point(tones, data_dir):
    result = jdann.sweep(
        *tones,
        strengths=(0.0, 1.0),
        learning_rates=(1e-3,),
        seeds=1,
        settings=TINY,
        data_dir=data_dir,
    )
    assert [row["strength"] for row in result.rows] == [0.0, 1.0]
    assert "strength" in result.table
    with pytest.raises(InputError, match="a sweep has no predictions and no recogniser"):
        _ = result.predictions
    with pytest.raises(InputError, match="a sweep has no predictions and no recogniser"):
        _ = result.recogniser


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "dan_n"}, "did you mean"),
        ({"encoder": "conv2d"}, "conv2d"),
        ({"settings": {"epoch": 3}}, "did you mean epochs"),
        ({"source": "nowhere.csv"}, "nowhere.csv: no such file"),
        ({"settings": {"seeds": 3}}, "settings has 'seeds'; give it as the argument seeds="),
        ({"settings": {"methods": "mcc"}}, "'methods'; give it as the argument method="),
        ({"settings": {"source": "a.csv"}}, "'source'; give it as the argument source="),
        (
            {"encoder": "mlp", "settings": {"features.recipe": "prosody"}},
            "'features.recipe'; give it as the argument recipe=",
        ),
    ],
)
def test_mistakes_are_named_before_any_work(changes, message, tones, data_dir):
    values = {"source": tones[0], "target": tones[1], "method": "dann", "config": "base"} | changes
    values["settings"] = {"audio.speech_only": False} | values.get("settings", {})
    with pytest.raises(InputError, match=message):
        jdann.train(values.pop("source"), values.pop("target"), data_dir=data_dir, **values)


def test_columns_of_another_length_and_unknown_labels_are_named(data_dir):
    samples = [np.zeros(16000, np.float32)] * 2
    with pytest.raises(InputError, match="2 waveforms but 1 emotions"):
        jdann.train(jdann.Waveforms(samples, 16000, ["sad"]), "demo:zh", data_dir=data_dir)
    with pytest.raises(InputError, match="'blue' is not a known emotion"):
        jdann.train(jdann.Waveforms(samples, 16000, ["sad", "blue"]), "demo:zh", data_dir=data_dir)


def shifted_clusters(seed, shift, n=120):
    """Three clusters in ten dimensions; each group has an offset of its own."""
    random = np.random.default_rng(seed)
    label, group = np.arange(n) % 3, np.arange(n) % 4
    centres, offsets = np.eye(3, 10) * 4, random.normal(size=(4, 10)) * 3
    values = centres[label] + shift + offsets[group] + random.normal(size=(n, 10))
    return values, np.array(["red", "green", "blue"])[label], group


@pytest.mark.slow
def test_vectors_without_audio_are_adapted_with_labels_and_groups_of_any_kind(data_dir):
    source, source_labels, source_groups = shifted_clusters(0, 0.0)
    target, target_labels, target_groups = shifted_clusters(1, 6.0)
    result = jdann.train(
        jdann.Vectors(source, source_labels, source_groups, name="source"),
        jdann.Vectors(target, target_labels, target_groups, name="target"),
        seeds=2,
        settings={"epochs": 30, "tsne": False, "optimiser.learning_rate": 1e-2},
        data_dir=data_dir,
    )
    assert {row["method"] for row in result.rows} == {"source_only", "mcc", "svm"}
    scores = {
        row["method"]: row["uar"]["mean"] for row in result.rows if row["selection"] == "last"
    }
    assert min(scores.values()) > 0.9  # normalised by group
    assert set(result.recogniser.classes_) == {"red", "green", "blue"}
    assert result.recogniser.predict_proba(target[:7]).shape == (7, 3)
    assert set(result.recogniser.predict(target[:7])) <= {"red", "green", "blue"}


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (np.zeros((4, 3)), np.zeros((4, 2)), "vectors of 3 and of 2 values"),
        (np.full((4, 3), np.nan), np.zeros((4, 3)), r"expected finite numbers \[n, d\]"),
    ],
)
def test_vectors_that_cannot_be_used_are_named(source, target, message, data_dir):
    labels = ["a", "b", "a", "b"]
    with pytest.raises(InputError, match=message):
        jdann.train(
            jdann.Vectors(source, labels, name="s"),
            jdann.Vectors(target, name="t"),
            data_dir=data_dir,
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"encoder": "conv1d"}, "encoder.name=conv1d"), ({"recipe": "prosody"}, "recipe=prosody")],
)
def test_vectors_refuse_what_is_for_audio(arguments, message, data_dir):
    values, labels = np.zeros((4, 3)), ["a", "b", "a", "b"]
    with pytest.raises(InputError, match=message):
        jdann.train(
            jdann.Vectors(values, labels, name="s"),
            jdann.Vectors(values, name="t"),
            data_dir=data_dir,
            **arguments,
        )


@pytest.mark.slow
def test_labels_of_a_target_in_memory_are_trained_on_and_not_scored(data_dir):
    source, source_labels, source_groups = shifted_clusters(0, 0.0)
    target, target_labels, target_groups = shifted_clusters(1, 6.0)
    labels = [name if i % 10 == 0 else None for i, name in enumerate(target_labels)]
    result = jdann.train(
        jdann.Vectors(source, source_labels, source_groups, name="source"),
        jdann.Vectors(target, target_labels, target_groups, name="target"),
        target_labels=labels,
        seeds=1,
        settings={"epochs": 2, "tsne": False},
        data_dir=data_dir,
    )
    assert {row["n"] for row in result.rows} == {108}
    assert result.results["directions"][0]["target"]["target_labels"] == 12


def test_target_labels_that_cannot_be_used_are_named(tones, data_dir):
    labels = ["sad", None]
    with pytest.raises(InputError, match=r"which is not in memory; give a table"):
        jdann.train(*tones, target_labels=labels, data_dir=data_dir)
    vectors = jdann.Vectors(np.eye(4), ["a", "b", "a", "b"], name="s")
    target = jdann.Vectors(np.eye(4), name="t")
    with pytest.raises(InputError, match="4 utterances but 2 target_labels"):
        jdann.train(vectors, target, target_labels=labels, data_dir=data_dir)
    with pytest.raises(InputError, match="'c' is not known; expected one of a, b"):
        jdann.train(vectors, target, target_labels=["a", "c", None, None], data_dir=data_dir)
