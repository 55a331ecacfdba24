"""Batch prediction in shards: each clip once, with the numbers of `jdann predict`."""

import threading
from pathlib import Path

import pytest

from jdann import Recogniser
from jdann.cli import main
from jdann.cluster.shards import Shard, all_shards
from jdann.inference import shards
from jdann.inference.items import find_some_items
from jdann.inference.options import Options
from jdann.inference.rows import csv_cell
from tests.support.corpora import write_manifest
from tests.support.runs import fail, read

CLIPS = 14


@pytest.fixture(scope="module")
def manifest(tones, tmp_path_factory) -> Path:
    """Clips with a column of their own, two that cannot be used, and a name of two lines."""
    folder = tmp_path_factory.mktemp("list")
    files = [tones[1].parent / row["file"] for row in read(tones[1])][: CLIPS - 2]
    rows = [(file, f"note {i}", "stale") for i, file in enumerate(files)]
    rows[3:3] = [("bad.wav", "=1+1", "stale"), ("missing.wav", "a,b", "stale")]
    (folder / "bad.wav").write_bytes(b"no audio")
    return write_manifest(folder / "list.csv", rows, ("file", "note", "predicted"))


@pytest.fixture(scope="module")
def expected(finished_run, manifest, tmp_path_factory) -> dict[str, dict[str, str]]:
    """The row of each clip by one `jdann predict`."""
    path = tmp_path_factory.mktemp("expected") / "rows.csv"
    with pytest.raises(SystemExit):  # status 1, because two clips are left out
        main(["predict", str(finished_run), str(manifest), "--csv", str(path)])
    return {row["file"]: row for row in read(path)}


def rows_of(folder: Path) -> list[dict[str, str]]:
    """The rows of all shards as text, in the order of the files' names."""
    rows = []
    for path in sorted(folder.glob("*-of-*")):
        if path.suffix == ".csv":
            rows += read(path)
        else:
            from pyarrow import parquet

            rows += [
                {name: csv_cell(value) for name, value in row.items()}
                for row in parquet.read_table(path).to_pylist()
            ]
    return rows


def assert_same(rows, manifest, expected):
    assert [row["file"] for row in rows] == [row["file"] for row in read(manifest)]
    for row in rows:
        one = expected.get(row["file"])
        if one is None:
            assert row["left_out"] and not row["predicted"] and not row["confidence"]
            continue
        assert not row["left_out"]
        for name, cell in one.items():
            if name == "confidence" or name.startswith("p_"):
                # Programs for one clip and for many round differently in the last place.
                assert float(row[name]) == pytest.approx(float(cell), abs=2e-6)
            else:
                assert row[name] == cell


@pytest.mark.parametrize("file_format", ["csv", "parquet"])
def test_shards_have_the_rows_of_one_prediction(
    file_format, finished_run, manifest, expected, tmp_path, capsys
):
    if file_format == "parquet":
        pytest.importorskip("pyarrow")
    words = ["predict", str(finished_run), str(manifest), "--out", str(tmp_path / "rows")]
    for number in (3, 1, 2):
        main([*words, "--format", file_format, "--shard", f"{number}/3"])
    assert "4 clips are in" in capsys.readouterr().out
    assert_same(rows_of(tmp_path / "rows"), manifest, expected)
    assert {path.name for path in (tmp_path / "rows").iterdir()} == {
        "task.json",
        *(f"{number}-of-3.{file_format}" for number in (1, 2, 3)),
    }


@pytest.fixture(scope="module")
def batch(manifest, tmp_path_factory):
    items = find_some_items([str(manifest)])
    folder = tmp_path_factory.mktemp("batch")
    return shards.Batch(items, Options(), folder, "csv", 2)


@pytest.fixture(scope="module")
def recogniser(finished_run):
    return Recogniser.load(finished_run)


def test_a_killed_shard_is_repeated_and_a_finished_one_is_not(
    batch, recogniser, tmp_path, monkeypatch, manifest, expected
):
    batch = batch._replace(folder=tmp_path)
    first, second = (shards.part_of(batch, shard) for shard in all_shards(2))
    shards.predict_part(lambda: recogniser, first)
    shards.predict_part(lambda: pytest.fail("loaded"), first)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shards.files, "write_csv", killed)
        shards.predict_part(lambda: recogniser, second)
    partial = tmp_path / "2-of-2.csv.0123.partial"  # as a process leaves it that is killed
    partial.write_text("half")
    assert shards.missing_shards(batch) == [Shard(2, 2)]
    shards.predict_part(lambda: recogniser, second)
    assert not partial.exists() and not shards.missing_shards(batch)
    assert_same(rows_of(tmp_path), manifest, expected)


def test_two_processes_with_one_shard_wait_for_each_other(batch, recogniser, tmp_path, monkeypatch):
    part = shards.part_of(batch._replace(folder=tmp_path), Shard(1, 2))
    begun, go_on, calls = threading.Event(), threading.Event(), []

    def load():
        calls.append(1)
        begun.set()
        assert go_on.wait(60)
        return recogniser

    monkeypatch.setattr("jdann.locks.log.warning", lambda *_: go_on.set())
    first = threading.Thread(target=shards.predict_part, args=(load, part))
    first.start()
    assert begun.wait(60)
    shards.predict_part(load, part)
    first.join()
    assert len(calls) == 1 and len(read(part.path)) == 7


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda batch: batch._replace(items=batch.items[1:]), "number of clips"),
        (lambda batch: batch._replace(items=batch.items[::-1]), "list of clips"),
        (lambda batch: batch._replace(options=Options(abstain=0.5)), "options"),
        (lambda batch: batch._replace(format="parquet"), "format"),
        (lambda batch: batch._replace(count=3), "number of shards"),
    ],
)
def test_a_folder_holds_the_rows_of_one_task(batch, recogniser, tmp_path, change, word):
    batch = batch._replace(folder=tmp_path)
    shards.begin(batch, recogniser)
    shards.begin(batch, recogniser)
    with pytest.raises(shards.InputError, match=f"holds rows for another {word}.*another --out"):
        shards.begin(change(batch), recogniser)
    with pytest.raises(shards.InputError, match="holds rows for another model"):
        shards.begin(batch, recogniser.only("happy", "sad"))


def test_wrong_use_gets_one_line(finished_run, manifest, tmp_path, capsys):
    def refused(*options):
        message = fail(capsys, "predict", finished_run, manifest, *options)
        assert message.count("\n") == 1
        return message

    out = ("--out", tmp_path / "rows")
    assert "--shard 1/2: needs --out" in refused("--shard", "1/2")
    assert "--format: needs --out" in refused("--format", "csv")
    assert "--shard 3/2: expected a number from 1 to 2" in refused(*out, "--shard", "3/2")
    assert "leave out --csv" in refused(*out, "--csv", tmp_path / "a.csv")
    assert "leave out --adapt" in refused(*out, "--adapt")
    assert "--format is 'arrow'" in refused(*out, "--format", "arrow").replace('"', "'")
    assert "--on spark: expected ray" in refused(*out, "--on", "spark")
    assert not (tmp_path / "rows").exists()


def test_without_ray_one_sentence_says_what_to_install(
    finished_run, manifest, tmp_path, capsys, monkeypatch
):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    words = ("predict", finished_run, manifest, "--out", tmp_path / "rows", "--on", "ray")
    assert 'pip install "jdann[cluster]"' in fail(capsys, *words)
    config = ("--config", "base", "--data-dir", tmp_path / "data")
    assert 'pip install "jdann[cluster]"' in fail(
        capsys, "prepare", manifest, *config, "--on", "ray:10.0.0.1:6379"
    )
