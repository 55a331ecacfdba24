"""What is no value, and what is no person: words in tables and names of folders."""

import functools
import re

from jdann.corpora.labels import LANGUAGES, canonical_gender, canonical_language


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# What programs and people write where a value is missing, in lower case.
_MISSING = _words("nan none null nil n/a #n/a na n.a. <na> unknown unk undefined missing - -- ? ??")
# Parts of a corpus, in lower case.
_PARTS = _words(
    "train training test testing evaluation eval val valid validation dev fold folds split part cv "
    "set batch disc disk cd vol volume session sess ses data dataset datasets audio audios wav "
    "wavs flac flacs mp3 ogg clip clips file files sample samples recording recordings speech "
    "corpus corpora database db raw clean original processed final output all misc "
    "emotion emotions emotional ravdess savee casia emodb berlin tess emovo crema cremad iemocap "
    "meld esd nemo emobox msp podcast improv"
)
_WORD = re.compile(r"[^\W\d_]+")


def is_missing(text: str) -> bool:
    """Whether a cell says that its value is not known: blank, "nan", "N/A", "unknown", "-", "?"."""
    return not text.strip() or text.strip().casefold() in _MISSING


def known(text: str) -> str:
    """The text of a cell without outer spaces; empty if its value is missing."""
    return "" if is_missing(text) else text.strip()


@functools.lru_cache(maxsize=4096)
def names_no_person(folder: str) -> bool:
    """Whether the name of a folder is that of a part of a corpus, not of a person.

    It is a gender, a language, a corpus, or a word such as train, fold or data, with or without a
    number. A gender with a number, as in `female_03`, may be a person.
    """
    words = [word.casefold() for word in _WORD.findall(folder)]
    if is_missing(folder):
        return True
    if not words:
        return False
    if len(words) == 1 and canonical_gender(words[0]) in ("female", "male"):
        return not any(character.isdigit() for character in folder)
    return all(
        word in _PARTS
        or canonical_gender(word) in ("female", "male")
        or (len(word) > 3 and canonical_language(word) in LANGUAGES)
        for word in words
    )
