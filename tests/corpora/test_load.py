"""The names of domains: what they load, how the corpus is then named, and its counts."""

import os
import sys

import numpy as np
import pytest
import soundfile

from jdann.corpora import demo, describe, fingerprint, load, prepared
from jdann.errors import InputError

FIVE = ("neutral", "happy", "angry", "sad", "surprise")
ESD = ("0001/Happy/0001_000701.wav", "0011/Angry/0011_000351.wav", "0011/Sad/0011_001051.wav")


@pytest.fixture
def esd_root(tmp_path):
    root = tmp_path / "ESD"
    for file in ESD:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root / file, np.ones(1600, np.int16), 16000)
    return root


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    """A data folder whose demo corpus is made of three files."""

    def ensure(data_dir):
        root = demo.folder(data_dir)
        for file in ESD:
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(root / file, np.ones(800, np.int16), 16000)
        (root / demo.MARKER).write_text("{}")
        return root

    monkeypatch.setattr(demo, "ensure", ensure)
    return tmp_path / "data"


def files(corpus):
    return [u.file for u in corpus.utterances]


def test_auto_is_the_demo_corpus_until_esd_is_prepared(esd_root, data_dir):
    for language, description in (("en", "English"), ("zh", "Mandarin")):
        corpus = load(f"auto:{language}", FIVE, data_dir)
        assert corpus.name == f"demo:{language}"
        assert corpus.description == f"demo corpus (synthesised speech), {description}"
        assert corpus.synthetic
        assert (
            f"ESD has not been prepared in {data_dir} for {description}, so this is the demo corpus"
            in corpus.notes[0]
        )
        assert {u.language for u in corpus.utterances} == {language}
    prepared.prepare_esd(esd_root, data_dir)
    corpus = load("auto:en", FIVE, data_dir)
    assert (corpus.name, corpus.description, corpus.synthetic) == ("esd:en", "ESD, English", False)
    assert files(corpus) == list(ESD[1:])
    assert corpus.notes[0].startswith("speakers missing: 0012, ")
    assert corpus.notes[1] == "files missing: speaker 0011 has 2 of 1,750"
    assert len(corpus.read(corpus.utterances[0])[0]) == 1600
    assert files(load("esd:zh", FIVE, data_dir)) == [ESD[0]]
    assert load("demo:zh", FIVE, data_dir).name == "demo:zh"


def test_auto_where_esd_was_prepared_in_the_other_language_only(esd_root, data_dir):
    (esd_root / ESD[0]).unlink()
    prepared.prepare_esd(esd_root, data_dir)
    assert load("auto:en", FIVE, data_dir).name == "esd:en"
    corpus = load("auto:zh", FIVE, data_dir)
    assert corpus.name == "demo:zh"
    assert "for Mandarin, so this is the demo corpus" in corpus.notes[0]
    with pytest.raises(
        InputError, match=r"esd:zh: no utterance in zh; the languages of ESD are en \(2\)"
    ):
        load("esd:zh", FIVE, data_dir)


def test_esd_that_was_not_prepared(data_dir):
    with pytest.raises(
        InputError, match=r"ESD has not been prepared there; run `jdann prepare esd FOLDER`"
    ):
        load("esd:en", FIVE, data_dir)


def test_a_folder_in_two_languages(esd_root):
    with pytest.raises(
        InputError, match=rf"holds two languages; write {esd_root}:en or {esd_root}:zh"
    ):
        load(str(esd_root), FIVE)
    corpus = load(f"{esd_root}:en", FIVE)
    assert (corpus.name, corpus.description) == ("ESD:en", "ESD, English")
    assert files(corpus) == list(ESD[1:])
    with pytest.raises(
        InputError, match=r"no utterance in de; the languages of ESD are en \(2\), zh \(1\)"
    ):
        load(f"{esd_root}:de", FIVE)


def test_a_manifest_in_two_languages(esd_root):
    table = esd_root / "all.csv"
    table.write_text(
        "file,language\n"
        + "".join(f"{f},{'zh' if f[:2] == '00' and f[2] == '0' else 'en'}\n" for f in ESD)
    )
    assert load(str(table), FIVE).description == "all.csv, Mandarin and English"
    assert files(load(f"{table}:en", FIVE)) == list(ESD[1:])


def test_only_the_chosen_emotions_are_kept_and_the_others_counted(esd_root):
    table = esd_root / "t.csv"
    table.write_text(f"file,emotion\n{ESD[0]},happy\n{ESD[1]},boredom\n{ESD[2]},\n")
    corpus = load(str(table), ("happy", "sad"))
    assert [u.emotion for u in corpus.utterances] == ["happy", None]
    assert corpus.excluded_emotions == (("boredom", 1),)
    assert corpus.notes == ("no speaker ids",)
    table.write_text(f"file,emotion,speaker\n{ESD[1]},boredom,\n")
    with pytest.raises(
        InputError,
        match=r"no utterance is happy, sad; it has boredom \(1\): choose some of these in",
    ):
        load(str(table), ("happy", "sad"))
    table.write_text(f"file,speaker\n{ESD[1]},a\n{ESD[2]},\n")
    assert load(str(table), FIVE).notes == ("1 of 2 utterances have no speaker id",)


@pytest.mark.parametrize(
    ("emotions", "expected"),
    [
        (("happy", "surprised"), "'surprised' is not a known emotion; write surprise"),
        (("blub",), "'blub' is not a known emotion; expected some of neutral, calm"),
    ],
)
def test_emotions_must_have_their_own_names(emotions, expected):
    with pytest.raises(InputError, match=expected):
        load("auto:en", emotions)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            "esd",
            r"'esd' names no corpus, file or folder \(did you mean esd:en or esd:zh\?\); "
            r"expected auto:en, auto:zh, ",
        ),
        ("auto:fr", r"'auto:fr' names no corpus, file or folder"),
        ("", r"config.source or config.target is empty; expected"),
        (
            "nowhere/at/all",
            r"nowhere/at/all: no such file or folder; "
            r"expected .* a folder of audio, or a manifest \(\.csv\)",
        ),
        ("gone.csv", r"gone\.csv: no such file or folder"),
        ("gone.csv:en", r"gone\.csv:en: no such file or folder"),
        (__file__, r"is a file, but not a manifest; expected"),
    ],
)
def test_unknown_names(spec, expected):
    with pytest.raises(InputError, match=expected) as caught:
        load(spec, FIVE)
    assert "\n" not in str(caught.value)


def test_a_folder_with_nothing_usable(tmp_path):
    (tmp_path / "03-02-06-01-01-01-01.wav").touch()
    with pytest.raises(
        InputError,
        match=r"no utterance that can be used \(left out, because only speech is used: 1 song",
    ):
        load(str(tmp_path), FIVE)


def test_home_and_relative_paths(esd_root, monkeypatch):
    monkeypatch.setenv("HOME", str(esd_root.parent))
    assert files(load("~/ESD:zh", FIVE)) == [ESD[0]]
    monkeypatch.chdir(esd_root / "0001")
    assert load(".", FIVE).description == "ESD, Mandarin"
    assert load(".", FIVE).name == "0001"


def test_the_fingerprint_follows_the_samples_and_not_the_labels(esd_root):
    table = esd_root / "t.csv"

    def fingerprint_for(text):
        table.write_text(text)
        return fingerprint(load(str(table), FIVE))

    header = "file,emotion,speaker,language,start,end\n"
    first = fingerprint_for(header + f"{ESD[0]},happy,a,en,0,\n{ESD[1]},sad,b,en,0,\n")
    assert fingerprint_for(header + f"{ESD[0]},sad,c,zh,0,\n{ESD[1]},,,,,\n") == first
    assert fingerprint_for(header + f"{ESD[1]},sad,b,en,0,\n{ESD[0]},happy,a,en,0,\n") != first, (
        "the order of the rows is the order of the cache"
    )
    assert fingerprint_for(header + f"{ESD[0]},happy,a,en,0.01,\n{ESD[1]},sad,b,en,0,\n") != first
    assert fingerprint_for(header + f"{ESD[0]},happy,a,en,0,0.05\n{ESD[1]},sad,b,en,0,\n") != first
    assert fingerprint_for(header + f"{ESD[0]},happy,a,en,0,\n") != first
    same = header + f"{ESD[0]},happy,a,en,0,\n{ESD[1]},sad,b,en,0,\n"
    assert fingerprint_for(same) == first
    os.utime(esd_root / ESD[0], ns=(1, 1))
    assert fingerprint_for(same) != first


def test_description_of_a_corpus(esd_root):
    (esd_root / "broken.wav").write_bytes(b"no audio")
    table = esd_root / "t.csv"
    table.write_text(
        "file,emotion,speaker,gender,language,start,end\n"
        f"{ESD[0]},happy,a,f,en,,\n{ESD[1]},happy,b,m,en,0.02,0.05\n{ESD[2]},,b,m,,0.02,9\n"
        f"broken.wav,,,,,,\ngone.wav,,,,,,\n{ESD[0]},disgust,,,,0,0.1\n"
    )
    summary = describe(load(str(table), FIVE))
    assert summary.utterances == 4
    assert summary.labelled == 2
    assert summary.hours * 3600 == pytest.approx(0.1 + 0.03 + 0.08)
    assert summary.unreadable == 1
    assert summary.emotions == (("happy", 2), ("unknown", 2))
    assert summary.speakers == (("a", 1), ("b", 2), ("unknown", 1))
    assert summary.languages == (("en", 2), ("unknown", 2))
    assert summary.genders == (("female", 1), ("male", 2), ("unknown", 1))
    assert summary.excluded_emotions == (("disgust", 1),)
    assert summary.skipped == 1
    assert summary.notes == (
        "1 of 4 utterances have no speaker id",
        "1 file left out: gone.wav: no such file (line 6 of t.csv)",
    )


@pytest.mark.parametrize(
    ("name", "count", "excluded"),
    [
        ("ravdess", 864, {"calm": 192, "disgust": 192, "fearful": 192}),
        ("casia", 1000, {"fearful": 200}),
    ],
)
def test_the_five_classes_of_the_real_corpora(corpora_dir, name, count, excluded):
    for spec in (f"{name}.csv", name):
        corpus = load(str(corpora_dir / spec), FIVE)
        assert len(corpus.utterances) == count
        assert dict(corpus.excluded_emotions) == excluded
        assert not corpus.skipped
        assert not corpus.notes
        assert corpus.description.endswith({"ravdess": "English", "casia": "Mandarin"}[name])


def test_neither_manifest_nor_folder_needs_tfds(esd_root, monkeypatch):
    monkeypatch.setitem(sys.modules, "jdann.corpora.prepared", None)
    assert load(f"{esd_root}:en", FIVE).utterances


def test_the_unnamed_demo_corpus_tells_nothing_about_its_speakers(data_dir):
    corpus = load("demo:zh-unnamed", FIVE, data_dir)
    assert corpus.name == "demo:zh-unnamed" and corpus.synthetic
    assert files(corpus) == [f"{i:05d}.wav" for i in range(len(corpus.utterances))]
    assert all(u.speaker is None and u.path.endswith(".wav") for u in corpus.utterances)
    assert [u.emotion for u in corpus.utterances] == [
        u.emotion for u in load("demo:zh", FIVE, data_dir).utterances
    ]
    assert "no speaker ids" in corpus.notes
