"""Sweeps: all members in one program, the choice of each criterion, and members that diverge."""

import io
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import recall_score

from jdann.cli import main
from jdann.configuration import load_config
from jdann.data.pairs import Direction, Domain
from jdann.data.splits import Split
from jdann.experiments.jobs import Job
from jdann.experiments.outcomes import Outcome
from jdann.experiments.replaced import replacing
from jdann.experiments.sweep import grid
from jdann.experiments.sweep_results import Point, choices, choose, result_rows, summarise
from jdann.figures import sweep
from jdann.methods import make_method
from jdann.selection import CRITERIA
from tests.support.corpora import EMOTIONS
from tests.support.runs import arguments, fail, read, relabelled

ROOT = Path(__file__).parents[2]
GRID = ("--strengths", "0,1", "--learning-rates", "1e-3,1e30", "--config.methods=source_only,dann")


def sweep_arguments(tones, workdir, data_dir, *more, command="sweep") -> list[str]:
    small = ("--config.methods=dann", "--config.epochs=2")
    return [command, *arguments(*tones, workdir, data_dir, *small, *more)]


def read_results(workdir: Path):
    return json.loads((workdir / "results.json").read_text())


@pytest.fixture(scope="module")
def swept(tones, data_dir, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("sweeps") / "swept"
    main(sweep_arguments(tones, workdir, data_dir, *GRID))
    return workdir


def test_leaves_rows_a_csv_and_heat_maps(swept):
    results = read_results(swept)
    points = {
        (row["method"], row["strength"], row["learning_rate"], row["weight_decay"])
        for row in results["rows"]
    }
    # source_only does not use the target, so it has no strength.
    assert points == {
        (method, strength, rate, 0.01)
        for method, strength in (("dann", 0.0), ("dann", 1.0), ("source_only", None))
        for rate in (1e-3, 1e30)
    }
    members = read(swept / "sweep.csv")
    assert len(members) == 2 * 6
    for row in results["rows"]:
        strength = "" if row["strength"] is None else str(row["strength"])
        same_point = [
            member
            for member in members
            if (member["method"], member["strength"]) == (row["method"], strength)
            and float(member["learning_rate"]) == row["learning_rate"]
        ]
        diverged = [member["diverged"] != "" for member in same_point]
        assert diverged == [row["learning_rate"] == 1e30] * 2
        if row["analysis"]:
            assert "needs target labels" in row["analysis"]["label"]
            uar = [float(member["uar (analysis only)"]) for member in same_point]
            assert uar == pytest.approx(row["analysis"]["uar"]["values"])
            mcc = [float(member["mcc"]) for member in same_point]
            assert mcc == pytest.approx(row["criteria"]["mcc"]["values"])
    figures = {path.name for path in (swept / "figures").glob("*.png")}
    assert figures >= {"sweep-dann-conv1d.png", "sweep-source_only-conv1d.png"}


def test_a_diverging_member_is_reported_and_the_others_continue(swept):
    results = read_results(swept)
    for row in results["rows"]:
        if row["learning_rate"] == 1e30:
            assert set(row["diverged"]) == {"0", "1"}
            assert all("step" in place for place in row["diverged"].values())
            assert row["criteria"] == {} and row["analysis"] is None
        else:
            assert row["diverged"] == {} and len(row["analysis"]["uar"]["values"]) == 2
    message = "seed 1 at strength 1, learning rate 1e+30, weight decay 0.01 diverged at step"
    assert message in (swept / "log.txt").read_text()
    assert all(choice["learning_rate"] in (1e-3, None) for choice in results["choices"])
    (oracle,) = [
        choice
        for choice in results["choices"]
        if (choice["method"], choice["criterion"]) == ("dann", "oracle")
    ]
    assert not oracle["achievable"] and oracle["analysis"]["loss_to_oracle"] == 0
    assert all(choice["analysis"]["loss_to_oracle"] >= 0 for choice in results["choices"])


@pytest.mark.slow
def test_a_single_point_equals_the_plain_training_bit_for_bit(swept, tones, data_dir, tmp_path):
    """Also beside points that diverge; and the config of the chosen point trains to the same."""
    options = (data_dir, "--config.baseline=false")
    main(sweep_arguments(tones, tmp_path / "plain", *options, command="train"))
    plain = read_results(tmp_path / "plain")
    expected = {row["selection"]: row["uar"]["values"] for row in plain["rows"]}["last"]
    main(sweep_arguments(tones, tmp_path / "single", *options))
    for workdir in (tmp_path / "single", swept):
        (row,) = [
            row
            for row in read_results(workdir)["rows"]
            if (row["method"], row["strength"], row["learning_rate"]) == ("dann", 1.0, 1e-3)
        ]
        assert row["analysis"]["uar"]["values"] == expected
        assert {choice["criterion"] for choice in plain["selection"]} == set(row["criteria"])
    config = load_config(str(tmp_path / "single" / "best-dann-conv1d.json"))
    assert config == load_config(str(tmp_path / "plain" / "config.json"))


@pytest.mark.slow
def test_resume_after_kill_equals_the_uninterrupted_sweep(swept, tones, data_dir, tmp_path, capsys):
    workdir = tmp_path / "killed"
    options = sweep_arguments(tones, workdir, data_dir, *GRID)
    process = subprocess.Popen(
        [sys.executable, "run.py", *options],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    saved = workdir / "checkpoints" / "sweep-0-conv1d-dann-all"
    deadline = time.monotonic() + 240
    while (
        not any(p.name.isdigit() for p in saved.glob("*"))
        and process.poll() is None
        and time.monotonic() < deadline
    ):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (workdir / "results.json").exists()
    assert "continue it by --resume" in fail(capsys, *options)
    main([*options, "--resume"])
    assert (workdir / "sweep.csv").read_text() == (swept / "sweep.csv").read_text()
    resumed, uninterrupted = read_results(workdir), read_results(swept)
    assert resumed["rows"] == uninterrupted["rows"]
    assert resumed["choices"] == uninterrupted["choices"]


@pytest.mark.slow
@pytest.mark.parametrize("change", ["poisoned", "absent"])
def test_target_labels_change_only_the_analysis(swept, tones, data_dir, tmp_path, change, capsys):
    turn = dict(zip(EMOTIONS, (*EMOTIONS[1:], EMOTIONS[0]), strict=True))
    target = relabelled(tones[1], f"sweep-{change}.csv", turn.get if change == "poisoned" else None)
    options = (data_dir, *GRID, "--config.methods=dann")
    main(sweep_arguments((tones[0], target), tmp_path / "run", *options))
    columns = ("seed", "diverged", *CRITERIA)
    changed, original = (
        [
            [row[column] for column in columns]
            for row in read(workdir / "sweep.csv")
            if row["method"] == "dann"
        ]
        for workdir in (tmp_path / "run", swept)
    )
    assert changed == original
    results = read_results(tmp_path / "run")
    if change == "absent":
        assert not results["scored"]
        assert all(row["analysis"] is None for row in (*results["rows"], *results["choices"]))
        assert "UAR" not in capsys.readouterr().out
    chosen = {
        choice["criterion"]: choice["strength"]
        for choice in read_results(swept)["choices"]
        if choice["method"] == "dann"
    }
    for choice in results["choices"]:
        if choice["achievable"]:
            assert chosen[choice["criterion"]] == choice["strength"]


def test_other_commands_refuse_the_work_directory_of_a_sweep(swept, data_dir, capsys):
    for command in ("report", "evaluate"):
        message = fail(capsys, command, swept, "--data-dir", data_dir)
        assert "was left by jdann sweep" in message


def test_overwrite_removes_all_that_a_sweep_left(swept, tmp_path):
    copy = Path(shutil.copytree(swept, tmp_path / "copy"))
    with replacing(copy, overwrite=True):
        assert {path.name for path in copy.iterdir()} == {"log.txt", "replaced"}


@pytest.mark.slow
def test_all_members_of_a_method_diverged(tones, data_dir, tmp_path, capsys):
    options = sweep_arguments(tones, tmp_path / "run", data_dir, "--learning-rates", "1e30")
    assert "are not finite at step" in fail(capsys, *options, status=1).splitlines()[-1]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--strengths", "0,much"), "expected finite numbers"),
        (("--learning-rates", "1e-3,1e-3"), "each once"),
        (("--weight-decays", "-1"), "at least 0"),
        (("--config.sweep.criterion=luck",), "choose one of source_risk"),
        (("--config.selection=luck",), 'choose "last" or one of source_risk'),
        (("--config.methods=supervised",), "names nothing that adapts"),
        (("--strength", "0"), "unknown option"),
    ],
)
def test_wrong_input_ends_in_one_line(tones, data_dir, tmp_path, capsys, more, message):
    options = sweep_arguments(tones, tmp_path / "run", data_dir, *more)
    assert message in fail(capsys, *options).splitlines()[-1]


def test_a_sweep_refuses_the_work_directory_of_a_training(tones, data_dir, tmp_path, capsys):
    shutil.copytree(ROOT / "configs", tmp_path / "run" / "checkpoints" / "0-conv1d-dann-all")
    options = sweep_arguments(tones, tmp_path / "run", data_dir, "--resume")
    assert "a --workdir of its own" in fail(capsys, *options)


def test_the_grid_is_the_product_or_the_config_itself():
    config = load_config("base", [("sweep.strength", "0,1"), ("sweep.weight_decay", "0.1,0.2,0.3")])
    points = grid(config, make_method("dann"))
    rate, decay = config.optimiser.learning_rate, config.optimiser.weight_decay
    assert len(set(points)) == 6 and {point.learning_rate for point in points} == {rate}
    source_only = grid(config, make_method("source_only"))
    assert {point.strength for point in source_only} == {None}
    (only,) = grid(load_config("base"), make_method("dann"))
    assert only == Point(config.strength.maximum, rate, decay)


N, SEEDS = 40, (3, 4)


def toy_sweep(accuracy, mcc, diverged=()):
    """A sweep of artificial logits.

    Args:
      accuracy: [points, seeds] the share of the target that is right.
      mcc: [points, seeds] the values of the criterion "mcc".
      diverged: numbers of the members that diverged.
    """
    random = np.random.default_rng(0)
    emotion = random.permutation(np.resize(np.arange(5), N))
    points = tuple(Point(float(i), 1e-3, 0.0) for i in range(len(accuracy)))
    members = len(points) * len(SEEDS)
    logits = np.zeros((1, members, N, 5), np.float32)
    for m in range(members):
        right = random.random(N) < np.ravel(accuracy)[m]
        logits[0, m, np.arange(N), np.where(right, emotion, (emotion + 1) % 5)] = 1
    criteria = {name: np.full((1, members), np.nan, np.float32) for name in CRITERIA}
    criteria["mcc"] = np.ravel(mcc)[None].astype(np.float32)
    rows = np.arange(N)
    outcome = Outcome(
        job=Job(0, "conv1d", "dann", (Split("all", rows, rows, rows, rows),)),
        logits=logits,
        tested=np.ones(N, bool),
        record_at=(1,),
        criteria=((rows, criteria),),
        history=(),
        diverged=tuple("step 7" if m in diverged else None for m in range(members)),
        representation=(logits[0, 0],) * 2,
        rows=(rows, rows),
    )
    corpus = type("Corpus", (), {"name": "a"})()
    domain = Domain(corpus, None, (), False, emotion, (None,) * N, (), None, (), None)  # pyright: ignore
    direction = Direction(domain, domain, None, None, (None, None), 1)  # pyright: ignore
    return summarise(outcome, points, SEEDS, direction, load_config("base")), direction, emotion


def test_choices_agree_with_scikit_learn_and_lower_is_better_for_mcc():
    accuracy = np.array([[0.9, 0.8], [0.6, 0.5], [0.2, 0.1]])
    swept, direction, emotion = toy_sweep(accuracy, [[0.1, 0.2], [0.3, 0.3], [0.0, 0.1]])
    predictions = swept.outcome.logits[0].argmax(-1)
    expected = [recall_score(emotion, predicted, average="macro") for predicted in predictions]
    np.testing.assert_allclose(swept.uar.ravel(), expected, rtol=1e-12)
    assert choose(swept, "mcc") == 2 and choose(swept, "bnm") is None
    rows = {row["criterion"]: row for row in choices(swept, direction)}
    assert set(rows) == {"mcc", "oracle", "by lot"}
    assert rows["oracle"]["strength"] == 0.0 and rows["mcc"]["strength"] == 2.0
    means = swept.uar.mean(1)
    assert rows["mcc"]["analysis"]["loss_to_oracle"] == pytest.approx(means[0] - means[2])
    assert rows["by lot"]["analysis"]["uar"]["mean"] == pytest.approx(means.mean())


def test_a_point_with_a_diverged_seed_is_not_chosen():
    mcc = [[0.1, 0.2], [0.3, 0.3], [0.0, 0.1]]
    swept, direction, _ = toy_sweep(np.full((3, 2), 0.5), mcc, diverged=(5,))
    assert choose(swept, "mcc") == 0
    rows = result_rows(swept, direction)
    assert rows[2]["diverged"] == {"4": "step 7"} and len(rows[2]["analysis"]["uar"]["values"]) == 1
    (oracle,) = [row for row in choices(swept, direction) if row["criterion"] == "oracle"]
    assert oracle["strength"] != 2.0


def test_heat_map_and_table_show_every_point():
    mcc = [[0.1, 0.2], [0.3, 0.3], [np.nan, np.nan]]
    swept, direction, _ = toy_sweep(np.full((3, 2), 0.5), mcc, diverged=(4, 5))
    rows, chosen = result_rows(swept, direction), choices(swept, direction)
    figure = sweep.heat_map(rows, chosen, "mcc", "title")
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    # Two panels show three points each.
    assert sum("diverged" in text for text in texts) == 2
    assert sum("±" in text for text in texts) == 4
    results = {
        "title": "a -> a",
        "config": {"sweep": {"criterion": "mcc"}},
        "rows": rows,
        "choices": chosen,
        "failed": ["lost"],
        "scored": True,
    }
    console = Console(width=160, file=io.StringIO())
    console.print(sweep.render(results))
    text = console.file.getvalue()  # pyright: ignore
    assert "seed 3: step 7, seed 4: step 7" in text
    assert "oracle (not achievable)" in text and "lost" in text
