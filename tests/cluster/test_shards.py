"""Shards of a corpus: the same features as by one process, whatever is killed or repeated."""

import csv
import shutil
import threading
from pathlib import Path

import pytest

from jdann import corpora, locks
from jdann.audio import AudioSettings
from jdann.cli import main
from jdann.cluster.shards import Shard, all_shards, numbers, parse_shard
from jdann.configuration import base_config
from jdann.errors import InputError
from jdann.features import shards, store
from tests.support.corpora import EMOTIONS, write_manifest
from tests.support.runs import SMALL, fail

BAD = ("damaged.wav", "missing.wav", "silent.wav")


@pytest.fixture(scope="module", autouse=True)
def small_batches():
    """Small programs compile faster."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "_BATCH", 4)
        yield


@pytest.fixture(scope="module")
def manifest(tones, tmp_path_factory) -> Path:
    """A corpus of 24 clips and, in the middle of them, three that cannot be used."""
    folder = tmp_path_factory.mktemp("shards")
    with tones[0].open(newline="") as file:
        rows = [(tones[0].parent / row["file"], row["emotion"]) for row in csv.DictReader(file)][
            :24
        ]
    (folder / BAD[0]).write_bytes(b"no audio")
    (folder / BAD[2]).write_bytes(b"")
    rows[7:7] = [(name, "sad") for name in BAD]
    return write_manifest(folder / "list.csv", rows, ("file", "emotion"))


@pytest.fixture(scope="module")
def extraction(manifest):
    return store.plan_extraction(
        corpora.load(str(manifest), EMOTIONS),
        recipe_name="frames",
        settings=base_config().features,
        audio_settings=AudioSettings(speech_only=False),
    )


@pytest.fixture(scope="module")
def whole(extraction, tmp_path_factory) -> dict[str, bytes]:
    """What one process writes."""
    return content(store.compute(extraction, tmp_path_factory.mktemp("whole")).path.parent)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def only_folder(cache: Path) -> Path:
    (folder,) = cache.iterdir()
    return folder


@pytest.mark.parametrize(("total", "count"), [(0, 3), (2, 5), (10, 1), (10, 3), (10**6, 997)])
def test_shards_cut_a_list_into_equal_parts_in_order(total, count):
    parts = [shard.rows(total) for shard in all_shards(count)]
    assert [i for part in parts for i in part] == list(range(total))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    names = [shard.name for shard in all_shards(count)]
    assert sorted(names) == names and len(set(names)) == count


@pytest.mark.parametrize(
    "text", ["", "x", "1", "5/4", "0/4", "1/0", "-1/4", "1/4/4", "1 / 4", "1.5/4", "1/999999999"]
)
def test_what_is_no_shard_gets_one_line(text):
    with pytest.raises(InputError, match="--shard.*expected") as error:
        parse_shard(text)
    assert "\n" not in str(error.value)


def test_a_shard_is_read_as_it_is_written():
    assert [parse_shard(str(shard)) for shard in all_shards(3)] == all_shards(3)


def test_numbers_of_shards_are_told_in_few_words():
    assert numbers(Shard(i, 99) for i in (9, 1, 4, 5, 6, 8)) == "1, 4 to 6, 8, 9"
    assert len(numbers(Shard(i, 9999) for i in range(1, 9999, 2))) < 100


@pytest.mark.parametrize("order", [[1, 2, 3, 4], [3, 1, 4, 2]], ids=str)
def test_the_last_shard_leaves_the_folder_that_one_process_writes(
    extraction, whole, order, tmp_path
):
    for number in order[:-1]:
        assert shards.compute_shard(extraction, Shard(number, 4), tmp_path) is None
    features = shards.compute_shard(extraction, Shard(order[-1], 4), tmp_path)
    assert features is not None
    assert content(only_folder(tmp_path)) == whole
    assert {clip.file for clip in features.skipped} == set(BAD)
    assert store.compute(extraction, tmp_path).path == features.path


def test_more_shards_than_clips(extraction, tmp_path):
    corpus = extraction.corpus._replace(utterances=extraction.corpus.utterances[:2])
    few = extraction._replace(corpus=corpus)
    expected = content(store.compute(few, tmp_path / "whole").path.parent)
    for shard in all_shards(3):
        shards.compute_shard(few, shard, tmp_path / "cache")
    assert content(only_folder(tmp_path / "cache")) == expected


def test_the_order_in_which_clips_are_computed_leaves_no_trace(
    extraction, whole, tmp_path, monkeypatch
):
    # Each batch holds one clip, so they are computed in another order.
    monkeypatch.setattr(store, "_BATCH", 1)
    assert content(store.compute(extraction, tmp_path).path.parent) == whole


def test_what_is_there_is_not_computed_again(extraction, whole, tmp_path, monkeypatch):
    for number in (1, 2):
        shards.compute_shard(extraction, Shard(number, 3), tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(store, "_compute", lambda *_: pytest.fail("computed again"))
        assert shards.compute_shard(extraction, Shard(2, 3), tmp_path) is None
    shards.compute_shard(extraction, Shard(3, 3), tmp_path)
    monkeypatch.setattr(store, "_compute", lambda *_: pytest.fail("computed again"))
    for shard in (Shard(1, 3), Shard(5, 8)):  # also another number: all features are there
        assert shards.compute_shard(extraction, shard, tmp_path) is not None
    assert content(only_folder(tmp_path)) == whole


def test_missing_shards_are_named(extraction, tmp_path):
    with pytest.raises(InputError, match="there are no shards in .*--shard 1/5"):
        shards.merge_shards(extraction, 5, tmp_path)
    for number in (1, 4):
        shards.compute_shard(extraction, Shard(number, 5), tmp_path)
    with pytest.raises(InputError, match="3 of 5 shards are missing: 2, 3, 5; .*--shard 2/5"):
        shards.merge_shards(extraction, 5, tmp_path)


def test_shards_of_another_number_are_refused(extraction, tmp_path):
    shards.compute_shard(extraction, Shard(1, 3), tmp_path)
    for refused in (
        lambda: shards.compute_shard(extraction, Shard(1, 4), tmp_path),
        lambda: shards.merge_shards(extraction, 4, tmp_path),
    ):
        with pytest.raises(InputError, match="holds shards of 3, not of 4; go on with 3"):
            refused()


@pytest.mark.parametrize("name", ["values.f32", "index.npz", "skipped.json"])
def test_a_damaged_shard_is_not_merged(extraction, whole, name, tmp_path):
    for number in (1, 2):
        shards.compute_shard(extraction, Shard(number, 3), tmp_path)
    file = only_folder(tmp_path) / Shard(2, 3).name / name
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(InputError, match="shard 2/3 was damaged .* compute it again"):
        shards.compute_shard(extraction, Shard(3, 3), tmp_path)
    shards.compute_shard(extraction, Shard(2, 3), tmp_path)
    assert content(only_folder(tmp_path)) == whole


def test_a_killed_merge_is_repeated(extraction, whole, tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    shards.compute_shard(extraction, Shard(1, 2), tmp_path)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shards, "write_features", killed)
        shards.compute_shard(extraction, Shard(2, 2), tmp_path)
    folder = shards.shards_folder(extraction, tmp_path)
    shutil.copytree(folder, tmp_path / "kept")
    shards.merge_shards(extraction, 2, tmp_path)
    (tmp_path / "kept").rename(folder)  # as if it had been killed before it removed them
    assert shards.merge_shards(extraction, 2, tmp_path) is not None
    assert content(only_folder(tmp_path)) == whole


def test_two_processes_with_one_shard_wait_for_each_other(extraction, whole, tmp_path, monkeypatch):
    compute, begun, go_on, lines, calls = (
        store._compute,
        threading.Event(),
        threading.Event(),
        [],
        [],
    )

    def slow(*arguments):
        calls.append(1)
        begun.set()
        assert go_on.wait(60)
        compute(*arguments)

    def note(text, *values):
        lines.append(text % values)
        go_on.set()

    monkeypatch.setattr(store, "_compute", slow)
    monkeypatch.setattr(locks.log, "warning", note)
    # For a lock, another descriptor of the same process is as good as another process.
    arguments = (extraction, Shard(1, 1), tmp_path)
    first = threading.Thread(target=shards.compute_shard, args=arguments)
    first.start()
    assert begun.wait(60)
    features = shards.compute_shard(*arguments)
    first.join()
    assert len(calls) == 1 and len(lines) == 1 and "shard 1/1: waits for process" in lines[0]
    assert features is not None and content(only_folder(tmp_path)) == whole


def test_a_training_and_the_command_share_features(
    finished_run, tones, data_dir, capsys, monkeypatch
):
    monkeypatch.setattr(store, "_compute", lambda *_: pytest.fail("computed again"))
    overrides = [f"--config.{override}" for override in SMALL]
    words = ["prepare", *map(str, tones), "--config", "base", "--data-dir", str(data_dir)]
    main([*words, "--shard", "1/4", *overrides])
    assert capsys.readouterr().out.count("60 utterances are ready in") == 2


def test_wrong_use_of_the_command_gets_one_line(manifest, tmp_path, capsys):
    def refused(*options):
        message = fail(capsys, "prepare", manifest, "--data-dir", tmp_path, *options)
        assert message.count("\n") == 1
        return message

    assert "--shard 5/4: expected a number from 1 to 4" in refused("--shard", "5/4")
    assert "--merge 0: expected 1 to" in refused("--merge", "0")
    assert "not allowed with" in refused("--merge", "2", "--shard", "1/2")
    assert "there are no shards in" in refused("--merge", "2")
    assert "--force and --sentences are for esd and demo" in refused("--force")
    assert "is for features of corpora" in fail(capsys, "prepare", "demo", "--config.seed=1")
    assert not list(tmp_path.glob("*/*/*"))
