"""Files are written whole or not at all."""

import csv
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from jdann import files


def test_json_holds_plain_values_and_null_for_what_is_not_finite(tmp_path):
    value = {"a": np.float32(0.5), 1: [np.int64(3), float("nan")], "x": np.array([1.0, np.inf])}
    files.write_json(tmp_path / "a.json", value)
    expected = {"a": 0.5, "1": [3, None], "x": [1.0, None]}
    assert json.loads((tmp_path / "a.json").read_text()) == expected


def test_csv_is_read_back(tmp_path):
    rows = [("a,b", 1, None), ('say "hi"', 2.5, "line\nbreak")]
    files.write_csv(tmp_path / "a.csv", ("text", "number", "more"), rows)
    with (tmp_path / "a.csv").open(newline="") as file:
        read = list(csv.reader(file))
    assert read == [
        ["text", "number", "more"],
        ["a,b", "1", ""],
        ['say "hi"', "2.5", "line\nbreak"],
    ]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    files.write_text(path, "old")
    with pytest.raises(TypeError):
        files.write_bytes(path, "no bytes")  # pyright: ignore
    with pytest.raises(TypeError):
        files.write_json(path, {"a": object()})
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_writers_of_the_same_file_do_not_disturb_each_other(tmp_path):
    """Processes that compile the same program, for example, keep it in the same file."""
    path = tmp_path / "a"
    contents = [bytes([i]) * 1_000_000 for i in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for _ in pool.map(lambda content: files.write_bytes(path, content), contents * 10):
            assert path.read_bytes() in contents
    assert list(tmp_path.iterdir()) == [path]
