"""What a user says about names: the layout of file names, and words for emotions."""

from collections.abc import Mapping, Sequence
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

    # Of a folder; see `jdann.corpora.folder.load_folder`. For `load_all`, there may be one for each
    # corpus, joined by commas.
    layout: str = AUTO
    # The emotion of each word, in its normal form. These count before the words that are built in.
    words: Mapping[str, str] = MappingProxyType({})
    # How messages call the options by which the user chooses the layout and the words.
    layout_option: str = "--layout"
    labels_option: str = "--labels"

    def emotion(self, label: str) -> str | None:
        """The name in `EMOTIONS` that a label means; None if it is not known."""
        return self.words.get(normal_form(label)) or canonical(label)


AS_USUAL = Naming()


def make_naming(
    layout: str, labels: str, layout_option: str = "--layout", labels_option: str = "--labels"
) -> Naming:
    """The naming that a config describes.

    Args:
      layout: of the folders of a domain.
      labels: words of one's own for emotions, like `kızgın=angry,mutlu=happy`; or the path of a
        table with the columns `word` and `emotion`; or "".
      layout_option: how messages call the option of `layout`.
      labels_option: how messages call the option of `labels`.

    Raises:
      InputError: `labels` cannot be read, or names an emotion that is not known.
    """
    naming = Naming(layout, layout_option=layout_option, labels_option=labels_option)
    if not labels.strip():
        return naming
    if Path(labels).suffix.lower() in SUFFIXES and "=" not in labels:
        return naming._replace(words=_read_table(Path(labels).expanduser(), labels_option))
    words: dict[str, str] = {}
    for part in labels.split(","):
        word, equals, emotion = part.partition("=")
        if not equals or not word.strip():
            raise InputError(
                f"{labels_option}: {part.strip()[:40]!r} is no word=emotion; {_EXPECTED}"
            )
        _add(words, word, emotion, f"{labels_option}: {part.strip()[:40]!r}")
    return naming._replace(words=words)


def namings_of_each(naming: Naming, specs: Sequence[str]) -> list[Naming]:
    """The naming of each of several corpora: with the only layout, or with that of its place.

    Raises:
      InputError: there are several layouts, but not one for each corpus.
    """
    layouts = [layout.strip() for layout in naming.layout.split(",")]
    if len(layouts) == 1:
        layouts *= len(specs)
    if len(layouts) != len(specs):
        raise InputError(
            f"{naming.layout_option}={naming.layout} names {len(layouts)} layouts, and there are "
            f"{len(specs)} corpora; give one layout for all, or one for each corpus in its order"
        )
    return [naming._replace(layout=layout) for layout in layouts]


def _read_table(path: Path, option: str) -> dict[str, str]:
    """The words of a table, which an option names."""
    names, lines, rows = read_cells(path)
    columns = [name.casefold() for name in names]
    if not {"word", "emotion"} <= set(columns):
        raise InputError(
            f"{path}: line 1 names the columns {', '.join(names)[:200] or 'nothing'}; "
            f"{option} needs the columns word,emotion"
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
