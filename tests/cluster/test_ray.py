"""A Ray cluster computes what one process computes, whoever dies meanwhile."""

import os
import random
import time
from pathlib import Path

import pytest

from jdann.cluster.ray_pool import work_through
from jdann.errors import InputError
from tests.support.ray_cluster import command, kill, nodes, workers
from tests.support.runs import read

# Ray warns of its own changes.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
WAIT_S = 500
SEED = int(os.environ.get("JDANN_CAMPAIGN_SEED", time.time_ns() % 10**6))
# Three clips in a shard, and slow workers whose files show each clip at once: there is something to
# interrupt. What stands in the main module is sent to the workers as it is.
SLOW = """
from jdann.cluster import shards
from jdann.experiments import preparation
shards._CLIPS_PER_SHARD = 3

def slow(item):
    import time
    from jdann.features import journal, shards, store
    journal._FLUSH_S, store._BATCH = 0.0, 4
    if not hasattr(journal.Journal, "fast_add"):
        journal.Journal.fast_add = journal.Journal.add
        def add(self, *arguments):
            time.sleep(0.3)
            self.fast_add(*arguments)
        journal.Journal.add = add
    shards.compute_part(*item)

preparation._compute_part = slow
"""


@pytest.fixture(scope="module")
def cluster():
    pytest.importorskip("ray")
    with nodes(3) as started:
        yield started


def prepare(cluster, manifest, data_dir, *more):
    words = ("prepare", manifest, "--config", "base", "--config.audio.speech_only=false")
    on = ("--on", f"ray:{cluster.address}") if cluster else ()
    return command(SLOW if cluster else "", *words, "--data-dir", data_dir, *on, *more)


def finish(process) -> str:
    output, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, output
    return output


def content(data_dir: Path) -> dict[str, bytes]:
    """All files of the features; there is nothing else."""
    paths = (path for path in data_dir.rglob("*") if path.is_file())
    return {str(path.relative_to(data_dir)): path.read_bytes() for path in paths}


def finished(data_dir: Path) -> int:
    return len(list(data_dir.glob("jdann/features/*.shards/*-of-*")))


@pytest.fixture(scope="module")
def manifest(tones, tmp_path_factory) -> Path:
    """The tones, with one file that is no audio among them."""
    folder = tmp_path_factory.mktemp("ray")
    lines = ["file,emotion,speaker"]
    lines += [
        f"{tones[0].parent / r['file']},{r['emotion']},{r['speaker']}" for r in read(tones[0])
    ]
    lines.insert(30, "bad.wav,sad,s0")
    (folder / "bad.wav").write_bytes(b"no audio")
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    return folder / "list.csv"


@pytest.fixture(scope="module")
def whole(manifest, tmp_path_factory) -> dict[str, bytes]:
    """What one process writes."""
    data_dir = tmp_path_factory.mktemp("whole")
    assert "left out: bad.wav" in finish(prepare(None, manifest, data_dir))
    return content(data_dir)


def test_three_nodes_write_what_one_process_does(cluster, manifest, whole, tmp_path):
    assert "60 utterances are ready" in finish(prepare(cluster, manifest, tmp_path))
    assert content(tmp_path) == whole
    assert "60 utterances are ready" in finish(prepare(cluster, manifest, tmp_path))


def test_shards_of_a_job_array_are_continued(cluster, manifest, whole, tmp_path):
    finish(prepare(None, manifest, tmp_path, "--shard", "2/4"))
    finish(prepare(cluster, manifest, tmp_path))
    assert content(tmp_path) == whole


def test_workers_that_are_killed_lose_no_clip_and_double_none(cluster, manifest, whole, tmp_path):
    print(f"seed {SEED}")
    chance, killed = random.Random(SEED), 0
    for number in range(20):  # preparations, until twenty workers have been killed
        data_dir = tmp_path / str(number)
        killed += prepare_with_kills(cluster, manifest, data_dir, chance, 20 - killed)
        assert content(data_dir) == whole
        if killed == 20:
            return
    pytest.fail(f"only {killed} workers were killed")


def prepare_with_kills(cluster, manifest, data_dir: Path, chance: random.Random, most: int) -> int:
    """Prepares to the end while workers are killed at random; returns how many were killed."""
    killed = 0
    for _ in range(5):
        process = prepare(cluster, manifest, data_dir)
        while process.poll() is None and killed < most:
            time.sleep(chance.uniform(0.1, 5.0))
            alive = workers(cluster)
            if alive:
                kill(chance.choice(alive))
                killed += 1
        output, _ = process.communicate(timeout=WAIT_S)
        if process.returncode == 0:
            return killed
        assert "shards are missing" in output  # too many kills of one shard; the next run goes on
    pytest.fail(f"{killed} were killed; {output}")


def test_a_node_that_is_lost_costs_only_time(manifest, whole, tmp_path):
    pytest.importorskip("ray")
    with nodes(3) as cluster:
        process = prepare(cluster, manifest, tmp_path)
        while finished(tmp_path) < 4:
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.2)
        cluster.remove_node(cluster.list_all_nodes()[-1], allow_graceful=False)
        finish(process)
    assert content(tmp_path) == whole


def test_an_item_at_which_workers_die_is_given_up(cluster, tmp_path):
    def work(number):
        if number == 2:
            os._exit(1)
        if number == 3:
            raise ValueError("three")
        (tmp_path / str(number)).touch()

    def missing():
        return [n for n in range(6) if not (tmp_path / str(n)).exists()]

    reason = work_through(cluster.address, work, missing, "Counting", "numbers")
    assert reason == "ValueError: three" and missing() == [2, 3]


def test_predictions_by_three_nodes(cluster, finished_run, manifest, tmp_path):
    """Each clip once, with the same numbers as by one process."""
    words = ("predict", finished_run, manifest, "--out")
    few = "from jdann.cluster import shards\nshards._CLIPS_PER_SHARD = 7"
    out, one = tmp_path / "out", tmp_path / "one"
    finish(command("", *words, one))
    process = command(few, *words, out, "--on", f"ray:{cluster.address}")
    while process.poll() is None and not list(out.glob("*-of-9.csv")):
        time.sleep(0.1)
    for worker in workers(cluster)[:1]:
        kill(worker)
    assert "61 clips are in" in finish(process)
    (expected,) = (read(path) for path in one.glob("*.csv"))
    rows = [row for path in sorted(out.glob("*.csv")) for row in read(path)]
    assert [row["file"] for row in rows] == [row["file"] for row in expected]
    for row, other in zip(rows, expected, strict=True):
        for name in row:
            if name == "confidence" or name.startswith("p_"):
                assert float(row[name] or 0) == pytest.approx(float(other[name] or 0), abs=2e-6)
            else:
                assert row[name] == other[name]


def test_a_cluster_that_is_not_there_is_named():
    pytest.importorskip("ray")
    with pytest.raises(InputError, match="--on ray:127.0.0.1:9: no cluster answers"):
        work_through("127.0.0.1:9", print, lambda: [1], "Nothing", "items")
