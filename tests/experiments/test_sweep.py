"""Sweeps: many members in one program, what each criterion would choose of them, and what a diverging member does to the rest."""

import csv
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
from jdann.experiments.jobs import Job, Outcome
from jdann.experiments.sweep import Point, choices, choose, grid, result_rows, summarise
from jdann.figures import sweep
from jdann.methods import make_method
from jdann.selection import CRITERIA
from tests.support.corpora import EMOTIONS
from tests.support.runs import SMALL, relabelled

ROOT = Path(__file__).parents[2]


def arguments(tones, workdir, data_dir, *more, command="sweep"):
    return [command, "--config", "en2zh", f"--config.source={tones[0]}", f"--config.target={tones[1]}", "--workdir", str(workdir),
            "--data-dir", str(data_dir), *(f"--config.{s}" for s in (*SMALL, "methods=dann", "epochs=2")), *more]  # fmt: skip


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


GRID = ("--strengths", "0,1", "--learning-rates", "1e-3,1e30", "--config.methods=source_only,dann")


@pytest.fixture(scope="module")
def swept(tones, data_dir, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("sweeps") / "swept"
    main(arguments(tones, workdir, data_dir, *GRID))
    return workdir


def test_leaves_rows_a_csv_and_heat_maps(swept):
    results = json.loads((swept / "results.json").read_text())
    points = {
        (r["method"], r["strength"], r["learning_rate"], r["weight_decay"]) for r in results["rows"]
    }
    of_dann = {("dann", strength, rate, 0.01) for strength in (0.0, 1.0) for rate in (1e-3, 1e30)}
    assert points == of_dann | {
        ("source_only", None, rate, 0.01) for rate in (1e-3, 1e30)
    }  # without a target, without a strength
    members = read(swept / "sweep.csv")
    assert len(members) == 2 * 6
    for row in results["rows"]:
        mine = [
            m
            for m in members
            if (m["method"], m["strength"] or None)
            == (row["method"], None if row["strength"] is None else str(row["strength"]))
            and float(m["learning_rate"]) == row["learning_rate"]
        ]
        assert [m["diverged"] != "" for m in mine] == [row["learning_rate"] == 1e30] * 2
        if row["analysis"]:
            assert "needs target labels" in row["analysis"]["label"]
            assert [float(m["uar (analysis only)"]) for m in mine] == pytest.approx(
                row["analysis"]["uar"]["values"]
            )
            assert [float(m["mcc"]) for m in mine] == pytest.approx(
                row["criteria"]["mcc"]["values"]
            )
    assert {"sweep-dann-conv1d.png", "sweep-source_only-conv1d.png"} <= {
        p.name for p in (swept / "figures").glob("*.png")
    }


def test_a_diverging_member_is_reported_and_takes_no_other_with_it(swept):
    results = json.loads((swept / "results.json").read_text())
    for row in results["rows"]:
        if row["learning_rate"] == 1e30:
            assert set(row["diverged"]) == {"0", "1"} and all(
                "step" in where for where in row["diverged"].values()
            )
            assert row["criteria"] == {} and row["analysis"] is None
        else:
            assert row["diverged"] == {} and len(row["analysis"]["uar"]["values"]) == 2
    assert (
        "seed 1 at strength 1, learning rate 1e+30, weight decay 0.01 diverged at step"
        in (swept / "log.txt").read_text()
    )
    assert all(choice["learning_rate"] in (1e-3, None) for choice in results["choices"])
    oracle = next(
        c for c in results["choices"] if (c["method"], c["criterion"]) == ("dann", "oracle")
    )
    assert not oracle["achievable"] and oracle["analysis"]["loss_to_oracle"] == 0
    assert all(c["analysis"]["loss_to_oracle"] >= 0 for c in results["choices"])


def test_one_point_is_the_plain_training_bit_for_bit(swept, tones, data_dir, tmp_path):
    """Also a point among others that diverge; and the chosen point's config trains to the same."""
    main(arguments(tones, tmp_path / "alone", data_dir, "--config.baseline=false", command="train"))
    alone = json.loads((tmp_path / "alone" / "results.json").read_text())
    expected = {r["selection"]: r["uar"]["values"] for r in alone["rows"]}["last"]
    main(arguments(tones, tmp_path / "one", data_dir, "--config.baseline=false"))
    for workdir in (tmp_path / "one", swept):
        rows = json.loads((workdir / "results.json").read_text())["rows"]
        row = next(
            r
            for r in rows
            if (r["method"], r["strength"], r["learning_rate"]) == ("dann", 1.0, 1e-3)
        )
        assert row["analysis"]["uar"]["values"] == expected
        of_criteria = {c["criterion"]: c for c in alone["selection"]}
        assert set(of_criteria) == set(row["criteria"])
    config = load_config(str(tmp_path / "one" / "best-dann-conv1d.json"))
    assert config == load_config(str(tmp_path / "alone" / "config.json"))


def test_resume_after_kill_equals_the_uninterrupted_sweep(swept, tones, data_dir, tmp_path, capsys):
    workdir = tmp_path / "killed"
    given = arguments(tones, workdir, data_dir, *GRID)
    process = subprocess.Popen(
        [sys.executable, "run.py", *given],
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
    with pytest.raises(SystemExit):
        main(given)
    assert "continue it by --resume" in capsys.readouterr().err
    main([*given, "--resume"])
    assert (workdir / "sweep.csv").read_text() == (swept / "sweep.csv").read_text()
    one, other = (json.loads((w / "results.json").read_text()) for w in (workdir, swept))
    assert one["rows"] == other["rows"] and one["choices"] == other["choices"]


@pytest.mark.parametrize("change", ["poisoned", "absent"])
def test_target_labels_change_nothing_but_the_analysis(
    swept, tones, data_dir, tmp_path, change, capsys
):
    turn = dict(zip(EMOTIONS, (*EMOTIONS[1:], EMOTIONS[0]), strict=True))
    target = relabelled(tones[1], f"sweep-{change}.csv", turn.get if change == "poisoned" else None)
    main(arguments((tones[0], target), tmp_path / "run", data_dir, *GRID, "--config.methods=dann"))
    criteria = ("seed", "diverged", *CRITERIA)
    one, other = ([[row[c] for c in criteria] for row in read(w / "sweep.csv") if row["method"] == "dann"]
                  for w in (tmp_path / "run", swept))  # fmt: skip
    assert one == other
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    if change == "absent":
        assert not results["scored"] and all(
            row["analysis"] is None for row in (*results["rows"], *results["choices"])
        )
        assert "UAR" not in capsys.readouterr().out
    chosen = {c["criterion"]: c["strength"] for c in json.loads((swept / "results.json").read_text())["choices"]
              if c["method"] == "dann"}  # fmt: skip
    assert all(
        chosen[c["criterion"]] == c["strength"] for c in results["choices"] if c["achievable"]
    )


def test_a_sweep_is_not_taken_for_a_run(swept, data_dir, capsys):
    for command in ("report", "evaluate"):
        with pytest.raises(SystemExit) as stopped:
            main([command, str(swept), "--data-dir", str(data_dir)])
        assert stopped.value.code == 2
        assert "was left by jdann sweep" in capsys.readouterr().err


def test_all_members_of_a_method_diverged(tones, data_dir, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments(tones, tmp_path / "run", data_dir, "--learning-rates", "1e30"))
    assert stopped.value.code == 1
    assert "are not finite at step" in capsys.readouterr().err.splitlines()[-1]


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
    with pytest.raises(SystemExit) as stopped:
        main(arguments(tones, tmp_path / "run", data_dir, *more))
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_the_work_directory_of_a_training_is_left_alone(tones, data_dir, tmp_path, capsys):
    shutil.copytree(ROOT / "configs", tmp_path / "run" / "checkpoints" / "0-conv1d-dann-all")
    with pytest.raises(SystemExit):
        main(arguments(tones, tmp_path / "run", data_dir, "--resume"))
    assert "a --workdir of its own" in capsys.readouterr().err


def test_the_grid_is_the_product_or_the_config_itself():
    config = load_config("base", [("sweep.strength", "0,1"), ("sweep.weight_decay", "0.1,0.2,0.3")])
    points = grid(config, make_method("dann"))
    assert len(set(points)) == 6 and {p.learning_rate for p in points} == {
        config.optimiser.learning_rate
    }
    assert {p.strength for p in grid(config, make_method("source_only"))} == {None}
    (only,) = grid(load_config("base"), make_method("dann"))
    assert only == Point(
        config.strength.maximum, config.optimiser.learning_rate, config.optimiser.weight_decay
    )


N, SEEDS = 40, (3, 4)


def toy_sweep(accuracy, criterion_values, diverged=()):
    """A sweep of made-up logits: of each point and seed a part `accuracy` of the target is right, and mcc is as given."""
    random = np.random.default_rng(0)
    emotion = random.permutation(np.resize(np.arange(5), N))
    points = tuple(Point(float(i), 1e-3, 0.0) for i in range(len(accuracy)))
    logits = np.zeros((1, len(points) * len(SEEDS), N, 5), np.float32)
    for m in range(logits.shape[1]):
        right = random.random(N) < np.ravel(accuracy)[m]
        logits[0, m, np.arange(N), np.where(right, emotion, (emotion + 1) % 5)] = 1
    criteria = {name: np.full((1, logits.shape[1]), np.nan, np.float32) for name in CRITERIA}
    criteria["mcc"] = np.ravel(criterion_values)[None].astype(np.float32)
    where = tuple("step 7" if m in diverged else None for m in range(logits.shape[1]))
    rows = np.arange(N)
    job = Job(0, "conv1d", "dann", (Split("all", rows, rows, rows, rows),))
    outcome = Outcome(
        job,
        logits,
        np.ones(N, bool),
        (1,),
        ((rows, criteria),),
        (),
        where,
        (logits[0, 0],) * 2,
        (rows, rows),
    )
    corpus = type("Corpus", (), {"name": "a"})()
    domain = Domain(corpus, None, emotion, (None,) * N, (), None, ())  # pyright: ignore
    direction = Direction(domain, domain, None, None, (None, None), 1, 1)  # pyright: ignore
    return summarise(outcome, points, SEEDS, direction, load_config("base")), direction, emotion


def test_choices_agree_with_scikit_learn_and_lower_is_better_for_mcc():
    accuracy = np.array([[0.9, 0.8], [0.6, 0.5], [0.2, 0.1]])
    swept, direction, emotion = toy_sweep(accuracy, [[0.1, 0.2], [0.3, 0.3], [0.0, 0.1]])
    predicted = swept.outcome.logits[0].argmax(-1)
    expected = [recall_score(emotion, p, average="macro") for p in predicted]
    np.testing.assert_allclose(swept.uar.ravel(), expected, rtol=1e-12)
    assert choose(swept, "mcc") == 2 and choose(swept, "bnm") is None
    of = {row["criterion"]: row for row in choices(swept, direction)}
    assert set(of) == {"mcc", "oracle", "by lot"}
    assert of["oracle"]["strength"] == 0.0 and of["mcc"]["strength"] == 2.0
    means = swept.uar.mean(1)
    assert of["mcc"]["analysis"]["loss_to_oracle"] == pytest.approx(means[0] - means[2])
    assert of["by lot"]["analysis"]["uar"]["mean"] == pytest.approx(means.mean())


def test_a_point_with_a_diverged_seed_is_not_chosen():
    swept, direction, _ = toy_sweep(
        np.full((3, 2), 0.5), [[0.1, 0.2], [0.3, 0.3], [0.0, 0.1]], diverged=(5,)
    )
    assert choose(swept, "mcc") == 0
    rows = result_rows(swept, direction)
    assert rows[2]["diverged"] == {"4": "step 7"} and len(rows[2]["analysis"]["uar"]["values"]) == 1
    of = {row["criterion"]: row for row in choices(swept, direction)}
    assert of["oracle"]["strength"] != 2.0


def test_heat_map_and_table_show_every_point():
    swept, direction, _ = toy_sweep(
        np.full((3, 2), 0.5), [[0.1, 0.2], [0.3, 0.3], [np.nan, np.nan]], diverged=(4, 5)
    )
    rows, chosen = result_rows(swept, direction), choices(swept, direction)
    figure = sweep.heat_map(rows, chosen, "mcc", "title")
    texts = [t.get_text() for axes in figure.axes for t in axes.texts]
    assert (
        sum("diverged" in t for t in texts) == 2 and sum("±" in t for t in texts) == 4
    )  # two panels of three points
    results = {"title": "a -> a", "config": {"sweep": {"criterion": "mcc"}}, "rows": rows, "choices": chosen, "failed": ["lost"],
               "scored": True}  # fmt: skip
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(sweep.render(results))
    text = console.export_text()
    assert (
        "seed 3: step 7, seed 4: step 7" in text
        and "oracle (not achievable)" in text
        and "lost" in text
    )
