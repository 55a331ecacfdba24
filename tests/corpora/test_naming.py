"""Words of the user's own for emotions."""

import re

import pytest

from jdann.corpora import load, make_naming
from jdann.data.target_labels import read_target_labels
from jdann.errors import InputError

EMOTIONS = ("neutral", "happy", "angry", "sad", "surprise")
WORDS = "Gribbit=angry, blä = HAPPY,sad=neutral"


@pytest.fixture
def corpus(tmp_path):
    """A folder whose labels are invented words, and a manifest of it."""
    for name in ("gribbit/a.wav", "BLA/b.wav", "sad/c.wav"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    (tmp_path / "list.csv").write_text(
        "file,emotion\ngribbit/a.wav,GRIBBIT\nBLA/b.wav,blä\nsad/c.wav,sad\n", encoding="utf-8"
    )
    (tmp_path / "words.csv").write_text("Word;Emotion\ngribbit;Wut\nblä;joy\nsad;neutral\n")
    return tmp_path


@pytest.mark.parametrize("by", ["words", "table"])
@pytest.mark.parametrize("name", ["", "list.csv"])
def test_words_name_emotions(corpus, by, name):
    """They count before the words that are built in."""
    naming = make_naming("auto", WORDS if by == "words" else str(corpus / "words.csv"))
    utterances = load(str(corpus / name), EMOTIONS, naming=naming).utterances
    expected = {"gribbit/a.wav": "angry", "BLA/b.wav": "happy", "sad/c.wav": "neutral"}
    assert {u.file: u.emotion for u in utterances} == expected
    (corpus / "few.csv").write_text("file,emotion\ngribbit/a.wav,gribbit\n")
    target = [u._replace(emotion=None) for u in utterances]
    numbers = read_target_labels(str(corpus / "few.csv"), target, EMOTIONS, naming=naming)
    labelled = {
        u.file: label for u, label in zip(target, numbers.tolist(), strict=True) if label >= 0
    }
    assert labelled == {"gribbit/a.wav": EMOTIONS.index("angry")}


def test_without_words_the_manifest_is_refused(corpus):
    message = r"GRIBBIT \(1 row\), blä \(1 row\).*--labels=WORD=EMOTION"
    with pytest.raises(InputError, match=message):
        load(str(corpus / "list.csv"), EMOTIONS)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("kızgın", "'kızgın' is no word=emotion; expected words like"),
        ("=angry", "'=angry' is no word=emotion"),
        ("a=hapy", "'hapy' is not a known emotion, did you mean happy?"),
        ("a=angry,A=sad", "'A' already means angry; keep one of the two"),
        ("gone.csv", "gone.csv: cannot be read"),
    ],
)
def test_words_that_cannot_be_used(labels, message):
    with pytest.raises(InputError, match=re.escape(message)):
        make_naming("auto", labels)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,emotion\na,sad\n", "needs the columns word,emotion"),
        ("word,emotion\n,sad\n", "line 2 has no word"),
        ("word,emotion\na,sadd\n", "line 2: 'sadd' is not a known emotion, did you mean"),
    ],
)
def test_tables_of_words_that_cannot_be_used(tmp_path, text, message):
    (tmp_path / "words.csv").write_text(text)
    with pytest.raises(InputError, match=re.escape(message)):
        make_naming("auto", str(tmp_path / "words.csv"))
