"""Emotions under any of their names."""

import pytest

from jdann.corpora import labels


@pytest.mark.parametrize(
    ("label", "emotion"),
    [
        ("Surprised", "surprise"),
        ("  SURPRISE ", "surprise"),
        ("ps", "surprise"),
        ("pleasant surprise", "surprise"),
        ("Pleasant_Surprise", "surprise"),
        ("pleasant-surprised", "surprise"),
        ("anger", "angry"),
        ("ang", "angry"),
        ("joy", "happy"),
        ("happiness", "happy"),
        ("fear", "fearful"),
        ("中立", "neutral"),
        ("快乐", "happy"),
        ("伤心", "sad"),
        ("生气", "angry"),
        ("惊喜", "surprise"),
        ("ｈａｐｐｙ", "happy"),  # full width
        ("\u3000Sad\u3000", "sad"),
        ("Ärger", "angry"),
        ("A\u0308RGER", "angry"),  # decomposed
        ("Langeweile", "boredom"),
        ("tristezza", "sad"),
        ("colere", "angry"),
        ("غصہ", "angry"),
        *zip(
            ("neu", "hap", "sad", "ang", "sur", "dis", "fea"),
            ("neutral", "happy", "sad", "angry", "surprise", "disgust", "fearful"),
            strict=True,
        ),
        ("calm", "calm"),
        ("", None),
        ("0011", None),
        ("train", None),
        ("happ", None),
    ],
)
def test_canonical(label, emotion):
    assert labels.canonical(label) == emotion


def test_no_word_of_the_table_names_two_emotions():
    for name, synonyms in labels.SYNONYMS.items():
        for word in (name, *synonyms.split()):
            assert labels.canonical(word) == name


def test_nearest_word_for_a_misspelling():
    assert labels.canonical(labels.suggest_spelling("suprised") or "") == "surprise"
    assert labels.suggest_spelling("qqqq") is None


@pytest.mark.parametrize(
    ("label", "spelling"),
    [
        ("fröhlch", "fröhlich"),
        ("degoût", "dégoût"),
        ("Überraschng", "überraschung"),
        ("plesant-surprise", "pleasant surprise"),
    ],
)
def test_a_suggestion_keeps_its_accents(label, spelling):
    assert labels.suggest_spelling(label) == spelling


def test_an_unknown_language_or_gender_is_in_normal_form():
    assert labels.canonical_language("Swiss German") == "swiss_german"
    assert (
        labels.canonical_language("English Creole") == "en"
    )  # only the first word has to be known
    assert labels.canonical_gender("Non-binary") == "non_binary"


def test_the_nearest_folder_that_names_an_emotion_counts():
    assert labels.nearest_emotion("happy/0011/Angry/train") == "angry"
    assert labels.nearest_emotion("0011/train") is None
    assert labels.nearest_emotion("") is None


def test_languages_and_genders():
    assert [
        labels.canonical_language(t)
        for t in ("English", "en-US", "ZH_cn", "普通话", "Mandarin Chinese")
    ] == [
        *("en", "en", "zh", "zh", "zh"),
    ]
    assert labels.canonical_language("Klingon") == "klingon"
    assert labels.language_name("zh") == "Mandarin"
    assert labels.language_name("klingon") == "klingon"
    assert [labels.canonical_gender(t) for t in ("F", "Male", "女", "diverse")] == [
        "female",
        "male",
        "female",
        "diverse",
    ]
    codes = [
        labels.normal_form(w)
        for code, (name, words) in labels.LANGUAGES.items()
        for w in {code, name.lower(), *words.split()}
    ]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize(
    "word", ["room", "gian", "duh", "glad", "so", "bang", "arg", "train", "data"]
)
def test_other_words_are_no_emotions(word):
    """Some words of other languages would be these, without their accents."""
    assert labels.canonical(word) is None
