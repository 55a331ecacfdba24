"""Folders: ESD in each layout, RAVDESS, CASIA, plain folders, and folders that cannot be used."""

import os
from collections import Counter
from pathlib import Path

import pytest

from jdann import ffmpeg
from jdann.corpora import esd, folder, load, manifest
from jdann.corpora.demo import MARKER
from jdann.corpora.index import Listing, Skipped, Utterance
from jdann.corpora.labels import canonical
from jdann.corpora.name_schemes import not_named_like
from jdann.corpora.naming import Naming
from jdann.errors import InputError


def touch(root: Path, *files: str) -> Path:
    """Makes empty files below `root`: they are listed, not opened."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


# --- ESD ---
# Two speakers, three emotions. 0011_000371 is sentence 21 (test), 0003_001750 sentence 350 (train).
OFFICIAL = (
    "0011/Angry/test/0011_000371.wav",
    "0011/Neutral/evaluation/0011_000001.wav",
    "0003/Surprise/train/0003_001750.wav",
)
FLAT = tuple(f"{Path(file).parents[1]}/{Path(file).name}" for file in OFFICIAL)
EMOTION_FIRST = (
    "angry/0011/0011_000371.wav",
    "neutral/0011/0011_000001.wav",
    "surprise/0003/0003_001750.wav",
)
COPIES_OF_ESD = {
    "official": OFFICIAL,
    "flat": FLAT,
    "official below a folder": tuple(f"Emotion Speech Dataset/{file}" for file in OFFICIAL),
    "flat below a folder": tuple(f"Emotional Speech Dataset (ESD)/{file}" for file in FLAT),
    "emotion first": EMOTION_FIRST,
    "upper case": tuple(file.replace("ngry", "NGRY").replace(".wav", ".WAV") for file in OFFICIAL),
    "flac": tuple(file.replace(".wav", ".flac") for file in FLAT),
}


@pytest.mark.parametrize("files", COPIES_OF_ESD.values(), ids=COPIES_OF_ESD)
def test_esd_in_every_layout(tmp_path, files):
    touch(
        tmp_path,
        *files,
        "__MACOSX/0011/Angry/._0011_000371.wav",
        "0011/Angry/._0011_000371.wav",
        "0011/0011.txt",
    )
    corpus = folder.load_folder(tmp_path)
    assert corpus.description == "ESD"
    assert not corpus.skipped
    assert not corpus.notes
    assert {u[2:9] for u in corpus.utterances} == {
        ("angry", "0011", "en", "male", "21", "esd", "test"),
        ("neutral", "0011", "en", "male", "1", "esd", "evaluation"),
        ("surprise", "0003", "zh", "female", "350", "esd", "train"),
    }
    assert all(
        Path(u.path) == tmp_path / u.file and Path(u.path).is_file() for u in corpus.utterances
    )
    assert [u.file for u in corpus.utterances] == sorted(u.file for u in corpus.utterances)


def test_esd_numbers_give_emotion_sentence_and_split(tmp_path):
    """Each emotion has 350 sentences: 20, 30 and 300 in the three official parts."""
    touch(tmp_path, *(f"0001_{n:06d}.wav" for n in range(1, 1751)))
    utterances = folder.load_folder(tmp_path).utterances
    assert Counter(u.split for u in utterances) == {"evaluation": 100, "test": 150, "train": 1500}
    assert set(Counter(u.sentence for u in utterances).values()) == {5}
    assert all(u.emotion is None for u in utterances), (
        "no folder names an emotion, and the number must not be used as a label"
    )


def test_esd_has_ten_speakers_of_each_language():
    assert [esd.language(s) for s in (0, 1, 10, 11, 20, 21)] == [None, "zh", "zh", "en", "en", None]


def test_esd_genders_are_half_and_half():
    assert len(esd.FEMALE) == 10
    assert sum(s <= 10 for s in esd.FEMALE) == 5


def test_esd_files_in_the_wrong_folder_are_reported(tmp_path):
    touch(
        tmp_path,
        "0011/Happy/0011_000001.wav",
        "0011/Angry/0011_000351.wav",
        "0012/Angry/0011_000352.wav",
    )
    corpus = folder.load_folder(tmp_path)
    assert [u.emotion for u in corpus.utterances] == ["angry", "happy", "angry"]
    assert {u.speaker for u in corpus.utterances} == {"0011"}
    wrong_emotion, wrong_speaker = corpus.notes
    assert wrong_emotion.startswith(
        "1 files lie in a folder whose emotion differs from that of their number"
    )
    assert wrong_emotion.endswith("0011/Happy/0011_000001.wav")
    assert wrong_speaker.endswith("0012/Angry/0011_000352.wav")


def test_other_files_and_copies_in_esd_are_skipped(tmp_path, monkeypatch):
    monkeypatch.setattr(ffmpeg, "find", lambda: None)
    touch(
        tmp_path,
        *FLAT,
        *OFFICIAL[:1],
        *(f"0011/Angry/0011_000{number}.wav" for number in range(401, 409)),
        "0011/Angry/0011_001751.wav",
        "0011/Angry/notes.mp3",
        "0011/Angry/x.m4a",
    )
    corpus = folder.load_folder(tmp_path)
    assert len(corpus.utterances) == 11
    assert {s.file: s.reason for s in corpus.skipped} == {
        "0011/Angry/test/0011_000371.wav": "a copy of 0011/Angry/0011_000371.wav",
        "0011/Angry/0011_001751.wav": not_named_like("ESD", "0011_000351.wav"),
        "0011/Angry/notes.mp3": not_named_like("ESD", "0011_000351.wav"),
        "0011/Angry/x.m4a": ".m4a needs ffmpeg, which is not installed: pip install "
        "'jdann[formats]', or convert it to .wav or .flac",
    }


@pytest.mark.slow
def test_esd_missing_files_are_counted(tmp_path):
    touch(
        tmp_path,
        *(f"{s:04d}/Neutral/{s:04d}_{n:06d}.wav" for s in range(11, 20) for n in range(1, 1751)),
    )
    (tmp_path / "0013/Neutral/0013_000007.wav").unlink()
    assert esd.missing(folder.load_folder(tmp_path).utterances) == [
        "speakers missing: 0020",
        "files missing: speaker 0013 has 1,749 of 1,750",
    ]


ENGLISH = "0011_000001\tDon’t café.\tNeutral\n0011_000351\tYes.\tAngry\n"
MANDARIN = "0001_000001\t打远一看。\t中立\n0001_000351\t好，它们\t生气\n"


@pytest.mark.parametrize(
    ("name", "text", "encoding"),
    [
        *[
            ("0011", ENGLISH, e)
            for e in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252")
        ],
        *[
            ("0001", MANDARIN, e)
            for e in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "gb18030")
        ],
    ],
)
def test_transcripts_in_every_encoding(tmp_path, name, text, encoding):
    path = tmp_path / f"{name}.txt"
    path.write_bytes(text.encode(encoding))
    expected = [line.split("\t")[1] for line in text.splitlines()]
    assert list(esd.read_transcripts(path).items()) == [
        (f"{name}_000001", expected[0]),
        (f"{name}_000351", expected[1]),
    ]


def test_transcripts_with_spaces_and_wrong_ids(tmp_path):
    path = tmp_path / "0012.txt"
    path.write_text(
        "0011_000001 A dog, sad. Neutral\n0012_000002\tTwo  words\tHappy\n\n"
        "rubbish\n0012_000003 No label\n"
    )
    assert esd.read_transcripts(path) == {
        "0012_000001": "A dog, sad.",
        "0012_000002": "Two  words",
        "0012_000003": "No label",
    }
    assert esd.read_transcripts(tmp_path / "0013.txt") == {}
    path.write_bytes(bytes(range(256)))
    assert esd.read_transcripts(path) == {}


def test_the_demo_corpus_is_never_taken_for_people(tmp_path):
    touch(tmp_path, *OFFICIAL, MARKER)
    corpus = folder.load_folder(tmp_path)
    assert corpus.synthetic
    assert corpus.description == "demo corpus (synthesised speech)"
    assert {u.corpus for u in corpus.utterances} == {"demo"}


# --- RAVDESS and CASIA ---
def test_ravdess(tmp_path):
    touch(
        tmp_path,
        *(f"Actor_12/03-01-{e:02d}-01-02-01-12.wav" for e in range(1, 9)),
        "Actor_01/03-01-06-01-01-01-01.flac",
        "Actor_01/03-02-06-01-01-01-01.wav",
        "Actor_01/01-01-06-01-01-01-01.wav",
        # One mirror contains everything twice.
        "audio_speech_actors_01-24/Actor_01/03-01-06-01-01-01-01.wav",
        "Actor_01/03-01-09-01-01-01-01.wav",
        "Actor_01/readme.ogg",
    )
    corpus = folder.load_folder(tmp_path)
    assert corpus.description == "RAVDESS"
    assert [u.emotion for u in corpus.utterances if u.speaker == "Actor_12"] == [
        *("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprise"),
    ]
    assert {(u.speaker, u.gender, u.sentence, u.language) for u in corpus.utterances} == {
        ("Actor_12", "female", "02", "en"),
        ("Actor_01", "male", "01", "en"),
    }
    assert len(corpus.utterances) == 9
    assert [s.file for s in corpus.skipped] == [
        "audio_speech_actors_01-24/Actor_01/03-01-06-01-01-01-01.wav",
        "Actor_01/03-01-09-01-01-01-01.wav",
        "Actor_01/readme.ogg",
    ]
    assert corpus.notes == (
        "left out, because only speech is used: 1 song",
        "left out, because they repeat the files without a film: 1 sound track",
        "--layout=plain also reads files that are not named like those of the corpus; then "
        "emotions come from the names of folders only",
    )


def test_casia(tmp_path):
    touch(
        tmp_path,
        "CASIA/ZhaoZuoxiang/fear/201.wav",
        "CASIA/liuchanhg/happy/202.wav",
        *(f"CASIA/wangzhe/sad/{number}.wav" for number in range(201, 205)),
        "CASIA/intro.wav",
    )
    corpus = folder.load_folder(tmp_path)
    assert corpus.description == "CASIA"
    assert [u[2:8] for u in corpus.utterances if u.speaker != "wangzhe"] == [
        ("fearful", "ZhaoZuoxiang", "zh", "male", "201", "casia"),
        ("happy", "liuchanhg", "zh", "female", "202", "casia"),
    ]
    assert [s.file for s in corpus.skipped] == ["CASIA/intro.wav"]


@pytest.mark.parametrize("name", ["ravdess", "casia", "emodb", "savee"])
def test_a_real_corpus_by_folder_and_by_manifest(corpora_dir, name):
    """The manifests were not written by this package."""
    by_folder = folder.load_folder(corpora_dir / name).utterances
    by_manifest = manifest.load_manifest(corpora_dir / f"{name}.csv").utterances
    assert {u._replace(file=f"{name}/{u.file}") for u in by_folder} == set(by_manifest)
    assert len(by_folder) == {"ravdess": 1440, "casia": 1200, "emodb": 535, "savee": 480}[name]


# --- A layout from outside the package ---
def test_a_new_layout_is_one_entry_of_the_dict(tmp_path, monkeypatch):
    """Files named `anna.happy.1.wav`, in a layout that only this test knows."""
    many = [f"carl.happy.{number}.wav" for number in range(3, 6)]
    touch(tmp_path, "anna.happy.1.wav", "sad/bert.angry.2.wav", *many, "notes.wav")

    def is_file(file):
        return file.count(".") == 3

    def read(root, files):
        utterances, skipped = [], []
        for file in files:
            parts = Path(file).name.split(".")
            if len(parts) != 4:
                skipped.append(Skipped(file, "no name of this corpus"))
                continue
            emotion = canonical(parts[1])
            utterances.append(Utterance(file, str(root / file), emotion, speaker=parts[0]))
        return Listing(utterances, skipped, ["read by the new layout"])

    assert folder.load_folder(tmp_path).description == f"folder {tmp_path.name}"
    monkeypatch.setitem(folder.LAYOUTS, "NEW", folder.Layout(is_file, read))
    corpus = load(str(tmp_path), ("happy", "angry"))
    assert corpus.description == "NEW"
    assert {(u.emotion, u.speaker) for u in corpus.utterances} == {
        ("happy", "anna"),
        ("happy", "carl"),
        ("angry", "bert"),
    }
    assert corpus.skipped == (Skipped("notes.wav", "no name of this corpus"),)
    assert corpus.notes == ("read by the new layout",)


EXAMPLES = {
    "ESD": "0011/Angry/0011_000351.wav",
    "RAVDESS": "Actor_01/03-01-06-01-01-01-01.wav",
    "CASIA": "wangzhe/sad/201.wav",
    "EmoDB": "wav/03a01Fa.wav",
    "SAVEE": "DC_sa01.wav",
    "TESS": "OAF_back_angry.wav",
    "EMOVO": "f1/rab-f1-b1.wav",
    "CREMA-D": "AudioWAV/1001_DFA_ANG_XX.wav",
    "nEMO": "samples/EB0_anger_1.wav",
}


@pytest.mark.parametrize("name", folder.LAYOUTS)
def test_each_layout_leaves_other_corpora_alone(name):
    """At least half of the files must be in known layouts."""
    file = EXAMPLES[name]
    assert folder.assign_layouts([file, "a.wav"]) == {name: [file], "plain": ["a.wav"]}
    assert list(folder.assign_layouts([file, "a.wav", "b.wav"])) == ["plain"]
    assert [title for title, layout in folder.LAYOUTS.items() if layout.is_file(file)] == [name]


@pytest.mark.parametrize(
    ("name", "files", "expected"),
    [
        (
            "EmoDB",
            ["03a01Fa.wav", "16b10Wb.wav"],
            [("happy", "03", "male"), ("angry", "16", "female")],
        ),
        (
            "SAVEE",
            ["DC_a01.wav", "KL/su15.wav"],
            [("angry", "DC", "male"), ("surprise", "KL", "male")],
        ),
        ("TESS", ["YAF_dog_ps.wav"], [("surprise", "YAF", "female")]),
        ("EMOVO", ["gio-m2-n4.wav"], [("happy", "M2", "male")]),
        ("CREMA-D", ["1091_WSI_FEA_XX.wav"], [("fearful", "1091", None)]),
        ("nEMO", ["SK1_sadness_90.wav"], [("sad", "SK1", None)]),
    ],
)
def test_names_tell_emotion_speaker_and_gender(tmp_path, name, files, expected):
    corpus = folder.load_folder(touch(tmp_path, *files))
    assert corpus.description == name and not corpus.skipped and not corpus.notes
    assert [(u.emotion, u.speaker, u.gender) for u in corpus.utterances] == expected


@pytest.mark.parametrize(
    "name",
    [
        "2101_231127.wav",  # an extension and a date, not ESD
        "0021_000351.wav",  # ESD has 20 speakers
        "0011_001751.wav",  # and 1750 files of each
        "2023-11-27-14-22-11-01.wav",  # a date and a time, not RAVDESS
        "04-01-06-01-02-01-12.wav",
        "03-01-06-01-02-01-25.wav",
        "17a01Fa.wav",  # EmoDB has no speaker 17
        "DC_a31.wav",
        "1092_DFA_ANG_XX.wav",
    ],
)
def test_values_that_do_not_occur_are_no_layout(tmp_path, name):
    corpus = folder.load_folder(touch(tmp_path, name, f"x{name}"))
    assert corpus.description.startswith("folder") and len(corpus.utterances) == 2


def test_a_folder_of_two_corpora_loses_neither(tmp_path):
    ravdess = [f"03-01-0{e}-01-01-01-{a:02d}.wav" for e in range(1, 9) for a in range(1, 25)]
    savee = [f"DC_a{n:02d}.wav" for n in range(1, 16)] + [f"KL_n{n:02d}.wav" for n in range(1, 31)]
    tess = [f"OAF_{chr(97 + a)}{chr(97 + b)}_sad.wav" for a in range(26) for b in range(26)]
    more = folder.load_folder(touch(tmp_path / "three", *ravdess, *savee, *tess))
    assert Counter(u.corpus for u in more.utterances)["savee"] == 45  # less than a tenth of all
    (tmp_path / "two").mkdir()
    tmp_path /= "two"
    corpus = folder.load_folder(touch(tmp_path, *ravdess, *savee))
    assert len(corpus.utterances) == 192 + 45 and not corpus.skipped
    assert Counter(u.corpus for u in corpus.utterances) == {"ravdess": 192, "savee": 45}
    assert corpus.description == "RAVDESS and SAVEE"
    assert corpus.notes[0].startswith("understood as 192 files of RAVDESS and 45 files of SAVEE")


def test_many_files_in_no_layout_are_read_and_few_are_skipped(tmp_path):
    ravdess = [f"03-01-0{e}-01-01-01-01.wav" for e in range(1, 9)]
    many = folder.load_folder(
        touch(tmp_path / "many", *ravdess, *(f"sad/{i}.wav" for i in range(5)))
    )
    assert Counter(u.emotion for u in many.utterances)["sad"] == 6
    assert "5 files in no known layout" in many.notes[0]
    few = folder.load_folder(touch(tmp_path / "few", *ravdess, "hello.wav"))
    assert len(few.utterances) == 8
    assert few.skipped[0].file == "hello.wav"
    assert few.skipped[0].reason.startswith("not named like a file of RAVDESS, such as 03-01-")
    assert few.notes[0].startswith("--layout=plain also reads files")


def test_the_user_can_choose_the_layout(tmp_path):
    touch(tmp_path, "angry/03-01-01-01-01-01-01.wav", "sad/03-01-01-01-01-01-02.wav", "sad/x.wav")
    plain = folder.load_folder(tmp_path, Naming("plain"))
    assert [u.emotion for u in plain.utterances] == ["angry", "sad", "sad"]
    named = folder.load_folder(tmp_path, Naming("RAVDESS"))
    assert [u.emotion for u in named.utterances] == ["neutral", "neutral"]
    assert [skipped.file for skipped in named.skipped] == ["sad/x.wav"]
    with pytest.raises(InputError, match="no file is named as in EmoDB"):
        folder.load_folder(tmp_path, Naming("emodb"))
    with pytest.raises(InputError, match=r"--layout=emobd: no such layout; expected auto, plain"):
        folder.load_folder(tmp_path, Naming("emobd"))


# --- Plain folders ---
def test_a_plain_folder_is_unlabelled(tmp_path):
    touch(
        tmp_path / "happy",
        "b.wav",
        "a.FLAC",
        "x/c.mp3",
        "d.ogg",
        "notes.txt",
        ".hidden.wav",
        ".git/e.wav",
    )
    corpus = folder.load_folder(tmp_path / "happy")
    assert [u.file for u in corpus.utterances] == ["a.FLAC", "b.wav", "d.ogg", "x/c.mp3"]
    assert not corpus.labelled, "the folder's own name is no label"
    assert {u.speaker for u in corpus.utterances} == {None}
    assert corpus.description == "folder happy"
    (note,) = corpus.notes
    assert note.startswith("nothing is labelled") and note.endswith("choose a layout by --layout")
    (tmp_path / "happy" / "labels.csv").touch()
    (note,) = folder.load_folder(tmp_path / "happy").notes
    assert note.endswith("if a table in the folder has the labels, give that: labels.csv")


def test_folders_give_labels_and_speakers(tmp_path):
    touch(
        tmp_path,
        "all/anna/Freude/1.wav",
        "all/anna/train/Wut/2.wav",
        "all/bert/Wut/test/3.wav",
        "all/bert/misc/4.wav",
    )
    corpus = folder.load_folder(tmp_path)
    assert [(u.emotion, u.speaker) for u in corpus.utterances] == [
        *(("happy", "anna"), ("angry", "anna"), ("angry", "bert"), (None, None)),
    ]
    assert corpus.notes == (
        "unlabelled, because no folder above them names an emotion: 1 file in all/bert/misc",
    )


@pytest.mark.parametrize(
    "files",
    [
        ("sad/1.wav", "happy/2.wav"),
        ("wavs/sad/1.wav", "wavs/happy/2.wav"),
        ("train/sad/1.wav", "test/happy/2.wav"),
        ("female/sad/1.wav", "male/happy/2.wav"),
        ("fold1/sad/1.wav", "fold2/happy/2.wav"),
        ("Session1/sad/1.wav", "Session2/happy/2.wav"),
        ("English/sad/1.wav", "中文/happy/2.wav"),
        ("RAVDESS/sad/1.wav", "EmoDB/happy/2.wav"),
        ("train_data/sad/1.wav", "test_data/happy/2.wav"),
        ("unknown/sad/1.wav", "nan/happy/2.wav"),
    ],
)
def test_some_folders_are_no_speakers(tmp_path, files):
    corpus = folder.load_folder(touch(tmp_path, *files))
    assert {u.emotion for u in corpus.utterances} == {"sad", "happy"}
    assert {u.speaker for u in corpus.utterances} == {None}


def test_people_called_like_emotions_are_no_emotions(tmp_path):
    names = ("Anna", "Bert", "Ira", "Joy", "Zoe")
    corpus = folder.load_folder(touch(tmp_path, *(f"calls/{name}/1.wav" for name in names)))
    assert not corpus.labelled
    assert corpus.notes == (
        "these folders are named like emotions, but most folders beside them are not, so they are "
        "no labels: calls/Ira, calls/Joy",
    )


def test_persons_with_a_gender_in_their_name_are_persons(tmp_path):
    files = ("female_01/sad/1.wav", "F02/happy/2.wav", "m3/sad/3.wav")
    corpus = folder.load_folder(touch(tmp_path, *files))
    assert {u.speaker for u in corpus.utterances} == {"female_01", "F02", "m3"}


def test_links_are_followed_once(tmp_path):
    touch(tmp_path / "real", "sad/1.wav")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "loop").symlink_to(tmp_path / "root")
    assert [u.file for u in folder.load_folder(tmp_path / "root").utterances] == ["link/sad/1.wav"]


def test_unusable_folders(tmp_path, monkeypatch):
    monkeypatch.setattr(ffmpeg, "find", lambda: None)
    with pytest.raises(InputError, match=r"gone: no such folder; check the path"):
        folder.load_folder(tmp_path / "gone")
    with pytest.raises(InputError, match=r"no audio in this folder; expected \.aif, .*\.wav"):
        folder.load_folder(tmp_path)
    touch(tmp_path, "a.m4a", "b.txt", "__MACOSX/c.wav")
    with pytest.raises(
        InputError,
        match=r"no audio in this folder, only 1 that cannot be read, such as a\.m4a; expected",
    ):
        folder.load_folder(tmp_path)
    monkeypatch.setattr(ffmpeg, "find", lambda: "ffmpeg")
    assert [u.file for u in folder.load_folder(tmp_path).utterances] == ["a.m4a"]


def test_folders_that_may_not_be_read(tmp_path, monkeypatch):
    touch(tmp_path, "a.wav", "closed/b.wav")
    scandir = os.scandir

    def denied(name):
        def scan(path):
            if Path(path).name == name:
                raise PermissionError(13, "Permission denied", str(path))
            return scandir(path)

        return scan

    monkeypatch.setattr(os, "scandir", denied("closed"))
    (skipped,) = folder.load_folder(tmp_path).skipped
    assert skipped[:2] == ("closed", "folder cannot be read (Permission denied)")
    monkeypatch.setattr(os, "scandir", denied(tmp_path.name))
    with pytest.raises(
        InputError, match=r"cannot be read \(Permission denied\); check who may read the folder"
    ):
        folder.load_folder(tmp_path)
