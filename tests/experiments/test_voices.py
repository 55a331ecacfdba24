"""Corpora without speaker ids: groups of voices, and what happens without the speaker encoder."""

import logging
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest
from ml_collections import ConfigDict

from jdann import locks
from jdann.configuration import load_config
from jdann.corpora.index import Corpus, Utterance
from jdann.data.pairs import make_direction, make_domain
from jdann.errors import InputError
from jdann.experiments import voices, workdir
from jdann.experiments.settings import make_feature_settings
from jdann.features.feature_set import FeatureSet
from jdann.features.recipe import make_recipe_unchecked
from jdann.pretrained import wheels
from jdann.speakers.clusters import VoiceGroups
from jdann.speakers.encoder_file import find_or_fetch

COUNT = 80
EMOTIONS = ("neutral", "happy", "angry", "sad", "surprise")
IS_WOMAN = np.arange(COUNT) >= COUNT // 2
SPEAKER = tuple("woman" if is_woman else "man" for is_woman in IS_WOMAN)
EMOTION = tuple(EMOTIONS[i % 5] for i in range(COUNT))


def make_config(**changes):
    config = ConfigDict(load_config("best").to_dict())
    config.speakers = "voice"
    for key, value in changes.items():
        config[key] = value
    return config


def make_pair(folder, config, source_speaker=SPEAKER, target_speaker=None, target_emotion=EMOTION):
    """Two domains of random statistics, in which women and men and the emotions differ.

    Women and men have the same ranges of pitch and loudness.
    """
    settings = make_feature_settings(config)
    bins = make_recipe_unchecked("statistics", config.features, 16000).bins
    is_voice = np.array(["range_20_80" not in name for name in bins])
    rng = np.random.default_rng(0)
    shift = rng.normal(size=(5, len(bins)))
    domains = []
    for name, speaker, emotion in (
        ("source", source_speaker, EMOTION),
        ("target", target_speaker or (None,) * COUNT, target_emotion),
    ):
        values = rng.normal(size=(COUNT, len(bins))) + shift[np.arange(COUNT) % 5] + 100
        values += 3 * IS_WOMAN[:, None] * is_voice
        path = folder / f"{name}.f32"
        values.astype(np.float32).tofile(path)
        rows = zip(emotion, speaker, strict=True)
        utterances = tuple(
            Utterance(f"{name}{i}", emotion=e, speaker=s) for i, (e, s) in enumerate(rows)
        )
        features = FeatureSet(
            utterances,
            path,
            len(bins),
            np.arange(COUNT),
            np.ones(COUNT, int),
            np.ones(COUNT),
            0,
            (),
        )
        corpus = Corpus(name, name, True, utterances)
        domains.append(make_domain(corpus, features, bins, True, settings))
    return domains


@pytest.fixture
def encoder(monkeypatch):
    """Vectors in which women and men differ, in place of those of the encoder."""
    noise = np.random.default_rng(0).normal(size=(COUNT, 16))
    monkeypatch.setattr(voices, "voice_vectors", lambda *_: noise + 12 * IS_WOMAN[:, None])


def test_the_target_is_normalised_in_groups_and_the_source_by_speaker(tmp_path, encoder):
    config = make_config()
    source, target = voices.group_unknown_voices(*make_pair(tmp_path, config), config, tmp_path)
    assert set(target.group) == {"voices 0", "voices 1"} and set(source.group) == {"woman", "man"}
    assert len(set(zip(target.group, SPEAKER, strict=True))) == 2
    assert target.speaker == (None,) * COUNT  # where scores are concerned, groups are no speakers
    notes = "; ".join(target.all_notes)
    assert "normalised in 2 groups of similar voices" in notes
    assert "among voices like its own" not in notes
    direction = make_direction(source, target, make_feature_settings(config))
    assert set(direction.statistics[0].groups) == {"woman", "man"}
    assert set(direction.statistics[1].groups) == {"voices 0", "voices 1"}


def test_many_persons_of_a_group_are_normalised_among_similar_voices_of_it(
    tmp_path, encoder, monkeypatch
):
    group = IS_WOMAN.astype(int)
    monkeypatch.setattr(voices, "group_voices", lambda *_: VoiceGroups(group, IS_WOMAN))
    config = make_config()
    source, target = voices.group_unknown_voices(*make_pair(tmp_path, config), config, tmp_path)
    men, women = target.group[: COUNT // 2], target.group[COUNT // 2 :]
    assert set(men) == {"voices 0"} and len(set(women)) == len(women)
    assert "1 of them hold many persons" in "; ".join(target.all_notes)
    direction = make_direction(source, target, make_feature_settings(config))
    assert set(direction.source.group) == {"woman", "man"}  # not by voice
    values = np.concatenate(list(target.features.read()))
    mean_of_group = values[IS_WOMAN].mean(0)
    means = direction.statistics[1].mean[1:]  # of each woman's utterance
    assert np.abs(means.mean(0) - mean_of_group).max() < 1  # the men, at a distance of 3, are out


def test_groups_that_do_not_follow_persons_are_not_used(tmp_path, encoder, monkeypatch):
    groups = VoiceGroups(np.arange(COUNT) % 3, np.ones(COUNT, bool))
    monkeypatch.setattr(voices, "group_voices", lambda *_: groups)
    config = make_config()
    pair = make_pair(tmp_path, config)
    source, target = voices.group_unknown_voices(*pair, config, tmp_path)
    assert target.group == pair[1].group and target.voices is pair[1].voices
    assert "does not tell the persons apart" in target.all_notes[-1]
    direction = make_direction(source, target, make_feature_settings(config))
    assert len(set(direction.source.group)) == COUNT  # by voice, as the target


def test_groups_that_differ_in_expression_are_not_used(tmp_path, encoder, monkeypatch):
    config = make_config()
    pair = make_pair(tmp_path, config)
    by_emotion = np.arange(COUNT) % 5  # the statistics of each emotion differ, the ranges too
    groups = VoiceGroups(by_emotion, np.zeros(COUNT, bool))
    monkeypatch.setattr(voices, "group_voices", lambda *_: groups)
    _, target = voices.group_unknown_voices(*pair, config, tmp_path)
    assert target.group == pair[1].group
    assert "does not tell the persons apart" in target.all_notes[-1]


def test_a_source_without_ids_is_grouped_too(tmp_path, encoder):
    config = make_config()
    pair = make_pair(tmp_path, config, source_speaker=(None,) * COUNT, target_speaker=SPEAKER)
    source, target = voices.group_unknown_voices(*pair, config, tmp_path)
    assert set(source.group) == {"voices 0", "voices 1"} and set(target.group) == {"woman", "man"}


def test_known_speakers_stay_and_no_group_takes_a_speakers_name(tmp_path, encoder):
    config = make_config()
    known = tuple("voices 0" if i % 4 == 0 else None for i in range(COUNT))
    pair = make_pair(tmp_path, config, target_speaker=known)
    _, target = voices.group_unknown_voices(*pair, config, tmp_path)
    assert all(
        (g == "voices 0") == (s is not None) for g, s in zip(target.group, known, strict=True)
    )
    assert set(target.group) == {"voices 0", "voices 0'", "voices 1"}


def test_target_labels_change_no_group(tmp_path, encoder):
    config, turned = make_config(), (*EMOTION[1:], EMOTION[0])
    groups = []
    for emotion in (EMOTION, turned, (None,) * COUNT):
        pair = make_pair(tmp_path, config, target_emotion=emotion)
        groups.append(voices.group_unknown_voices(*pair, config, tmp_path)[1].group)
    assert groups[0] == groups[1] == groups[2]


@pytest.mark.parametrize("changes", [{"speakers": "none"}, {"protocol": "inductive"}])
def test_where_groups_are_not_asked_for_nothing_changes(tmp_path, encoder, changes):
    config = make_config(**changes)
    pair = make_pair(tmp_path, config)
    assert voices.group_unknown_voices(*pair, config, tmp_path) == tuple(pair)
    assert len(set(pair[1].group)) == COUNT


def test_without_the_encoder_the_run_goes_on_and_says_what_is_missing(tmp_path, caplog):
    config = make_config()
    pair = make_pair(tmp_path, config)
    with caplog.at_level(logging.WARNING, "jdann"):
        assert voices.group_unknown_voices(*pair, config, tmp_path) == tuple(pair)
    assert "put Resemblyzer-0.1.4-py3-none-any.whl into" in caplog.text


def test_a_run_does_not_go_on_in_other_groups(tmp_path, encoder):
    config = make_config()
    pair, settings = make_pair(tmp_path, config), make_feature_settings(config)
    grouped = make_direction(*voices.group_unknown_voices(*pair, config, tmp_path), settings)
    workdir.save_statistics(tmp_path, [grouped])
    workdir.check_groups(tmp_path, [grouped])
    with pytest.raises(InputError, match="other groups than when the run began"):
        workdir.check_groups(tmp_path, [make_direction(*pair, settings)])


def test_a_wheel_that_is_there_is_not_fetched(tmp_path):
    wheel = tmp_path / "jdann" / "speaker_encoder" / "Resemblyzer-0.1.4-py3-none-any.whl"
    wheel.parent.mkdir(parents=True)
    wheel.touch()
    assert find_or_fetch(tmp_path) == wheel


def test_two_processes_fetch_the_speaker_encoder_once(tmp_path, monkeypatch):
    begun, go_on, calls = Event(), Event(), []

    def slow_fetch(_, folder):
        calls.append(1)
        begun.set()
        assert go_on.wait(60)
        (folder / "fetched").write_bytes(b"weights")
        return folder / "fetched"

    monkeypatch.setattr(wheels, "_fetch", slow_fetch)
    monkeypatch.setattr(locks.log, "warning", lambda *_: go_on.set())
    with ThreadPoolExecutor(1) as pool:
        # For a lock, another descriptor of the same process is as good as another process.
        first = pool.submit(find_or_fetch, tmp_path)
        assert begun.wait(60)
        wheel = find_or_fetch(tmp_path)
    assert first.result() == wheel and wheel.read_bytes() == b"weights" and len(calls) == 1
    assert list(wheel.parent.iterdir()) == [wheel]
