"""Random tables of utterances, in the dialects that programs write, and damaged ones."""

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jdann.corpora import Utterance
from jdann.corpora.tables import ALIASES

COLUMNS = (
    *("file", "emotion", "speaker", "language", "start", "end", "gender", "sentence"),
    *("corpus", "split", "note"),
)
FILES = 12  # the audio files that rows may name: `0 a.wav`, `1 a.wav`, ...
_SENTENCES = (
    *("she left", "yes, of course", "he said “no”", 'a "quoted" word', "one\ttab", "a; b; c"),
    *("two\nlines", "two\r\nlines", ", a comma first", "; first", "<b>bold</b> &amp; more", "=1+1"),
    *(
        "=SUM(A1:A9)",
        "+49 (0) 123",
        "-1",
        "@user",
        "'quoted'",
        "it's",
        "back\\slash",
        "\\n",
        "%s{0}",
    ),
    *("日本語", "Kızgın", "e\u0301", "\u202eright to left", "a\u2028b", "a\x0bb", "a\x85b", "🙂"),
    *("file,emotion", "x" * 3000, '"', '""', "#comment", "1e5", "a\u00a0b"),
)
_ALIASES = {name: [a for a, known in ALIASES.items() if known == name] for name in COLUMNS}


class Row(NamedTuple):
    """A row as it was meant: its cells as text, and its part of the file in seconds."""

    cells: dict[str, str]  # by the names in COLUMNS
    start_s: float
    end_s: float | None

    def utterance(self, folder: Path) -> Utterance:
        """What a reader should make of it."""
        texts = {name: self.cells[name] or None for name in COLUMNS}
        return Utterance(
            file=self.cells["file"],
            path=str(folder / self.cells["file"]),
            emotion=texts["emotion"],
            speaker=texts["speaker"],
            language=texts["language"],
            gender=texts["gender"],
            sentence=texts["sentence"],
            corpus=texts["corpus"],
            split=texts["split"],
            start_s=self.start_s,
            end_s=self.end_s,
        )


def without(row: Row, names: Collection[str]) -> Row:
    """The row without its values in some columns."""
    return Row(
        {name: "" if name in names else cell for name, cell in row.cells.items()},
        0.0 if "start" in names else row.start_s,
        None if "end" in names else row.end_s,
    )


class Table(NamedTuple):
    """A table, and what it says."""

    suffix: str
    kind: str
    data: bytes
    rows: list[Row | None]  # None: a row that the damage has touched, so it may say anything
    may_be_refused: bool
    may_split: bool = False  # a row with a line break in a cell may be read as two


class Dialect(NamedTuple):
    """How a table is written."""

    suffix: str
    delimiter: str
    quotes_all: bool
    line_ends: tuple[str, ...]
    encoding: str
    last_line_ends: bool


def random_rows(rng: np.random.Generator) -> list[Row]:
    """Rows with different parts of some audio files."""
    rows = []
    for i in range(rng.integers(2, FILES)):
        start_s = float(rng.choice([0, 0.5, 1.25, 61, 3723.5]))
        end_s = None if rng.integers(3) == 0 else start_s + float(rng.choice([0.25, 1, 90]))
        cells = {
            "file": f"{i} a.wav",
            "emotion": rng.choice(["neutral", "happy", "angry", "sad", "surprise", ""]),
            "speaker": rng.choice(["s1", "0012", "Ann, B.", "ü;x", ""]),
            "language": rng.choice(["en", "zh", "de", ""]),
            "start": spelled(rng, start_s),
            "end": "" if end_s is None else spelled(rng, end_s),
            "gender": rng.choice(["female", "male", ""]),
            "sentence": str(rng.choice(_SENTENCES)),
            "corpus": rng.choice(["ESD", "a/b", ""]),
            "split": rng.choice(["train", ""]),
            "note": str(rng.choice([*_SENTENCES, ""])),
        }
        rows.append(Row({name: str(cell) for name, cell in cells.items()}, start_s, end_s))
    return rows


def spelled(rng: np.random.Generator, seconds: float) -> str:
    """A time in one of the ways in which people and programs write it."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    clock = f"{hours:02}:{minutes:02}:{rest:06.3f}"
    texts = (
        *(f"{seconds:g}", f"{seconds}", f"{seconds:.3f}", f"{seconds} s", f"{seconds}e0"),
        *(f"{seconds:.2f}".replace(".", ","), clock, f"0 days {clock}", f"{seconds}sec"),
        *(f"{60 * hours + minutes}:{rest:g}", clock.replace(".", ",")),
    )
    return texts[rng.integers(len(texts))]


def random_dialect(rng: np.random.Generator) -> Dialect:
    line_ends = (("\n",), ("\r\n",), ("\r",), ("\n", "\r\n"), ("\n", "\r\n", "\r"))
    encodings = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be")
    delimiter = ",;\t"[rng.integers(3)]
    return Dialect(
        (".csv", ".tsv", ".CSV")[rng.integers(3)],
        delimiter,
        bool(rng.integers(2)),
        line_ends[rng.choice(5, p=(0.3, 0.3, 0.1, 0.15, 0.15))],
        encodings[rng.choice(5, p=(0.4, 0.2, 0.2, 0.1, 0.1))],
        bool(rng.integers(2)),
    )


def header(rng: np.random.Generator, columns: Sequence[str]) -> list[str]:
    """The names of columns in another case, with spaces, or other names that are known."""
    names = []
    for column in columns:
        name = column
        if column != "note" and _ALIASES[column] and rng.random() < 0.2:
            name = str(rng.choice(_ALIASES[column]))
        if column != "note" and rng.random() < 0.3:
            name = str(rng.choice([name.upper(), name.title(), f" {name}", f"{name} "]))
        names.append(name)
    return names


def lines_of(
    rng: np.random.Generator, dialect: Dialect, names: Sequence[str], cells: list[list[str]]
) -> list[str]:
    """The lines of a csv table; a line is a row, so it may hold line breaks in quotes."""
    special = (dialect.delimiter, '"', "\r", "\n")
    lines = []
    for row in (names, *cells):
        texts = [
            '"' + cell.replace('"', '""') + '"'
            if dialect.quotes_all or any(character in cell for character in special)
            else cell
            for cell in row
        ]
        lines.append(dialect.delimiter.join(texts) + str(rng.choice(dialect.line_ends)))
    if not dialect.last_line_ends:
        lines[-1] = lines[-1].rstrip("\r\n")
    return lines


def encoded(text: str, encoding: str) -> bytes:
    if encoding in ("utf-16-le", "utf-16-be"):
        return ("\ufeff" + text).encode(encoding)
    return text.encode(encoding)


def faithful(rng: np.random.Generator) -> Table:
    """A table in any dialect that says what its rows say."""
    rows = random_rows(rng)
    columns = [str(name) for name in rng.permutation(COLUMNS)]
    if rng.integers(5) == 0:
        return json_table(rng, rows, columns)
    dialect = random_dialect(rng)
    cells = [[_padded(rng, row.cells[name]) for name in columns] for row in rows]
    lines = lines_of(rng, dialect, header(rng, columns), cells)
    if rng.random() < 0.3:
        for blank in ("\n", "  \n", dialect.delimiter * 3 + "\n"):
            place = int(rng.integers(0 if blank == "\n" else 1, len(lines)))
            lines.insert(place, blank)
    if rng.random() < 0.1 and dialect.line_ends != ("\r",):
        lines.insert(0, f"sep={dialect.delimiter}\r\n")
    return Table(
        dialect.suffix, "dialect", encoded("".join(lines), dialect.encoding), list(rows), False
    )


def _padded(rng: np.random.Generator, cell: str) -> str:
    return f" {cell} " if rng.random() < 0.05 and cell else cell


def json_table(rng: np.random.Generator, rows: list[Row], columns: Sequence[str]) -> Table:
    """The same as JSON lines."""
    ascii_only, names = bool(rng.integers(2)), header(rng, columns)
    lines = []
    for row in rows:
        pairs = {n: row.cells[c] for n, c in zip(names, columns, strict=True)}
        shown = {n: value for n, value in pairs.items() if value or rng.integers(2)}
        # The first row names all columns, so that no name is missing from the table.
        text = json.dumps(pairs if not lines else shown, ensure_ascii=ascii_only)
        lines.append(text + ("\n" if rng.integers(2) else "\r\n"))
        if rng.random() < 0.1:
            lines.append("\n")
    return Table(".jsonl", "json lines", "".join(lines).encode(), list(rows), False)


def damaged(rng: np.random.Generator) -> Table:
    """A table that is damaged in one place. It may also be refused as a whole."""
    rows = random_rows(rng)
    columns = [str(name) for name in rng.permutation(COLUMNS)]
    kind = KINDS[rng.integers(len(KINDS))]
    if kind in _JSON_KINDS:
        return _damaged_json(rng, rows, columns, kind)
    dialect = random_dialect(rng)
    names = header(rng, columns)
    cells = [[row.cells[name] for name in columns] for row in rows]
    if kind in _TEXT_KINDS:
        lines = lines_of(rng, dialect, names, cells)
        lines, expected = _damaged_lines(rng, lines, rows, kind)
    else:
        names, cells, expected = _damaged_cells(rng, names, cells, rows, columns, kind)
        lines = lines_of(rng, dialect, names, cells)
    data = encoded("".join(lines), dialect.encoding)
    if kind == "other bytes":
        place = int(rng.integers(len(data)))
        data, expected = data[:place] + rng.bytes(1) + data[place + 1 :], [None] * len(rows)
    return Table(
        dialect.suffix, kind, data, expected, True, may_split=kind in ("quote", "no quote")
    )


def _damaged_cells(
    rng: np.random.Generator,
    names: list[str],
    cells: list[list[str]],
    rows: list[Row],
    columns: list[str],
    kind: str,
) -> tuple[list[str], list[list[str]], list[Row | None]]:
    """The header, the cells, and the rows that they still say, after one change."""
    expected: list[Row | None] = list(rows)
    n, place = int(rng.integers(len(rows))), int(rng.integers(len(columns)))
    match kind:
        case "short row":
            cells[n] = cells[n][: place + 1]
            if any(cells[n]):
                expected[n] = without(rows[n], columns[place + 1 :])
            else:  # a blank row
                del expected[n]
        case "long row":
            cells[n] = [*cells[n], *(str(cell) for cell in rng.choice(["", "x"], 2))]
            expected[n] = None
        case "doubled column":  # nothing says which of the two counts
            names = [names[place], *names]
            cells = [[str(i), *row] for i, row in enumerate(cells)]
            expected = []
        case "missing column":
            names = names[:place] + names[place + 1 :]
            cells = [row[:place] + row[place + 1 :] for row in cells]
            expected = [without(row, columns[place : place + 1]) for row in rows]
            expected = [row for row, texts in zip(expected, cells, strict=True) if any(texts)]
        case "doubled row":
            cells.insert(n, cells[n])
            expected.insert(n, rows[n])
        case "huge cell":
            cells[n][place] = "y" * 200_000
            expected[n] = None
    return names, cells, expected


def _damaged_lines(
    rng: np.random.Generator, lines: list[str], rows: list[Row], kind: str
) -> tuple[list[str], list[Row | None]]:
    """The lines, and the rows that they still say, after one change; line 0 is the header."""
    expected: list[Row | None] = list(rows)
    n = int(rng.integers(len(rows)))
    line = lines[n + 1]
    place = int(rng.integers(len(line)))
    quotes = [i for i, letter in enumerate(line) if letter == '"']
    match kind:
        case "quote":
            lines[n + 1], expected[n] = f'{line[:place]}"{line[place:]}', None
        case "no quote" if quotes:
            place = quotes[rng.integers(len(quotes))]
            lines[n + 1], expected[n] = line[:place] + line[place + 1 :], None
        case "quote in header":
            place = int(rng.integers(len(lines[0])))
            lines[0] = f'{lines[0][:place]}"{lines[0][place:]}'
            expected = [None] * len(rows)
        case "no header":  # a row that is read as one names no column `file`
            lines, expected = lines[1:], []
        case "null":
            lines[n + 1], expected[n] = f"{line[:place]}\0{line[place:]}", None
        case "cut off":
            lines = [*lines[: n + 1], line[: place + 1]]
            is_blank = not line[: place + 1].strip(' ",;\t\r\n')
            expected = [*rows[:n]] if is_blank else [*rows[:n], None]
    return lines, expected


def _damaged_json(
    rng: np.random.Generator, rows: list[Row], columns: list[str], kind: str
) -> Table:
    n, expected = int(rng.integers(len(rows))), list[Row | None](rows)
    lines = [json.dumps({name: row.cells[name] for name in columns}) for row in rows]
    expected[n] = None
    match kind:
        case "doubled key":
            name = columns[rng.integers(len(columns))]
            lines[n] = f'{lines[n][:-1]}, "{name}": "other"}}'
            expected = []
        case "no object":
            lines[n] = ("[1]", "null", '"a.wav"', "1", "{file: 1}", "{'file': 1}")[rng.integers(6)]
            expected = []
        case "other value":
            values = ([], {}, 1, -2.5, True, None, float("nan"), 10**400, ["sad"], "a\0b", "\ud83d")
            row: dict[str, Any] = dict(rows[n].cells)
            row[columns[rng.integers(len(columns))]] = values[rng.integers(len(values))]
            lines[n] = json.dumps(row)
        case _:
            place = int(rng.integers(len(lines[n])))
            lines[n] = (
                lines[n][:place] + str(rng.choice(["", '"', "}", "\\"])) + lines[n][place + 1 :]
            )
    return Table(".jsonl", kind, "\n".join(lines).encode(), expected, True)


_TEXT_KINDS = ("quote", "no quote", "quote in header", "no header", "null", "cut off")
_JSON_KINDS = ("doubled key", "no object", "other value", "other letter")
KINDS = (
    *("short row", "long row", "doubled column", "missing column", "doubled row", "huge cell"),
    *("other bytes", *_TEXT_KINDS, *_JSON_KINDS),
)
