"""`jdann recordings` and `jdann predict --timeline --speakers-per-recording`, from start to end."""

import numpy as np
import pytest
import soundfile

from jdann import corpora
from jdann.cli import main
from jdann.inference.recogniser import Recogniser
from tests.support.corpora import EMOTIONS
from tests.support.models import LABELS, make_model
from tests.support.recordings import RATE_HZ, conversation, write_voices
from tests.support.runs import SMALL, fail, read

TURNS = tuple((2.0, 110 + 100 * (i % 2), 1.0 + 0.2 * (i % 2)) for i in range(4))


def write_call(path, turns=TURNS):
    """A recording in which the woman has the right channel and the man the left one."""
    samples = conversation(turns)
    side = np.zeros(len(samples))
    for i in range(len(turns)):
        side[int((0.5 + 3 * i) * RATE_HZ) : int((3.5 + 3 * i) * RATE_HZ)] = i % 2
    left, right = samples * np.where(side == 0, 1, 0.02), samples * np.where(side == 1, 1, 0.02)
    soundfile.write(path, np.stack([left, right], 1), RATE_HZ)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model"
    Recogniser.of(make_model("conv1d")).save(path)
    return path


@pytest.fixture
def calls(tmp_path):
    folder = tmp_path / "calls"
    folder.mkdir()
    write_call(folder / "a.wav")
    write_call(folder / "b.wav", TURNS[:2])
    return folder


def test_an_existing_model_answers_a_folder_and_lists_what_it_cannot_use(
    model, calls, tmp_path, data_dir, capsys
):
    (calls / "damaged.wav").write_bytes(b"RIFF no audio")
    soundfile.write(calls / "silent.wav", np.zeros(5 * RATE_HZ), RATE_HZ)
    output = tmp_path / "work"
    words = ["recordings", calls, "--model", model, "--output", output, "--data-dir", data_dir]
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    assert stopped.value.code == 1  # some were left out
    out, err = capsys.readouterr()
    assert "damaged.wav: not audio, or damaged" in err and "silent.wav: holds no speech" in err
    assert "a.wav, speaker left: 2 utterances" in out
    rows = read(output / "timeline.csv")
    columns = ["recording", "speaker", "start_s", "end_s", "emotion", "confidence"]
    assert list(rows[0])[:6] == columns
    assert [(row["recording"], row["speaker"]) for row in rows] == [
        *(("a.wav", side) for side in ("left", "right") * 2),
        *(("b.wav", side) for side in ("left", "right")),
    ]
    for row in rows:
        assert row["emotion"] in LABELS
        assert float(row["confidence"]) == max(float(row[f"p_{name}"]) for name in LABELS)
    corpus = corpora.load(str(output / "utterances.csv"), EMOTIONS)
    assert [u.speaker for u in corpus.utterances] == [
        f"{r['recording']} {r['speaker']}" for r in rows
    ]
    manifest = read(output / "utterances.csv")
    assert [row["speaker"] for row in manifest][:2] == ["a.wav left", "a.wav right"]
    assert (output / manifest[0]["file"]).samefile(calls / "a.wav")
    assert {row["recording"] for row in read(output / "skipped.csv")} == {
        str(calls / "damaged.wav"),
        str(calls / "silent.wav"),
    }
    assert (output / "figures" / "a.wav.png").stat().st_size > 1000
    assert "holds a timeline" in fail(capsys, *words)


def test_each_person_is_normalised_by_their_own_utterances(model, calls, data_dir, tmp_path):
    output = tmp_path / "rows.csv"
    words = ["predict", model, calls / "a.wav", "--timeline", "--speakers-per-recording", "2"]
    rows = {}
    for adapt in ((), ("--adapt",)):
        main([str(w) for w in (*words, *adapt, "--csv", output, "--data-dir", data_dir)])
        rows[bool(adapt)] = read(output)
    assert [row["speaker"] for row in rows[True]] == ["left", "right"] * 2
    spans = [
        (float(row["start"]), float(row["end"])) for row in rows[True] if row["speaker"] == "left"
    ]
    recogniser = Recogniser.load(model)
    samples, _ = soundfile.read(calls / "a.wav", dtype="float32")
    clips = [
        (RATE_HZ, samples[round(start_s * RATE_HZ) : round(end_s * RATE_HZ)])
        for start_s, end_s in spans
    ]
    for used, adapted in ((True, recogniser.adapt(clips)), (False, recogniser)):
        left = [row for row in rows[used] if row["speaker"] == "left"]
        answers = [[float(row[f"p_{name}"]) for name in LABELS] for row in left]
        np.testing.assert_allclose(answers, adapted.probabilities(clips), atol=2e-3)


@pytest.mark.slow
def test_training_on_a_source_is_adapted_to_the_recordings(calls, tmp_path, data_dir, capsys):
    source = write_voices(tmp_path / "voices", takes=3)
    output = tmp_path / "work"
    words = ["recordings", calls, "--source", source, "--output", output, "--data-dir", data_dir]
    tiny = (*SMALL, "encoder.name=conv1d", "features.recipe=frames", "methods=source_only,mcc")
    words += ["--config", "base", *(f"--config.{setting}" for setting in tiny)]
    main([str(word) for word in words])
    assert "6 utterances are in" in capsys.readouterr().out
    predictions = read(output / "run" / "predictions.csv")
    assert {row["speaker"] for row in predictions} == {
        f"{name} {side}" for name in ("a.wav", "b.wav") for side in ("left", "right")
    }
    assert len(read(output / "timeline.csv")) == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "give either --source"),
        (("--source", "a.csv", "--model", "runs/a"), "give either --source"),
        (("--model", "nowhere"), "no such folder"),
        (("--source", "a.csv", "--speakers-per-recording", "0"), "expected 1 or more"),
        (("--source", "a.csv", "--config.seedz=1"), "seedz"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(calls, tmp_path, capsys, options, message):
    err = fail(capsys, "recordings", calls, "--output", tmp_path / "work", *options)
    assert message in err and len(err.splitlines()) == 1


def test_a_folder_without_audio_or_without_speech_is_refused(tmp_path, model, capsys):
    folder = tmp_path / "empty"
    folder.mkdir()
    words = ("recordings", folder, "--model", model, "--output", tmp_path / "work")
    one_person = ("--speakers-per-recording", "1", "--quiet")
    assert "no audio in this folder" in fail(capsys, *words, *one_person)
    soundfile.write(folder / "a.wav", np.zeros(5 * RATE_HZ), RATE_HZ)
    assert "a.wav: holds no speech; expected" in fail(capsys, *words, *one_person)


def test_speakers_are_told_apart_in_timelines_only(model, calls, capsys):
    err = fail(capsys, "predict", model, calls / "a.wav", "--speakers-per-recording", "2")
    assert "add --timeline" in err
