"""The demo corpus: ESD's layout, the same bytes each time, and no folder after an interruption."""

import hashlib
import json
import os
import sys
import threading

import numpy as np
import pytest
import soundfile

from jdann import locks
from jdann.corpora import demo, demo_speech, esd
from jdann.corpora.sentences import SENTENCES
from jdann.errors import InputError

pytest.importorskip("espeakng_loader", reason='needs pip install "jdann[demo]"')


def _digests(folder):
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("data")
    demo.ensure(data_dir, sentences=2, speakers=2)
    return data_dir


def test_layout_is_esds(data_dir):
    folder = demo.folder(data_dir, sentences=2, speakers=2)
    files = {file.relative_to(folder).as_posix() for file in folder.rglob("*.wav")}
    first = {"Neutral": 0, "Angry": 350, "Happy": 700, "Sad": 1050, "Surprise": 1400}
    assert files == {
        f"{speaker}/{emotion}/{part}/{speaker}_{number + sentence:06d}.wav"
        for speaker in ("0001", "0002", "0011", "0012")
        for emotion, number in first.items()
        for part, sentence in (("evaluation", 1), ("train", 176))
    }
    for file in folder.rglob("*.wav"):
        about = soundfile.info(file)
        assert (about.samplerate, about.channels, about.subtype) == (16000, 1, "PCM_16")
        assert 0.8 < about.duration < 8
        samples = soundfile.read(file)[0]
        assert np.sqrt(np.mean(samples**2)) > 0.005 and np.abs(samples).max() < 1


def test_transcripts_are_esds(data_dir):
    folder = demo.folder(data_dir, sentences=2, speakers=2)
    rows = [
        line.split("\t")
        for line in (folder / "0001/0001.txt").read_text(encoding="utf-8").splitlines()
    ]
    assert len(rows) == 10 and rows[2] == ["0001_000351", SENTENCES[0][1], "生气"]
    english = (folder / "0011/0011.txt").read_text(encoding="utf-8").splitlines()
    assert english[-1] == f"0011_001576\t{SENTENCES[1][0]}\tSurprise"


def test_ten_sentences_reach_all_three_parts():
    parts = [esd.official_split(demo.sentence_number(k, 10)) for k in range(10)]
    assert {part: parts.count(part) for part in parts} == {"evaluation": 1, "test": 1, "train": 8}


def test_second_call_does_nothing_and_force_makes_the_same(data_dir, monkeypatch):
    folder = demo.folder(data_dir, sentences=2, speakers=2)
    before, made_at = _digests(folder), (folder / demo.MARKER).stat().st_mtime_ns
    assert demo.ensure(data_dir, sentences=2, speakers=2) == folder
    assert (folder / demo.MARKER).stat().st_mtime_ns == made_at
    # One process for all speakers gives the same files as several processes.
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    demo.ensure(data_dir, sentences=2, speakers=2, force=True)
    assert (folder / demo.MARKER).stat().st_mtime_ns != made_at
    assert _digests(folder) == before
    assert [entry.name for entry in data_dir.iterdir()] == [folder.name]


def test_utterances_differ(data_dir):
    digests = [
        digest
        for file, digest in _digests(demo.folder(data_dir, sentences=2, speakers=2)).items()
        if "wav" in file
    ]
    assert len(set(digests)) == len(digests) == 40


@pytest.mark.slow
def test_an_interruption_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(items, *_):
        next(iter(items))
        raise KeyboardInterrupt
        yield

    with monkeypatch.context() as patch:
        patch.setattr(demo, "track", interrupted)
        with pytest.raises(KeyboardInterrupt):
            demo.ensure(tmp_path, sentences=1, speakers=1)
    assert not list(tmp_path.iterdir())
    # A folder without the marker is not taken for the corpus.
    unmarked = demo.folder(tmp_path, sentences=1, speakers=1)
    (unmarked / "0001").mkdir(parents=True)
    assert demo.ensure(tmp_path, sentences=1, speakers=1) == unmarked
    assert len(list(unmarked.rglob("*.wav"))) == 10


def test_a_second_process_waits_and_synthesises_nothing(tmp_path, monkeypatch):
    begun, go_on, lines, calls = threading.Event(), threading.Event(), [], []

    def slow_make(root, scratch, marker):
        calls.append(1)
        begun.set()
        assert go_on.wait(60)
        root.mkdir()
        (root / demo.MARKER).write_text(json.dumps(marker))

    def note(text, *values):
        lines.append(text % values)
        go_on.set()

    monkeypatch.setattr(demo, "_make", slow_make)
    monkeypatch.setattr(locks.log, "warning", note)
    # For a lock, another descriptor of the same process is as good as another process.
    first = threading.Thread(target=lambda: demo.ensure(tmp_path))
    first.start()
    assert begun.wait(60)
    folder = demo.ensure(tmp_path)
    first.join()
    assert (folder / demo.MARKER).exists() and len(calls) == 1
    assert len(lines) == 1 and "which has made this demo corpus for" in lines[0]
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("content", ["", "[1, 2]", '{"made_by": "another"}', "\0"])
def test_a_foreign_marker_is_no_demo_corpus(tmp_path, monkeypatch, content):
    folder = demo.folder(tmp_path, sentences=2, speakers=2)
    folder.mkdir()
    (folder / demo.MARKER).write_text(content)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(demo, "_make", fail)
    with pytest.raises(InputError, match="cannot be written there"):
        demo.ensure(tmp_path, sentences=2, speakers=2)
    assert (folder / demo.MARKER).read_text() == content


def test_failing_synthesiser_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "espeakng_loader.py").write_text("raise ImportError('no such voice today')")
    with pytest.raises(InputError, match="no such voice today"):
        demo.ensure(tmp_path / "data", sentences=1, speakers=1)
    assert not list((tmp_path / "data").iterdir())


def test_missing_espeak_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(demo.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r'pip install "jdann\[demo\]"'):
        demo.ensure(tmp_path)


@pytest.mark.parametrize(
    "wrong", [{"sentences": 0}, {"sentences": 351}, {"speakers": 0}, {"speakers": 11}]
)
def test_numbers_out_of_range_are_refused(tmp_path, wrong):
    with pytest.raises(InputError, match="expected 1 to"):
        demo.ensure(tmp_path, **wrong)


def test_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "data").write_text("a file")
    with pytest.raises(InputError, match=r"data/demo-10x10: .*cannot be written"):
        demo.ensure(tmp_path / "data")


def test_sentences_are_parallel_and_all_different():
    assert len(SENTENCES) == 350
    english, mandarin = zip(*SENTENCES, strict=True)
    assert len(set(english)) == len(set(mandarin)) == 350
    assert all(text.isascii() and text.endswith(".") for text in english)
    assert all(
        text.endswith("。") and all("一" <= c <= "鿿" for c in text[:-1]) for text in mandarin
    )


def test_speakers_are_as_many_of_each_gender_and_all_different():
    speakers = [demo_speech.make_speaker(number) for number in range(1, 21)]
    assert len({speaker.voice for speaker in speakers}) == 20
    assert [speaker.language for speaker in speakers] == ["zh"] * 10 + ["en"] * 10
    genders = demo_speech.GENDERS
    assert genders[:10].count("F") == genders[10:].count("F") == 5
