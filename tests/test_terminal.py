"""Names in files, tables and messages are never commands: to rich, a terminal or a spreadsheet."""

import csv

import pytest

from jdann.cli import main
from jdann.files import write_csv
from jdann.terminal import listed, visible

NAMES = ["[/]", "[bold red]", ":smile:", "\x1b[2J\x1b[31m", "{0}", "%s"]


def test_control_characters_are_shown():
    assert visible("\x1b[31mred\x07\n\tü 中") == "\\x1b[31mred\\x07\n\tü 中"
    assert visible("\udcff\u202e") == "\\udcff\\u202e"


def test_long_lists_are_short():
    assert listed(["a", "b"]) == "a, b"
    assert listed([str(i) for i in range(100_000)], 2) == "0, 1 and 99,998 more"


@pytest.mark.parametrize("name", NAMES)
def test_a_speaker_is_printed_as_it_is_called(name, tmp_path, capsys):
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    write_csv(tmp_path / "list.csv", ("file", "speaker"), [("a.wav", name)])
    main(["corpora", str(tmp_path / "list.csv")])
    printed = capsys.readouterr().out
    assert f"speaker {visible(name)}" in printed and "\x1b" not in printed


def test_many_speakers_and_columns_stay_short(tmp_path, capsys):
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    columns = ("file", "speaker", "start", *(f"c{i}" for i in range(2000)))
    rows = [("a.wav", f"s{i}", str(i), *[""] * 2000) for i in range(300)]
    write_csv(tmp_path / "list.csv", columns, rows)
    main(["corpora", str(tmp_path / "list.csv")])
    printed = capsys.readouterr().out
    assert "200 more speakers" in printed and "1,990 more" in printed
    assert len(printed) < 30_000


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("@SUM(1)", "'@SUM(1)"),
        ("+1+cmd|x", "'+1+cmd|x"),
        ("\t=1+1", "'\t=1+1"),
        ("-0.5", "-0.5"),
        ("-take 1.wav", "-take 1.wav"),
        ("+49123.wav", "+49123.wav"),
        (-0.5, "-0.5"),
    ],
)
def test_a_spreadsheet_runs_no_formula(cell, written, tmp_path):
    write_csv(tmp_path / "out.csv", ("file",), [(cell,)])
    with (tmp_path / "out.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["file"], [written]]
