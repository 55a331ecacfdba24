"""A recogniser as one file: its answers are the same, and a damaged file is refused."""

import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import soundfile
from ml_collections import ConfigDict

from jdann import audio
from jdann.errors import InputError
from jdann.inference import export
from jdann.inference.recogniser import Recogniser
from tests.support.models import make_model, speech


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    return Recogniser.of(make_model())


@pytest.fixture(scope="module")
def exported(recogniser, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "model.jdann"
    message = export.write(recogniser.only("happy", "angry", "sad"), path)
    assert "model.jdann" in message and "happy, angry, sad" in message
    return path


def clips() -> list[np.ndarray]:
    """Plain, with silence around, longer than is heard, barely long enough, and quiet."""
    silence = np.zeros(9000, np.float32)
    wave = speech(2.0, 140)
    return [
        wave,
        np.concatenate([silence, speech(1.0), silence]),
        speech(6.5, 210),
        speech(0.3),
        0.01 * speech(1.0, 250),
    ]


def padded(signals: list[np.ndarray], fill: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    length = np.array([len(clip) for clip in signals], np.int32)
    batch = np.full((len(signals), length.max()), fill, np.float32)
    for row, clip in zip(batch, signals, strict=True):
        row[: len(clip)] = clip
    return batch, length


@pytest.mark.slow
def test_says_what_python_says(recogniser, exported):
    subset = recogniser.only("happy", "angry", "sad")
    program = export.Exported(exported)
    assert program.labels == subset.labels == ("happy", "angry", "sad")
    expected = subset.probabilities(clips(), 16000)
    np.testing.assert_allclose(program(*padded(clips())), expected, atol=1e-5)
    np.testing.assert_allclose(
        program(*padded(clips()[:1])), expected[:1], atol=1e-5
    )  # another batch and length
    np.testing.assert_allclose(
        program(*padded(clips()[:4], fill=0.3)), expected[:4], atol=1e-5
    )  # padding is not heard


def test_silence_gives_nan(exported):
    rows = export.Exported(exported)(
        *padded([speech(1.0), np.zeros(16000, np.float32), speech(0.05)])
    )
    assert np.isfinite(rows[0]).all() and np.isnan(rows[1:]).all()


@pytest.mark.parametrize("trim_db", [0.0, 20.0, 35.0])
def test_prepares_audio_as_in_training(recogniser, trim_db):
    config = ConfigDict(recogniser.config.audio)
    config.trim_db, config.offset_s = trim_db, 0.1
    batch, length = padded(clips())
    prepared, size, usable = export.prepare(batch, length, config)
    for i, clip in enumerate(clips()):
        expected = audio.prepare(clip, 16000, audio.AudioSettings(**config)).samples
        assert usable[i] and size[i] == len(expected)
        np.testing.assert_allclose(prepared[i, : size[i]], expected, atol=1e-6)
        assert not np.any(prepared[i, size[i] :])


def test_needs_neither_flax_nor_jdann(recogniser, exported, tmp_path):
    np.savez(tmp_path / "in.npz", samples=padded(clips()[:1])[0], length=padded(clips()[:1])[1])
    code = f"""
import json, sys, zipfile, jax.export, numpy as np
with zipfile.ZipFile({str(exported)!r}) as file:
    card = json.loads(file.read("card.json"))
    program = jax.export.deserialize(bytearray(file.read("program.bin")))
arrays = np.load({str(tmp_path / "in.npz")!r})
probabilities = np.asarray(program.call(arrays["samples"], arrays["length"])).tolist()
print(json.dumps([card["labels"], card["sample_rate_hz"], probabilities]))
assert not {{"flax", "jdann"}} & set(sys.modules)
"""
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    labels, rate_hz, rows = json.loads(run.stdout)
    assert labels == ["happy", "angry", "sad"] and rate_hz == 16000
    np.testing.assert_allclose(
        rows, recogniser.only(*labels).probabilities(clips()[:1], 16000), atol=1e-5
    )


def test_reads_files_of_any_rate(recogniser, exported, tmp_path):
    soundfile.write(tmp_path / "clip.wav", np.stack([speech(1.2, rate_hz=44100)] * 2, 1), 44100)
    probabilities = export.Exported(exported).file(tmp_path / "clip.wav")
    expected = recogniser.only(*probabilities)(tmp_path / "clip.wav")
    assert probabilities == pytest.approx(expected, abs=1e-5)
    with pytest.raises(InputError, match="absent.wav"):
        export.Exported(exported).file(tmp_path / "absent.wav")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoder", "by"), [("resnet50", "speaker"), ("conv1d", "utterance"), ("mlp", "speaker")]
)
def test_slow_encoders_and_normalisations(encoder, by, tmp_path):
    recogniser = Recogniser.of(make_model(encoder, members=1, by=by))
    export.write(recogniser, tmp_path / "model.jdann")
    expected = recogniser.probabilities(clips(), 16000)
    np.testing.assert_allclose(
        export.Exported(tmp_path / "model.jdann")(*padded(clips())), expected, atol=1e-5
    )


def test_nothing_is_overwritten_and_damage_is_named(recogniser, exported, tmp_path):
    before = exported.read_bytes()
    with pytest.raises(InputError, match="--overwrite"):
        export.write(recogniser, exported)
    with pytest.raises(InputError, match="no such folder"):
        export.write(recogniser, tmp_path / "a" / "b")
    (tmp_path / "half.jdann").write_bytes(before[: len(before) // 2])
    with zipfile.ZipFile(tmp_path / "empty.jdann", "w"):
        pass
    for name, message in (
        ("half.jdann", "damaged"),
        ("empty.jdann", "damaged"),
        ("absent.jdann", "no such file"),
    ):
        with pytest.raises(InputError, match=message):
            export.Exported(tmp_path / name)
