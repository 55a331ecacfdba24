"""The source is sent through the channel of the target, and through no other."""

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from ml_collections import ConfigDict

from jdann.configuration import load_config
from jdann.errors import InputError
from jdann.experiments.train import open_directions
from tests.support.corpora import write_tones

RATE_HZ, TELEPHONE_HZ = 16000, 8000


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> tuple[Path, Path]:
    """Manifests of a source and a target of ten tones each."""
    folder = tmp_path_factory.mktemp("clean")
    sizes = {"speakers": 2, "takes": 1}
    return (
        write_tones(folder / "source", 0, 150.0, **sizes),
        write_tones(folder / "target", 1, 230.0, **sizes),
    )


@pytest.fixture(scope="module")
def telephone_target(clean, tmp_path_factory) -> Path:
    """The target of `clean`, at 8 kHz with mu-law."""
    folder = tmp_path_factory.mktemp("telephone")
    with clean[1].open(newline="") as file:
        names = [row["file"] for row in csv.DictReader(file)]
    for name in names:
        samples, _ = soundfile.read(clean[1].parent / name)
        narrow = soxr.resample(samples, RATE_HZ, TELEPHONE_HZ)
        soundfile.write(folder / name, narrow, TELEPHONE_HZ, subtype="ULAW")
    (folder / "list.csv").write_bytes(clean[1].read_bytes())
    return folder / "list.csv"


def open_pair(source: Path, target: Path, data_dir: Path, **changes):
    config = ConfigDict(load_config("base").to_dict())
    config.source, config.target = str(source), str(target)
    config.audio.speech_only = False  # the corpora are tones
    config.features.channel = changes.pop("channel", "auto")
    config.update(changes)
    return open_directions(config, data_dir)


def values(domain) -> np.ndarray:
    return np.concatenate(list(domain.features.read()))


def notes(domain) -> str:
    return "; ".join(domain.notes)


def test_a_clean_target_changes_nothing(clean, data_dir):
    (auto,) = open_pair(*clean, data_dir)
    (none,) = open_pair(*clean, data_dir, channel="none")
    assert auto.source.features.path == none.source.features.path
    assert "sent through" not in notes(auto.source)


def test_the_source_gets_the_telephone_of_the_target(clean, telephone_target, data_dir):
    (none,) = open_pair(clean[0], telephone_target, data_dir, channel="none")
    (auto,) = open_pair(clean[0], telephone_target, data_dir)
    assert "Hz): the source is sent through the same channel" in notes(auto.source)
    assert "a telephone band" in notes(auto.source)
    bins = [auto.source.bins.index(name) for name in ("mel_60", "mel_61", "mel_62")]  # near 7 kHz
    clean_db, changed_db, target_db = (
        values(domain)[:, bins].mean() for domain in (none.source, auto.source, auto.target)
    )
    assert clean_db > changed_db + 10 and abs(changed_db - target_db) < 10
    assert auto.source.speaker == none.source.speaker
    np.testing.assert_array_equal(auto.source.emotion, none.source.emotion)
    # The same features are found again, as where a run is resumed.
    (reopened,) = open_pair(clean[0], telephone_target, data_dir)
    assert reopened.source.features.path == auto.source.features.path


def test_in_both_directions_only_a_source_is_changed(clean, telephone_target, data_dir):
    there, back = open_pair(clean[0], telephone_target, data_dir, both_directions=True)
    assert "sent through" in notes(there.source) and "sent through" not in notes(there.target)
    # The way back has a clean target, and its source keeps its telephone.
    assert "sent through" not in notes(back.source) + notes(back.target)
    assert back.target.features.path != there.source.features.path
    assert back.source_frames.start.shape == there.target_frames.start.shape
    frames = np.asarray(back.target_frames.values), np.asarray(there.source_frames.values)
    assert frames[0].shape != frames[1].shape or not np.array_equal(*frames)


def test_a_channel_can_be_named(clean, data_dir):
    (named,) = open_pair(*clean, data_dir, channel="telephone")
    assert "sent through the channel 'telephone'" in notes(named.source)


def test_an_unknown_channel_is_refused(clean, data_dir):
    with pytest.raises(InputError, match="radio"):
        open_pair(*clean, data_dir, channel="radio")
