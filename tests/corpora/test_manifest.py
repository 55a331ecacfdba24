"""Manifests: what is accepted, what is skipped, and the message for each mistake."""

import re

import pytest

from jdann.corpora import manifest, tables
from jdann.corpora.cells import parse_seconds
from jdann.corpora.index import Utterance
from jdann.corpora.labels import canonical
from jdann.errors import InputError
from jdann.experiments.labelled_clips import read_labels
from jdann.inference.clips import Part
from jdann.inference.items import find_items


@pytest.fixture
def audio(tmp_path):
    """A folder with four files; reading a manifest does not open them."""
    for name in ("a.wav", "b.wav", "c.wav", "ü é.flac"):
        (tmp_path / name).write_bytes(b"RIFF")
    return tmp_path


def write(folder, text, encoding="utf-8"):
    path = folder / "list.csv"
    path.write_bytes(text.encode(encoding) if isinstance(text, str) else text)
    return path


def test_every_column(audio):
    path = write(
        audio,
        "file,emotion,speaker,language,start,end,gender,sentence,corpus,split\n"
        "a.wav,Surprised,s1,English,0.5,1.25,F,17,mine,train\n"
        "b.wav,,,,,,,,,\n",
    )
    first, second = manifest.load_manifest(path).utterances
    assert first == manifest.Utterance(
        "a.wav",
        str(audio / "a.wav"),
        "surprise",
        "s1",
        "en",
        "female",
        "17",
        "mine",
        "train",
        0.5,
        1.25,
    )
    assert second == manifest.Utterance("b.wav", str(audio / "b.wav"))


def test_the_column_file_is_enough(audio):
    corpus = manifest.load_manifest(write(audio, "file\na.wav\nb.wav\n"))
    assert [u.file for u in corpus.utterances] == ["a.wav", "b.wav"]
    assert not corpus.labelled
    assert not corpus.synthetic


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_encodings_separators_and_newlines(audio, encoding, separator, newline):
    rows = (" File ", "EMOTION"), ("ü é.flac", "生气"), ("", ""), ('"a.wav"', " happy ")
    path = write(audio, newline.join(separator.join(row) for row in rows), encoding)
    assert [(u.file, u.emotion) for u in manifest.load_manifest(path).utterances] == [
        ("ü é.flac", "angry"),
        ("a.wav", "happy"),
    ]


def test_absolute_paths_and_home(audio, tmp_path_factory, monkeypatch):
    monkeypatch.setenv("HOME", str(audio))
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    corpus = manifest.load_manifest(write(elsewhere, f"file\n{audio / 'a.wav'}\n~/b.wav\n"))
    assert [u.path for u in corpus.utterances] == [str(audio / "a.wav"), str(audio / "b.wav")]
    assert corpus.utterances[1].file == "~/b.wav"


def test_segments_of_one_file_and_repeated_rows(audio):
    corpus = manifest.load_manifest(
        write(
            audio,
            "file,start,end,emotion\n"
            "a.wav,0,1,sad\na.wav,1,2,sad\na.wav,0,1.0,sad\n./a.wav,1,2,happy\n",
        )
    )
    assert [(u.start_s, u.end_s, u.emotion) for u in corpus.utterances] == [
        (0, 1, "sad"),
        (1, 2, "sad"),
    ]
    assert corpus.notes == (
        "2 rows repeat an earlier one, 1 of them with another emotion; the first was kept",
    )


def test_missing_files_are_skipped_with_their_line(audio):
    (audio / "folder.wav").mkdir()
    corpus = manifest.load_manifest(write(audio, "file\na.wav\n\ngone.wav\nfolder.wav\n"))
    assert len(corpus.utterances) == 1
    assert [(s.file, s.reason) for s in corpus.skipped] == [
        ("gone.wav", "no such file (line 4 of list.csv)"),
        ("folder.wav", "is a folder, not an audio file (line 5 of list.csv)"),
    ]


def test_unknown_columns_are_named(audio):
    corpus = manifest.load_manifest(write(audio, "file,mood,emotions\na.wav,sad,sad\n"))
    assert corpus.notes == ("columns that mean nothing here and are ignored: mood, emotions",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", r"is empty; the first line names the columns, e\.g\. file,"),
        ("\n\n", r"is empty"),
        ("place,label\na.wav,sad\n", r"line 1 has no column `file`, only place, label; "),
        ("a.wav\nb.wav\n", r"line 1 has no column `file`, only a\.wav; "),
        ("file,file\na.wav,b.wav\n", r"line 1 names the column `file` more than once"),
        ("file,emotion\n", r"has no rows below the names of the columns"),
        (
            "file,emotion\na.wav,sad,x\n",
            r"line 2 has 3 cells, the first line names 2 columns; put double quotes",
        ),
        (
            "file,emotion\na.wav,sad\n,sad\n",
            r"line 3 has no file; fill in the cell in the column `file`, or delete the line",
        ),
        (
            "file,emotion\na.wav,sad\nb.wav,suprised\nc.wav,suprised\nc.wav,blub7\n",
            r"labels that name no known emotion, the first in line 3: "
            r"suprised \(2 rows, did you mean surprised\?\), "
            r"blub7 \(1 row\); use one of neutral, calm, happy, .* or leave the cell blank",
        ),
        (
            "file,start\na.wav,soon\n",
            r"line 2 has `soon` in the column `start`; expected seconds, like 1\.25",
        ),
        ("file,start\na.wav,-1\n", r"line 2 has `-1` in the column `start`"),
        ("file,end\na.wav,inf\n", r"line 2 has `inf` in the column `end`"),
        (
            "file,start,end\na.wav,2,2\n",
            r"line 2 starts at 2 s and ends at 2 s; `end` must be later than `start`",
        ),
        (
            'file\n"a.wav\n',
            r"line 2 cannot be read as a table \(.*\); look for a double quote without its partner",
        ),
        (
            "file\nx.wav\ny.wav\n",
            r"no audio file exists, of 2 rows, e\.g\. x\.wav; paths are relative to ",
        ),
        (
            b"PK\x03\x04 spreadsheet",
            r"is a spreadsheet or an archive, not a text table; save it as CSV \(UTF-8\)",
        ),
        (
            "file,emotion\na.wav,Überraschung".encode("latin-1"),
            r"line 2 is not text in UTF-8; save the table as CSV",
        ),
        ("file\na.wav\n".encode("utf-16-le"), r"line 1 holds bytes that no text has"),
        (
            'file,emotion\n"a.wav,sad\nb.wav",happy\n',
            r"line 2 has other rows in the column `file`; look for a double quote without its",
        ),
        (
            'file,emotion\n"a,sad\nb",happy\n',
            r"line 2 has a line break in the column `file`; look for a double quote without its",
        ),
        (b"RIFF\0\0\0\0WAVE", r"line 1 holds bytes that no text has"),
    ],
)
def test_mistakes(audio, text, expected):
    path = write(audio, text)
    with pytest.raises(InputError, match=expected) as caught:
        manifest.load_manifest(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_no_manifest(tmp_path):
    with pytest.raises(
        InputError,
        match=re.escape("gone.csv: cannot be read (No such file or directory); expected"),
    ):
        manifest.load_manifest(tmp_path / "gone.csv")
    with pytest.raises(InputError, match=r"cannot be read \(Is a directory\)"):
        manifest.load_manifest(tmp_path)


def test_two_spellings_of_one_label_and_a_quoted_newline(audio):
    corpus = manifest.load_manifest(
        write(audio, 'file,emotion,sentence\na.wav,joy,"one\ntwo"\nb.wav,HAPPY,\ngone.wav,sad,\n')
    )
    assert [u.emotion for u in corpus.utterances] == ["happy", "happy"]
    assert corpus.utterances[0].sentence == "one\ntwo"
    assert "line 5" in corpus.skipped[0].reason


def test_a_table_keeps_all_columns_and_fills_in_missing_cells(tmp_path):
    path = write(tmp_path, "FILE,Note,speaker\na.wav, loud ,s1\n,,\nb.wav\n")
    table = tables.read_table(path)
    assert table.columns == ("file", "Note", "speaker")
    assert table.rows == (
        {"file": "a.wav", "Note": "loud", "speaker": "s1"},
        {"file": "b.wav", "Note": "", "speaker": ""},
    )
    assert table.lines == (2, 4)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('file,note\na.wav,x\nb.wav,"y\nc.wav,z\n', 3),
        ('file,note\n"a.wav,x\nb.wav,"y"\nc.wav,z\n', 2),
        ('file,note\n"a.wav,x\nb.wav",y\nc.wav,z\n', 2),
    ],
)
@pytest.mark.parametrize("read", [manifest.load_manifest, lambda path: find_items([str(path)])])
def test_an_unclosed_quote_loses_no_rows(audio, text, line, read):
    """Both users of the table, training and `jdann predict`, name the line where the quote is."""
    with pytest.raises(InputError, match=rf"list\.csv: line {line} .*double quote without its"):
        read(write(audio, text))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('file,note,sentence\na.wav,"x\nb.wav,y,", z"\nc.wav,z,\n', 2),
        ('note;file\n"x;a.wav\n";b.wav\ny;c.wav\n', 2),
        ('file\tnote\na.wav\tx\nb.wav\t"y\r\nc.wav\t"\n', 3),
    ],
)
@pytest.mark.parametrize("read", [manifest.load_manifest, lambda path: find_items([str(path)])])
def test_a_cell_that_swallowed_rows_is_refused(audio, text, line, read):
    """One double quote is missing, and the next one ends the cell."""
    with pytest.raises(InputError, match=rf"line {line} has other rows in the column `note`"):
        read(write(audio, text))
    kept = write(audio, 'file,note\na.wav,"heard in b.wav,\nand loud"\n')
    assert tables.read_table(kept).rows[0]["note"] == "heard in b.wav,\nand loud"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("list.csv", "path,path\na.wav,b.wav\n", "line 1 names the column `path` more than once"),
        ("list.csv", "file,wav,WAV\na.wav,b.wav,c.wav\n", "`wav` more than once"),
        (
            "list.jsonl",
            '{"wav": "a.wav"}\n{"wav": "b.wav", "wav": "c.wav"}',
            "line 2 has `wav` twice",
        ),
        ("list.jsonl", '{"file": "a.wav", "file ": "b.wav"}', "line 1 has `file` twice"),
    ],
)
def test_nothing_says_which_of_two_columns_counts(audio, name, text, expected):
    (audio / name).write_text(text)
    with pytest.raises(InputError, match=expected):
        tables.read_table(audio / name)


@pytest.mark.parametrize("read", [manifest.load_manifest, read_labels, tables.read_table])
def test_half_a_character_is_no_name_of_a_file(audio, read):
    """JSON can hold the half of a surrogate pair; in a text of another column it does no harm."""
    path = audio / "list.jsonl"
    path.write_text('{"file": "a.wav", "sentence": "\\ud83d"}\n')
    assert read(path)
    path.write_text('{"file": "a.wav"}\n{"file": "\\ud83d.wav"}\n')
    with pytest.raises(InputError, match="line 2 has half a character in the column `file`"):
        read(path)


def test_a_message_is_one_line_whatever_it_quotes(audio):
    for text in ('"a\nb",note\na.wav,x\n', 'file,emotion\na.wav,"sad\u2028or\r\nnot"\n'):
        with pytest.raises(InputError) as raised:
            manifest.load_manifest(write(audio, text))
        assert len(str(raised.value).splitlines()) == 1


def test_predict_keeps_the_columns_of_its_table(audio):
    path = write(audio, "file,note,start,end\na.wav,loud,0.5,1\nc.wav,,,\n")
    items = find_items([str(path)])
    assert [item.columns for item in items] == list(tables.read_table(path).rows)
    assert [item.part for item in items] == [
        Part(audio / "a.wav", 0.5, 1.0),
        Part(audio / "c.wav", 0.0, None),
    ]


@pytest.mark.parametrize("cell", ["soon", "-1", "inf"])
def test_predict_names_the_line_of_a_wrong_start(audio, cell):
    path = write(audio, f"file,start\na.wav,0\nb.wav,{cell}\n")
    with pytest.raises(InputError, match=rf"line 3 has `{cell}` in the column `start`"):
        find_items([str(path)])


MISSING = ("", "nan", "NaN", "None", "N/A", "unknown", "-", "?", "<NA>", "null")


@pytest.mark.parametrize("text", MISSING)
def test_what_is_missing_is_missing_in_every_column(tmp_path, text):
    (tmp_path / "a.wav").touch()
    columns = [name for name in manifest.COLUMNS if name != "file"]
    path = tmp_path / "list.csv"
    path.write_text(f"file,{','.join(columns)}\na.wav,{','.join([text] * len(columns))}\n")
    (utterance,) = manifest.load_manifest(path).utterances
    assert utterance == Utterance("a.wav", str(tmp_path / "a.wav"))


TABLE = "file,emotion,start,end\na.wav,sad,0.5,1.5\nb.wav,happy,,\n"
DIALECTS = {
    "semicolons": TABLE.replace(",", ";").encode(),
    "semicolons and decimal commas": TABLE.replace(",", ";").replace(".5", ",5").encode(),
    "tabs": TABLE.replace(",", "\t").encode(),
    "Excel's first line": ("sep=;\r\n" + TABLE.replace(",", ";")).encode(),
    "Excel's first line with tabs": ("sep=\t\n" + TABLE.replace(",", "\t")).encode(),
    "two other names of one column": (
        TABLE.replace("file,", "path,").replace("end\n", "end,filename\n").encode()
    ),
    "byte order mark": TABLE.encode("utf-8-sig"),
    "UTF-16": TABLE.encode("utf-16"),
    "UTF-16, big endian": b"\xfe\xff" + TABLE.encode("utf-16-be"),
    "blank first lines": f"\n  \n{TABLE}".encode(),
    "capital letters and blanks": TABLE.replace("file,emotion", " File , EMOTION").encode(),
    "other names of columns": TABLE.replace("file,emotion", "filename,label").encode(),
    "Windows line ends": TABLE.replace("\n", "\r\n").encode(),
    "clock times": TABLE.replace("0.5", "00:00:00.5").replace("1.5", "0 days 00:00:01.5").encode(),
}


@pytest.mark.parametrize("name", DIALECTS)
def test_tables_of_other_programs(audio, name):
    path = audio / "list.csv"
    path.write_bytes(DIALECTS[name])
    utterances = manifest.load_manifest(path).utterances
    assert [(u.emotion, u.start_s, u.end_s) for u in utterances] == [
        ("sad", 0.5, 1.5),
        ("happy", 0.0, None),
    ]
    assert [item.part for item in find_items([str(path)])] == [
        Part(audio / "a.wav", 0.5, 1.5),
        Part(audio / "b.wav"),
    ]


def test_an_alias_does_not_replace_a_column(audio):
    (audio / "list.csv").write_text("file,emotion,label\na.wav,sad,7\n")
    corpus = manifest.load_manifest(audio / "list.csv")
    assert corpus.utterances[0].emotion == "sad" and "label" in corpus.notes[0]


@pytest.mark.parametrize(
    "cell",
    [
        "sub/x y.wav",
        r"sub\x y.wav",
        "sub/x y.WAV",
        r".\sub\x y.Wav",
        "file://{folder}/sub/x%20y.wav",
    ],
)
def test_paths_of_other_systems(tmp_path, cell):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "x y.wav").touch()
    path = tmp_path / "list.csv"
    path.write_text(f"file\n{cell.format(folder=tmp_path)}\n")
    (utterance,) = manifest.load_manifest(path).utterances
    assert utterance.path == str(tmp_path / "sub" / "x y.wav")
    assert utterance.file == cell.format(folder=tmp_path)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1.25", 1.25),
        ("0,5", 0.5),
        ("1.5 s", 1.5),
        (".5", 0.5),
        ("2e1", 20.0),
        ("01:02:03.5", 3723.5),
        ("2:03", 123.0),
        ("0 days 00:00:01.5", 1.5),
        ("1 day, 0:00:01", 86401.0),
        ("1,234.5", None),
        ("1:75", None),
        ("100:00", 6000.0),
        ("5 seconds", 5.0),
        ("soon", None),
        ("-1", None),
        ("inf", None),
        ("1:2:3:4", None),
    ],
)
def test_times(text, seconds):
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize(
    ("word", "emotion"),
    [
        ("kızgın", "angry"),
        ("KIZGIN", "angry"),
        ("Mutlu", "happy"),
        ("zlosc", "angry"),
        ("smutek", "sad"),
        ("Vreugde", "happy"),
        ("तटस्थ", "neutral"),
        ("φόβος", "fearful"),
    ],
)
def test_words_of_many_languages(word, emotion):
    assert canonical(word) == emotion
