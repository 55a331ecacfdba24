"""What a user says about names: the layout of file names, and words for emotions."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from jdann.corpora.labels import EMOTIONS, canonical, normal_form, suggest_spelling
from jdann.corpora.tables import SUFFIXES, read_cells
from jdann.errors import InputError

AUTO, PLAIN = "auto", "plain"
_EXPECTED = "expected words like kızgın=angry,mutlu=happy, or a table with the columns word,emotion"


class Naming(NamedTuple):
    """How the names in a corpus are understood."""

    layout: str = AUTO  # of a folder; see `jdann.corpora.folder.load_folder`
    # The emotion of each word, in its normal form. These count before the words that are built in.
    words: Mapping[str, str] = MappingProxyType({})

    def emotion(self, label: str) -> str | None:
        """The name in `EMOTIONS` that a label means; None if it is not known."""
        return self.words.get(normal_form(label)) or canonical(label)


AS_USUAL = Naming()


def make_naming(layout: str, labels: str) -> Naming:
    """The naming that a config describes.

    Args:
      layout: `config.layout`.
      labels: `config.labels`: words of one's own for emotions, like `kızgın=angry,mutlu=happy`; or
        the path of a table with the columns `word` and `emotion`; or "".

    Raises:
      InputError: `labels` cannot be read, or names an emotion that is not known.
    """
    if not labels.strip():
        return Naming(layout)
    if Path(labels).suffix.lower() in SUFFIXES and "=" not in labels:
        return Naming(layout, _read_table(Path(labels).expanduser()))
    words: dict[str, str] = {}
    for part in labels.split(","):
        word, equals, emotion = part.partition("=")
        if not equals or not word.strip():
            raise InputError(
                f"config.labels: {part.strip()[:40]!r} is no word=emotion; {_EXPECTED}"
            )
        _add(words, word, emotion, f"config.labels: {part.strip()[:40]!r}")
    return Naming(layout, words)


def _read_table(path: Path) -> dict[str, str]:
    """The words of a table."""
    names, lines, rows = read_cells(path)
    columns = [name.casefold() for name in names]
    if not {"word", "emotion"} <= set(columns):
        raise InputError(
            f"{path}: line 1 names the columns {', '.join(names)[:200] or 'nothing'}; "
            "config.labels needs the columns word,emotion"
        )
    words: dict[str, str] = {}
    for line, row in zip(lines, rows, strict=True):
        word, emotion = (row[columns.index(name)] for name in ("word", "emotion"))
        if not word:
            raise InputError(
                f"{path}: line {line} has no word; fill in the cell or delete the line"
            )
        _add(words, word, emotion, f"{path}: line {line}")
    return words


def _add(words: dict[str, str], word: str, text: str, place: str) -> None:
    """Adds a word, after checking its emotion; `place` is where it stands, for the message."""
    emotion = canonical(text)
    if emotion is None:
        suggestion = suggest_spelling(text)
        question = f", did you mean {suggestion}?" if suggestion else ""
        raise InputError(
            f"{place}: {text.strip()[:40]!r} is not a known emotion{question}; "
            f"expected one of {', '.join(EMOTIONS)}"
        )
    if words.setdefault(normal_form(word), emotion) != emotion:
        first = words[normal_form(word)]
        raise InputError(
            f"{place}: {word.strip()[:40]!r} already means {first}; keep one of the two"
        )
