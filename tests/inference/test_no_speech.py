"""Clips without speech: the answer of Python, of the command line and of the endpoint."""

import csv
import io
import json

import numpy as np
import pytest
import soundfile

from jdann.cli import main
from jdann.inference import model
from jdann.inference.recogniser import Recogniser
from tests.support.models import LABELS, make_model
from tests.support.recordings import RATE_HZ, noise, voice

VOICE = voice(2.0, 150) + noise(2.0, 0.0005)
SINE = (0.1 * np.sin(2 * np.pi * 440 * np.arange(2 * RATE_HZ) / RATE_HZ)).astype(np.float32)
NO_SPEECH = {
    "silence": np.zeros(2 * RATE_HZ, np.float32),
    "sine": SINE,
    "noise": noise(2.0, 0.1),
}


@pytest.fixture(scope="module")
def speech_model():
    made = make_model()
    made.card["config"]["audio"]["speech_only"] = True
    return made


@pytest.fixture(scope="module")
def recogniser(speech_model):
    return Recogniser.of(speech_model)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for name, samples in ({"voice": VOICE} | NO_SPEECH).items():
        soundfile.write(folder / f"{name}.wav", samples, RATE_HZ)
    return folder


@pytest.mark.parametrize("name", NO_SPEECH)
def test_python_answers_none_and_nan(recogniser, name):
    clip = NO_SPEECH[name]
    assert recogniser(clip, RATE_HZ) is None and recogniser.label(clip, RATE_HZ) is None
    clips = [VOICE, clip, VOICE]
    rows = recogniser.probabilities(clips, RATE_HZ)
    np.testing.assert_array_equal(np.isnan(rows).all(1), [False, True, False])
    np.testing.assert_array_equal(rows[0], recogniser.probabilities([VOICE], RATE_HZ)[0])
    names = recogniser.predict(clips, RATE_HZ)
    assert names[1] == "" and names[0] in LABELS
    adapted = recogniser.adapt([clip, VOICE], RATE_HZ)
    expected = recogniser.adapt([VOICE], RATE_HZ)
    assert adapted(VOICE, RATE_HZ) == expected(VOICE, RATE_HZ)


def test_silence_around_speech_changes_little(recogniser):
    pause = np.zeros(2 * RATE_HZ, np.float32)
    alone = recogniser.probabilities([VOICE], RATE_HZ)
    between = recogniser.probabilities([np.concatenate([pause, VOICE, pause])], RATE_HZ)
    np.testing.assert_allclose(between, alone, atol=0.05)


def test_windows_without_speech_are_nan(recogniser):
    samples = np.concatenate([VOICE, NO_SPEECH["noise"], SINE])
    rows = recogniser.timeline(samples, 2.0, 2.0, RATE_HZ).probabilities
    np.testing.assert_array_equal(np.isnan(rows).all(1), [False, True, True])


def test_the_command_line_leaves_cells_empty(speech_model, folder, tmp_path, capsys):
    model.save_model(tmp_path / "model", speech_model)
    words = ["predict", str(tmp_path / "model"), str(folder)]
    main([*words, "--csv", str(tmp_path / "out.csv")])
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = {row["file"].split("/")[-1]: row for row in csv.DictReader(file)}
    assert rows["voice.wav"]["predicted"] in LABELS and len(rows) == 4
    for name in NO_SPEECH:
        cells = [cell for column, cell in rows[f"{name}.wav"].items() if column != "file"]
        assert cells == [""] * len(cells)
    capsys.readouterr()
    main(words)
    assert capsys.readouterr().out.count("no speech") == 3
    main([*words, "--json", "--adapt", "--one-speaker"])
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sum(answer["predicted"] is None for answer in answers) == 3
    assert all(answer["p_sad"] is None for answer in answers if answer["predicted"] is None)


@pytest.mark.parametrize("name", NO_SPEECH)
def test_the_endpoint_answers_null(recogniser, name):
    answers = pytest.importorskip("jdann.web.answers", reason="needs the extra serve")
    uploads = pytest.importorskip("jdann.web.uploads", reason="needs the extra serve")
    file = io.BytesIO()
    soundfile.write(file, NO_SPEECH[name], RATE_HZ, format="WAV")
    options = answers.Options(
        one_speaker=False, timeline=True, picture=True, window_s=1.0, hop_s=1.0
    )
    upload = uploads.Upload("a.wav", file.getvalue())
    answer = answers.recognise(recogniser, [upload], answers.Limits(), options)
    assert answer["emotion"] is None and answer["probabilities"] is None
    assert [window["probabilities"] for window in answer["timeline"]] == [None, None]
    json.dumps(answer, allow_nan=False)
