"""The table of naming schemes: which names are those of a corpus, and what is read from them."""

import itertools
import string
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from jdann.corpora.folder import LAYOUTS, load_folder
from jdann.corpora.labels import SYNONYMS
from tests.support.markdown import code, table


class Field(NamedTuple):
    """A part of a name, and values that are tried there."""

    name: str
    template: str  # of the whole name, with {} for this part
    values: Iterable[str]


def numbers(digits: int) -> list[str]:
    """All numbers of so many digits."""
    return [f"{number:0{digits}d}" for number in range(10**digits)]


def letters(count: int) -> list[str]:
    """All words of so many letters."""
    return ["".join(word) for word in itertools.product(string.ascii_lowercase, repeat=count)]


WORDS = sorted({word for name, text in SYNONYMS.items() for word in (name, *text.split())})
FIELDS = {
    "ESD": (
        Field("speaker", "Angry/{}_000351.wav", numbers(4)),
        Field("number", "0011/Angry/0011_{}.wav", numbers(6)[:10000]),
    ),
    "RAVDESS": (
        Field("modality", "{}-01-06-01-02-01-01.wav", numbers(2)),
        Field("channel", "03-{}-06-01-02-01-01.wav", numbers(2)),
        Field("emotion", "03-01-{}-01-02-01-01.wav", numbers(2)),
        Field("intensity, statement, repetition", "03-01-06-{}-02-01-01.wav", numbers(2)),
        Field("actor", "03-01-06-01-02-01-{}.wav", numbers(2)),
    ),
    "CASIA": (
        Field(
            "speaker",
            "{}/angry/201.wav",
            ("liuchanhg", "wangzhe", "zhaoquanyin", "ZhaoZuoxiang", "zhangsan", "0011"),
        ),
    ),
    "EmoDB": (
        Field("speaker", "{}a01Fa.wav", numbers(2)),
        Field("sentence", "03{}Fa.wav", [f"{a}{n}" for a in "abcd" for n in numbers(2)]),
        Field("emotion", "03a01{}a.wav", string.ascii_uppercase),
    ),
    "SAVEE": (
        Field("speaker", "{}_a01.wav", [word.upper() for word in letters(2)]),
        Field("emotion", "DC_{}01.wav", [*letters(1), *letters(2)]),
        Field("number", "DC_a{}.wav", numbers(2)),
    ),
    "TESS": (
        Field("speaker", "{}_back_angry.wav", [word.upper() for word in letters(3)]),
        Field("emotion", "OAF_back_{}.wav", WORDS),
    ),
    "EMOVO": (
        Field("emotion", "{}-f1-b1.wav", letters(3)),
        Field("speaker", "rab-{}-b1.wav", [f"{a}{n}" for a in letters(1) for n in range(10)]),
    ),
    "CREMA-D": (
        Field("speaker", "{}_DFA_ANG_XX.wav", numbers(4)),
        Field("sentence", "1001_{}_ANG_XX.wav", [word.upper() for word in letters(3)]),
        Field("emotion", "1001_DFA_{}_XX.wav", [word.upper() for word in letters(3)]),
        Field("level", "1001_DFA_ANG_{}.wav", [w.upper() for w in (*letters(1), *letters(2))]),
    ),
    "nEMO": (Field("emotion", "EB0_{}_1.wav", WORDS),),
}
EXAMPLES = {
    "ESD": "0011/Angry/0011_000351.wav",
    "RAVDESS": "Actor_01/03-01-06-01-02-01-01.wav",
    "CASIA": "wangzhe/angry/201.wav",
    "EmoDB": "03a01Fa.wav",
    "SAVEE": "DC_a01.wav",
    "TESS": "OAF_back_angry.wav",
    "EMOVO": "rab-f1-b1.wav",
    "CREMA-D": "1001_DFA_ANG_XX.wav",
    "nEMO": "EB0_anger_1.wav",
}
_READ = ("emotion", "speaker", "gender", "language", "sentence", "split")


def draw(folder: Path) -> str:
    """Draws the table; the layouts are those that jdann has."""
    rows = []
    for title in LAYOUTS:
        example = folder / title / EXAMPLES[title]
        example.parent.mkdir(parents=True)
        example.touch()
        (utterance,) = load_folder(folder / title).utterances
        values = {name: getattr(utterance, name) for name in _READ}
        rows.append(
            (
                code(title.lower()),
                code(EXAMPLES[title]),
                "; ".join(_accepted(title, field) for field in FIELDS[title]),
                ", ".join(f"{name} {value}" for name, value in values.items() if value),
            )
        )
    return table(("layout", "a file", "values that are checked", "read from this file"), rows)


def _accepted(title: str, field: Field) -> str:
    """The name of a field with the values that a layout accepts there."""
    tried = list(field.values)
    positions = [
        i for i, value in enumerate(tried) if LAYOUTS[title].is_file(field.template.format(value))
    ]
    runs: list[list[int]] = []
    for position in positions:
        if runs and position == runs[-1][-1] + 1:
            runs[-1].append(position)
        else:
            runs.append([position])
    parts = []
    for run in runs:
        names = [tried[i] for i in run]
        is_range = len(names) > 2 and any(character.isdigit() for character in names[0])
        parts += [f"{names[0]} to {names[-1]}"] if is_range else names
    return f"{field.name}: {', '.join(parts)}"
