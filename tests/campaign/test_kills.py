"""Runs that are killed, at random moments and inside each kind of write, end as if they were not.

The same command continues each of them. The seed is printed; set JDANN_CAMPAIGN_SEED to repeat a
campaign. `test_kills_of_commands.py` does the same to the other commands.
"""

import itertools
import json
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.support.corpora import write_tones
from tests.support.kills import INTERRUPTED, Program, explained, in_parallel, kill_in_turn, kind_of
from tests.support.runs import arguments, without_clock

pytestmark = pytest.mark.slow
AT_RANDOM, IN_A_ROW = 10, 5
OF_SIGNALS = 9  # of SIGINT, and of SIGTERM
# What a training writes, by stage: the name of each kind, and what its lines in the log match.
FEATURES = {
    "values of features": r"^(?!rename|mkdir).*features/.*values\.f32$",
    "journal of features": r"^(?!rename|mkdir).*features/.*journal\.jsonl$",
    "skipped clips of features": r"features/.*skipped\.json$",
    "index of features": r"features/.*index\.npz$",
    "lock of features": r" jdann/features/[^/]*\.lock$",
    "folder of features": r"^(mkdir|rename|remove|rmdir) jdann",
}
BEGINNING = {
    "lock of the work directory": r" running\.lock$",
    "log": r" log\.txt$",
    "skipped.csv": r" skipped\.csv",
    "config.json": r" config\.json",
    "normalisation": r" normalisation-0\.npz",
}
CHECKPOINTS = {
    "removal of a checkpoint": r"^(remove|rmdir) checkpoints/[^/]*/\d+(/|$)",
    "place of a checkpoint": r"^rename checkpoints/[^/]*/\d+$",
    "item of a checkpoint": r"^rename checkpoints/[^/]*/\d+\.orbax-checkpoint-tmp/",
    "folder of a checkpoint": r"^mkdir checkpoints(?#tmp)",
    "file of a checkpoint": r"^(open|remove) checkpoints/.*tmp",
}
END = {
    "weights of the model": r" recogniser/.*model\.safetensors",
    "card of the model": r" recogniser/.*model\.json",
    "folder of the model": r"^mkdir recogniser",
    "TensorBoard": r" tensorboard",
    "history.csv": r" history\.csv",
    "predictions.csv": r" predictions\.csv",
    "figures": r" figures",
    "results.json": r" results\.json",
}
KINDS = FEATURES | BEGINNING | CHECKPOINTS | END


@pytest.fixture(scope="module")
def corpora(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tones")
    return write_tones(folder / "a", 0, 150.0, takes=2), write_tones(folder / "b", 1, 230.0)


def training(corpora, folder: Path, *more: str) -> Program:
    """A training with a work directory and a cache of features of its own."""
    folder.mkdir(exist_ok=True)
    workdir, data_dir = folder / "run", folder / "data"
    words = ["train", *arguments(*corpora, workdir, data_dir, "--resume", *more)]
    return Program(words, (workdir, data_dir), folder / "writes.txt")


@pytest.fixture(scope="module")
def uninterrupted(corpora, tmp_path_factory) -> tuple[Path, list[str], float]:
    """The folder of a run that nobody killed, its writes, and the seconds that it took."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    program = training(corpora, folder)
    begun = time.monotonic()
    program.finish()
    return folder, program.writes(), time.monotonic() - begun


def assert_equal_runs(folder: Path, expected: Path) -> None:
    """All results are the same but for what a clock tells, and nothing unfinished is left."""
    run, whole = folder / "run", expected / "run"
    models = sorted(path.relative_to(whole) for path in (whole / "recogniser").glob("*/model.*"))
    assert len(models) == 4
    for file in (Path("results.json"), *models, Path("predictions.csv"), Path("history.csv")):
        if file.suffix == ".json":
            contents = [json.loads((parent / file).read_text()) for parent in (run, whole)]
            assert without_clock(contents[0]) == without_clock(contents[1]), file
        else:
            assert (run / file).read_bytes() == (whole / file).read_bytes(), file
    assert files_of(folder) == files_of(expected)
    for checkpoints in (run / "checkpoints").iterdir():
        numbers = [path.name for path in checkpoints.iterdir()]
        assert all(map(str.isdigit, numbers)) and "3" in numbers and len(numbers) <= 2, numbers
        items = [{path.name for path in (checkpoints / n).iterdir()} for n in numbers]
        assert items[0] == items[-1]


def files_of(folder: Path) -> set[str]:
    """Paths of a run and of its features. Checkpoints and event files depend on the time."""
    paths = {path.relative_to(folder) for path in folder.rglob("*")} - {Path("writes.txt")}
    return {
        str(path) for path in paths if not {"checkpoints", "tensorboard"} & set(path.parent.parts)
    }


def test_every_write_is_of_a_known_kind(uninterrupted):
    """Otherwise no kill would hit a kind that is new: name it above."""
    counts = Counter(kind_of(line, KINDS) for line in uninterrupted[1])
    unknown = [line for line in uninterrupted[1] if kind_of(line, KINDS) is None]
    assert not unknown
    assert set(counts) == set(KINDS)


def test_runs_killed_inside_each_kind_of_write(corpora, uninterrupted, chance, tmp_path):
    """A run is killed in one write of each stage in turn, and then goes on to its end."""
    expected, writes, _ = uninterrupted
    stages = [
        chance.sample(sorted(stage.items()), len(stage))
        for stage in (FEATURES, BEGINNING, CHECKPOINTS, END)
    ]
    series = [[kind for kind in kinds if kind] for kinds in itertools.zip_longest(*stages)]

    def kill_and_continue(item) -> list[str]:
        number, kinds, seed = item
        folder = tmp_path / str(number)
        done = kill_in_turn(training(corpora, folder), kinds, writes, seed)
        with explained(done):
            assert_equal_runs(folder, expected)
        return done

    items = [(i, kinds, chance.randrange(2**32)) for i, kinds in enumerate(series)]
    done = [line for lines in in_parallel(kill_and_continue, items) for line in lines]
    print(*done, sep="\n")
    assert len(done) == len(KINDS)


def test_runs_killed_at_random_moments(corpora, uninterrupted, chance, tmp_path):
    """Some of them are killed several times in a row."""
    expected, _, seconds = uninterrupted

    def kill_and_continue(item) -> int:
        number, moments = item
        program = training(corpora, tmp_path / str(number))
        statuses = [program.kill_after(moment)[0] for moment in moments]
        assert set(statuses) <= {-signal.SIGKILL, 0}
        program.finish()
        with explained([f"killed after {moments} s: {statuses}"]):
            assert_equal_runs(tmp_path / str(number), expected)
        return statuses.count(-signal.SIGKILL)

    items = [
        (i, [chance.uniform(0, seconds) for _ in range(IN_A_ROW)])
        for i in range(AT_RANDOM // IN_A_ROW)
    ]
    assert sum(in_parallel(kill_and_continue, items)) >= AT_RANDOM // 2


def test_signals_end_a_run_in_one_line_at_any_moment(corpora, uninterrupted, chance, tmp_path):
    """Also during the imports at the start, and during Python's shutdown at the end."""
    expected, _, seconds = uninterrupted

    def interrupt_and_continue(item) -> list[int]:
        number, moments = item
        folder = tmp_path / signal.Signals(number).name
        program, statuses = training(corpora, folder), []
        for place, moment in moments:
            end = folder / "run" / "results.json" if place == "end" else None
            if end:
                end.unlink(missing_ok=True)
            status, errors = program.kill_after(moment, number, end)
            statuses.append(status)
            done = f"{signal.Signals(number).name} at the {place}, after {moment} s: {status}"
            assert status in ((128 + number, 0) if place != "start" else (128 + number,)), done
            assert "Traceback" not in errors and "Exception ignored" not in errors, done + errors
            assert errors.count(INTERRUPTED) == (status != 0) and (
                not status or errors.endswith(f"{INTERRUPTED}\n")
            ), done + errors
        program.finish()
        with explained([str(moments)]):
            assert_equal_runs(folder, expected)
        return statuses

    longest = {"start": seconds / 4, "middle": seconds, "end": seconds / 8}
    items = []
    for number in (signal.SIGINT, signal.SIGTERM):
        places = ["start", "middle", "end"] * (OF_SIGNALS // 3)
        items.append((number, [(place, chance.uniform(0, longest[place])) for place in places]))
    for statuses in in_parallel(interrupt_and_continue, items):
        assert sum(status != 0 for status in statuses) >= OF_SIGNALS // 3
