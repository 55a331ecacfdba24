"""Tables of known data sets: MELD, EmoBox's JSON lines, and databases in audformat."""

import pytest

from jdann.corpora import load
from jdann.errors import InputError
from jdann.inference.items import find_items

EMOTIONS = ("neutral", "happy", "angry", "sad", "surprise")


def fill(folder, texts, audio=()):
    """Writes text files and empty audio files into a folder."""
    for name, text in {**texts, **dict.fromkeys(audio, "")}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def facts(corpus):
    return [(u.file, u.emotion, u.speaker) for u in corpus.utterances]


MELD = """Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,StartTime,EndTime
1,"also I was, the point person",Chandler,neutral,neutral,0,0,"00:16:16,059","00:16:21,731"
2,You must\x92ve had,The Interviewer,joy,positive,0,1,"00:16:21,940","00:16:23,442"
"""


def test_meld_names_dialogues_instead_of_files(tmp_path):
    """The times are those of the episode, so each clip is used as a whole."""
    clips = ["wav/train_splits/dia0_utt0.wav", "wav/dev_splits_complete/dia0_utt0.wav"]
    clips.append("wav/train_splits/dia0_utt1.WAV")
    fill(
        tmp_path, {"train_sent_emo.csv": MELD, "dev_sent_emo.csv": MELD}, [*clips, "dia0_utt0.txt"]
    )
    train = load(str(tmp_path / "train_sent_emo.csv"), EMOTIONS)
    assert facts(train) == [
        ("wav/train_splits/dia0_utt0.wav", "neutral", "Chandler"),
        ("wav/train_splits/dia0_utt1.WAV", "happy", "The Interviewer"),
    ]
    assert {(u.start_s, u.end_s) for u in train.utterances} == {(0.0, None)}
    dev = load(str(tmp_path / "dev_sent_emo.csv"), EMOTIONS)
    assert dev.utterances[0].file == "wav/dev_splits_complete/dia0_utt0.wav"
    items = find_items([str(tmp_path / "dev_sent_emo.csv")])
    assert items[0].part.path == tmp_path / "wav/dev_splits_complete/dia0_utt0.wav"


def test_meld_without_clips_is_refused(tmp_path):
    fill(tmp_path, {"train_sent_emo.csv": MELD})
    with pytest.raises(InputError, match=r"no clip like dia0_utt0\.wav"):
        load(str(tmp_path / "train_sent_emo.csv"), EMOTIONS)


def test_json_lines_of_emobox(tmp_path):
    """Its paths start in a folder above that of the table."""
    lines = (
        '{"key": "a", "dataset": "x", "wav": "downloads/x/a.wav", "emo": "hap", "spk": 3, '
        '"length": 1.5, "label": null, "channel": [1]}\n\n'
        '{"key": "b", "wav": "downloads/x/b.wav", "emo": "Sadness", "spk": "N/A"}\n'
    )
    audio = ["downloads/x/a.wav", "downloads/x/b.wav"]
    fill(tmp_path, {"data/x/fold_1/x_train_fold_1.jsonl": lines}, audio)
    path = str(tmp_path / "data/x/fold_1/x_train_fold_1.jsonl")
    corpus = load(path, EMOTIONS)
    assert facts(corpus) == [
        ("downloads/x/a.wav", "happy", "3"),
        ("downloads/x/b.wav", "sad", None),
    ]
    assert [u.path for u in corpus.utterances] == [str(tmp_path / name) for name in audio]
    assert [item.part.path for item in find_items([path])] == [tmp_path / name for name in audio]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"wav": "a.wav"}\n{"wav": \n', "line 2 is not JSON"),
        ('["a.wav"]\n', "line 1 is JSON, but no object"),
        ('{"key": "a"}\n', "no column `file`, only key"),
        ('{"wav": "a.wav"}\n{"emo": "sad"}\n', "line 2 has no file"),
        ('{"wav": "a\\u0000.wav"}\n', "line 1 has a null character"),
        ("[" * 100_000, "line 1 is not JSON"),
        ("", "is empty"),
    ],
)
def test_json_lines_that_cannot_be_read(tmp_path, text, message):
    fill(tmp_path, {"list.jsonl": text}, ["a.wav"])
    with pytest.raises(InputError, match=message) as refusal:
        load(str(tmp_path / "list.jsonl"), EMOTIONS)
    assert "\n" not in str(refusal.value)


def test_a_bare_name_is_not_looked_for_above_its_table(tmp_path):
    """It could be another clip of the same name."""
    fill(tmp_path, {"lists/list.csv": "file\na.wav\nb.wav\n"}, ["a.wav", "lists/b.wav"])
    corpus = load(str(tmp_path / "lists/list.csv"), EMOTIONS)
    assert [u.file for u in corpus.utterances] == ["b.wav"]
    assert [s.file for s in corpus.skipped] == ["a.wav"]


HEADER = """
name: mydb
languages: [deu]
schemes:
  emotion: {dtype: str, labels: [anger, neutral]}
  speaker:
    dtype: int
    labels: SPEAKERS
tables:
  files: {type: filewise, columns: {speaker: {scheme_id: speaker}}}
  emotion.gold: {type: filewise, columns: {emotion: {scheme_id: emotion}}}
  emotion.all: {type: segmented, columns: {emotion: {scheme_id: emotion}}}
misc_tables:
  speaker: {levels: {speaker: int}, columns: {gender: {}}}
"""
TABLES = {
    "db.files.csv": "file,speaker\na.wav,3\nb.wav,8\n",
    "db.emotion.gold.csv": "file,emotion\na.wav,anger\nb.wav,neutral\n",
    "db.emotion.all.csv": (
        "file,start,end,emotion\n"
        "c.wav,0 days 00:00:01,0 days 00:00:02.5,neutral\n"
        "a.wav,0 days 00:00:00,,neutral\n"
    ),
    "db.speaker.csv": "speaker,gender\n3,male\n8,female\n",
}


@pytest.mark.parametrize("speakers", ["{3: {gender: male}, 8: {gender: female}}", "speaker"])
def test_audformat_joins_its_tables(tmp_path, speakers):
    """Facts about speakers stand in the header, or in a table of their own."""
    header = {"db.yaml": HEADER.replace("SPEAKERS", speakers)}
    fill(tmp_path, TABLES | header, ["a.wav", "b.wav", "c.wav"])
    corpus = load(str(tmp_path), EMOTIONS)
    assert facts(corpus) == [
        ("a.wav", "angry", "3"),  # of the gold standard, which comes first
        ("b.wav", "neutral", "8"),
        ("c.wav", "neutral", None),
    ]
    assert [u.gender for u in corpus.utterances] == ["male", "female", None]
    assert {u.language for u in corpus.utterances} == {"de"}
    assert (corpus.utterances[2].start_s, corpus.utterances[2].end_s) == (1.0, 2.5)
    assert corpus.description == "mydb (audformat), German"


def test_audformat_that_cannot_be_read(tmp_path):
    header = {"db.yaml": HEADER.replace("SPEAKERS", "{}")}
    fill(tmp_path, TABLES | header, ["a.wav"])
    (tmp_path / "db.files.csv").rename(tmp_path / "db.files.parquet")
    with pytest.raises(InputError, match=r"db\.files\.csv: is there only as \.parquet"):
        load(str(tmp_path), EMOTIONS)
    unreadable = ["tables: [", "tables: 3", "tables:", "tables: {1: {}}", "misc_tables: a", "- a"]
    for text in (*unreadable, "!!python/object:os.system {}", "[" * 100_000):
        (tmp_path / "db.yaml").write_text(text)
        with pytest.raises(InputError, match=r"db\.yaml: ") as refusal:
            load(str(tmp_path), EMOTIONS)
        assert "\n" not in str(refusal.value)
    (tmp_path / "db.yaml").write_text("name: empty\n")
    with pytest.raises(InputError, match="no table has a column `emotion`"):
        load(str(tmp_path), EMOTIONS)
