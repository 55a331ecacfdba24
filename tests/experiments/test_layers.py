"""The layer of an encoder is chosen without labels of the target."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

import jdann
from jdann.configuration import load_config
from jdann.data.batches import take_vectors
from jdann.errors import InputError
from jdann.experiments import layers, train
from jdann.experiments.train import open_directions
from jdann.features.prosody import PROSODIC
from jdann.methods import METHODS
from jdann.pretrained.load import load_encoder
from jdann.selection.layers import layer_agreement
from tests.support.corpora import EMOTIONS, write_manifest
from tests.support.models import speech
from tests.support.runs import read, relabelled

ENCODER = str(Path(__file__).parents[1] / "pretrained" / "references" / "hubert_base")


def open_pair(source, target, data_dir, protocol="transductive", **features):
    config = ConfigDict(load_config("best").to_dict())
    config.source, config.target = str(source), str(target)
    config.protocol = protocol
    config.audio.speech_only = False  # the corpora are tones
    config.features.update({"recipe": "pretrained", "encoder": ENCODER, **features})
    return open_directions(config, data_dir)


def test_agreement_is_highest_for_a_layer_that_tells_the_classes():
    random = np.random.default_rng(0)
    emotion = np.arange(100) % 4
    labels = jax.nn.one_hot(jnp.asarray(emotion), 4)
    means = random.normal(size=(4, 8)) * 3
    useful = (means[emotion] + random.normal(size=(100, 8))).astype(np.float32)
    useless = random.normal(size=(100, 8)).astype(np.float32)
    assert layer_agreement(useful, labels, useful[::-1], labels[::-1]) > 0.95
    assert layer_agreement(useless, labels, useless[::-1], labels[::-1]) < 0.6


def test_the_layer_that_agrees_most_with_prosody_is_taken(tones, data_dir, monkeypatch):
    monkeypatch.setattr(layers, "_scores", lambda *_: [0.2, 0.9, 0.4])
    (direction,) = open_pair(*tones, data_dir)
    assert direction.recipe_settings["layers"] == "1"
    assert direction.recipe_settings["encoder_digest"] == load_encoder(ENCODER).digest
    assert direction.source.bins[-1].startswith("layer1_std")


@pytest.mark.parametrize("channel", ["none", "telephone"])
def test_layers_are_scored_on_what_the_run_is_trained_on(tones, data_dir, caplog, channel):
    with caplog.at_level("INFO", logger="jdann"):
        open_pair(*tones, data_dir, channel=channel)
    (line,) = [m for m in caplog.messages if "From layer 0 on" in m]
    expected = []
    for layer in "012":
        (direction,) = open_pair(*tones, data_dir, channel=channel, layers=layer)
        source, target = (
            take_vectors(frames, jnp.arange(len(frames.length)))
            for frames in (direction.source_frames, direction.target_frames)
        )
        labels = jax.nn.one_hot(jnp.asarray(direction.source.emotion), 5)
        first_view = METHODS["co_training"](rounds=0, least_share=0.0).initial_labels
        count = len(PROSODIC)
        by_prosody = first_view(
            jax.random.key(0), source[:, :count], labels, target[:, :count]
        ).labels
        agreement = layer_agreement(source[:, count:], labels, target[:, count:], by_prosody)
        expected.append(f"{agreement:.2f}")
    assert line.endswith("From layer 0 on: " + " ".join(expected))


def test_frames_that_are_normalised_within_clips_have_a_layer_too(tones, data_dir):
    config = ConfigDict(load_config("base").to_dict())
    config.source, config.target = map(str, tones)
    config.audio.speech_only = False  # the corpora are tones
    config.features.update(
        {"recipe": "pretrained_frames", "encoder": ENCODER, "normalise": "utterance"}
    )
    (direction,) = open_directions(config, data_dir)
    assert direction.recipe_settings["layers"] in ("0", "1", "2")


def test_target_labels_do_not_change_the_layer(tones, data_dir, caplog):
    turn = dict(zip(EMOTIONS, (*EMOTIONS[1:], EMOTIONS[0]), strict=True))
    turned = relabelled(tones[1], "turned-layer.csv", turn.get)
    chosen = []
    with caplog.at_level("INFO", logger="jdann"):
        for target in (tones[1], turned):
            caplog.clear()
            (direction,) = open_pair(tones[0], target, data_dir)
            (line,) = [m for m in caplog.messages if "From layer 0 on" in m]
            chosen.append((direction.recipe_settings["layers"], line))
    assert chosen[0] == chosen[1]


@pytest.mark.slow
def test_each_direction_has_a_layer_of_its_own(tones, data_dir, monkeypatch):
    scores = {"source": [0.9, 0.1, 0.2], "target": [0.1, 0.2, 0.9]}

    def scores_of(settings, source, *_):
        return scores[Path(source.utterances[0].path).parent.name]

    monkeypatch.setattr(layers, "_scores", scores_of)
    config = ConfigDict(load_config("best").to_dict())
    config.source, config.target = map(str, tones)
    config.both_directions, config.audio.speech_only = True, False
    config.audio.max_duration_s = 0.5  # so that there is a note about it
    config.features.update({"recipe": "pretrained", "encoder": ENCODER})
    there, back = open_directions(config, data_dir)
    assert there.recipe_settings["layers"] == "0" and back.recipe_settings["layers"] == "2"
    assert {d.bins[-1][:6] for d in (there.source, there.target)} == {"layer0"}
    assert {d.bins[-1][:6] for d in (back.source, back.target)} == {"layer2"}
    for domain in (there.source, there.target, back.source, back.target):
        assert sum("were cut" in note for note in domain.all_notes) == 1


def test_new_speakers_are_not_heard_when_the_layer_is_chosen(tones, data_dir, monkeypatch):
    monkeypatch.setattr(layers, "_scores", lambda *_: pytest.fail("the target is heard"))
    config = ConfigDict(load_config("best").to_dict())
    config.source, config.target = map(str, tones)
    config.protocol, config.audio.speech_only = "inductive", False
    config.features.update({"recipe": "pretrained", "encoder": ENCODER})
    (direction,) = open_directions(config, data_dir)
    assert direction.recipe_settings["layers"] in ("0", "1", "2")


def test_speakers_without_labels_judge_no_layer(tones, data_dir, caplog):
    rows = read(tones[0])
    half = tones[0].with_name("half-labelled.csv")
    write_manifest(  # of the two speakers, only one has labels
        half,
        [
            (row["file"], row["emotion"] if i % 2 else "", f"s{i % 2}", "en")
            for i, row in enumerate(rows)
        ],
    )
    with caplog.at_level("INFO", logger="jdann"):
        open_pair(half, tones[1], data_dir, protocol="inductive")
    (line,) = [m for m in caplog.messages if "From layer 0 on" in m]
    scores = [float(score) for score in line.split(": ")[-1].split()]
    assert len(scores) == 3 and all(0 <= score <= 1 for score in scores)


@pytest.mark.parametrize("protocol", ["transductive", "inductive"])
@pytest.mark.parametrize("domain", [0, 1])
def test_a_corpus_without_a_usable_clip_is_named(tones, data_dir, tmp_path, protocol, domain):
    (tmp_path / "broken.wav").write_text("no audio")
    pair = list(tones)
    pair[domain] = write_manifest(tmp_path / "broken.csv", [("broken.wav", "sad", "s0", "en")])
    with pytest.raises(InputError, match=r"broken.csv: 1 of 1 files cannot be used"):
        open_pair(*pair, data_dir, protocol=protocol)


@pytest.mark.parametrize("protocol", ["transductive", "inductive"])
def test_a_source_without_labels_is_refused(tones, data_dir, caplog, protocol):
    unlabelled = relabelled(tones[0], "unlabelled-layer.csv", None)
    with caplog.at_level("INFO", logger="jdann"), pytest.raises(InputError, match="found none"):
        open_pair(unlabelled, tones[1], data_dir, protocol=protocol)
    assert not caplog.messages  # no layer has been chosen


def test_the_choice_of_a_run_is_kept(tones, data_dir, tmp_path, monkeypatch):
    config = ConfigDict(load_config("best").to_dict())
    config.source, config.target = map(str, tones)
    config.audio.speech_only = False
    config.features.update({"recipe": "pretrained", "encoder": ENCODER})
    monkeypatch.setattr(layers, "_scores", lambda *_: [0.1, 0.9, 0.2])
    open_directions(config, data_dir, tmp_path)
    (tmp_path / "config.json").write_text("{}")  # the run has begun
    monkeypatch.setattr(layers, "_scores", lambda *_: [0.9, 0.1, 0.2])
    (direction,) = open_directions(config, data_dir, run=tmp_path)
    assert direction.recipe_settings["layers"] == "1"
    assert direction.recipe_settings["encoder_precision"] == "float32"
    config.features.encoder = ENCODER.replace("hubert_base", "wav2vec2_base")
    with pytest.raises(InputError, match="is expected"):
        open_directions(config, data_dir, run=tmp_path)


def test_the_precision_of_a_run_is_kept(tones, data_dir, tmp_path):
    config = ConfigDict(load_config("best").to_dict())
    config.source, config.target = map(str, tones)
    config.audio.speech_only = False
    config.features.update(
        {"recipe": "pretrained", "encoder": ENCODER, "layers": "1", "encoder_precision": "mixed"}
    )
    open_directions(config, data_dir, tmp_path)
    (kept,) = json.loads((tmp_path / "layers.json").read_text()).values()
    assert kept["encoder_precision"] == "mixed"
    (tmp_path / "config.json").write_text("{}")  # the run has begun
    del kept["encoder_precision"]  # an earlier version kept none, and computed in float32
    (tmp_path / "layers.json").write_text(json.dumps({"0": kept}))
    (direction,) = open_directions(config, data_dir, run=tmp_path)
    assert direction.recipe_settings["encoder_precision"] == "float32"


def test_a_missing_encoder_is_named_before_any_work(tones, data_dir):
    with pytest.raises(InputError, match=r"features\.encoder"):
        open_pair(*tones, data_dir, encoder="")


@pytest.mark.slow
def test_waveforms_in_memory_have_a_chosen_layer_too(tmp_path, data_dir):
    def waveforms(name: str, base_hz: float) -> jdann.Waveforms:
        clips = [speech(0.6, base_hz + 20 * (i % 5), i, 16000) for i in range(30)]
        emotions = [EMOTIONS[i % 5] for i in range(30)]
        return jdann.Waveforms(clips, 16000, emotions, [f"s{i % 3}" for i in range(30)], name)

    result = jdann.train(
        waveforms("low", 110.0),
        waveforms("high", 190.0),
        encoder="mlp",
        recipe="pretrained",
        seeds=1,
        workdir=tmp_path,
        data_dir=data_dir,
        settings={"features.encoder": ENCODER, "epochs": 1, "audio.speech_only": False},
    )
    features = result.recogniser.card["config"]["features"]
    assert features["layers"] in ("0", "1", "2") and features["encoder_digest"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("encoder", ENCODER),
        ("encoder_digest", "0" * 32),
        ("encoder_precision", "mixed"),
        ("layers", "1"),
        ("beside", "none"),
    ],
)
def test_a_key_of_an_encoder_without_its_recipe_is_refused(tones, data_dir, key, value):
    features = {"recipe": "statistics", "encoder": ""} | {key: value}
    with pytest.raises(InputError, match=rf"features\.{key} is .*'statistics' does not use"):
        open_pair(*tones, data_dir, **features)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"beside": "none"}, r"beside is 'none'; set --config\.features\.beside=prosody"),
        ({"recipe": "pretrained_frames"}, r"co_training needs one vector of statistics"),
        ({"recipe": "frames", "encoder": ""}, r"co_training needs one vector of statistics"),
    ],
)
def test_a_recipe_that_a_method_cannot_use_is_refused_before_any_work(
    tones, data_dir, monkeypatch, values, message
):
    monkeypatch.setattr(train, "_load_corpora", lambda *_: pytest.fail("corpora are loaded"))
    with pytest.raises(InputError, match=message):
        open_pair(*tones, data_dir, **values)


def test_frames_for_an_encoder_of_vectors_are_refused_before_any_work(tones, monkeypatch):
    monkeypatch.setattr(train, "_load_corpora", lambda *_: pytest.fail("corpora are loaded"))
    config = ConfigDict(load_config("best").to_dict())
    config.source, config.target = map(str, tones)
    config.methods = ("source_only",)
    config.features.update({"recipe": "pretrained_frames", "encoder": ENCODER})
    with pytest.raises(InputError, match=r"'mlp', which needs one vector.*recipe=pretrained,"):
        open_directions(config, Path("unused"))


def test_frames_have_no_values_beside_them(tones, data_dir):
    with pytest.raises(InputError, match="beside is 'none', which the recipe 'pretrained_frames'"):
        open_pair(*tones, data_dir, recipe="pretrained_frames", beside="none")


def test_new_speakers_are_scored_through_the_channel_that_the_user_names(tones, data_dir, caplog):
    lines = []
    for channel in ("none", "telephone"):
        config = ConfigDict(load_config("best").to_dict())
        config.source, config.target = map(str, tones)
        config.protocol, config.audio.speech_only = "inductive", False
        config.features.update(
            {"recipe": "pretrained", "encoder": ENCODER, "normalise": "corpus", "channel": channel}
        )
        caplog.clear()
        with caplog.at_level("INFO", logger="jdann"):
            open_directions(config, data_dir)
        lines += [m for m in caplog.messages if "From layer 0 on" in m]
    assert len(lines) == 2 and lines[0] != lines[1]
