"""How good an unlabelled target's answers are: the estimate without labels, and the truth.

    python benchmarks/trust.py ravdess.csv casia.csv savee.csv emodb.csv
    python benchmarks/trust.py ravdess.csv casia.csv --tiny    # one pair; meaningless

Each ordered pair of corpora gives tasks with these targets: the whole target, 150 of its
utterances, half of its speakers, uneven emotions (shares from a Dirichlet distribution), and the
whole target through bad channels. The target has speaker ids, or groups of voices (these need a
speaker encoder), or neither. Labels are made in closed form, and no network is trained: by a
discriminant of the source alone, by the first view of co-training, by co-training without caution,
and by co-training, which is what `configs/best.py` chooses.

The first table has the unweighted average recall of these labels, how far co-training is below the
best of the four in each task, and how far below the source alone. The second one has the errors of
the estimated accuracy, and of the published estimates in `trust_peers.py`: as they are where they
are accuracies, and fitted. All coefficients are fitted to the tasks of the other target corpora.
The third table has the calibration of the labels, with a temperature at which their mean confidence
is this estimate. Then come prediction sets, and how many of the most confident answers are right.
The coefficients of all tasks are for `jdann/selection/accuracy.py`: the last line has those of
co-training, and below the second table are those that were fitted to the source alone, for other
methods. Target labels are used for scoring, for the level of the sets where the table says so, and
for these coefficients only.
"""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from channel_degradations import DEGRADATIONS
from command_line import make_parser
from labelling import make_label_function, name_manifests
from markdown_table import header, row
from scipy.stats import spearmanr
from trust_peers import ESTIMATES, PEERS, Labelled, measure
from trust_tasks import CHANNELS, TrustTask, load_channels, make_tasks

from jdann.configuration import load_config
from jdann.evaluation.metrics import mean_probabilities
from jdann.files import default_data_dir, write_csv
from jdann.methods import discriminant
from jdann.methods.co_training import LEAST_SHARE_UNKNOWN
from jdann.selection import accuracy, calibration
from jdann.selection.prediction_sets import conformal_level, make_sets

SOURCE, BOLD, CHOSEN = "source alone", "co-training without caution", "co-training"
CHANGES: dict[str, dict[str, object]] = {  # of config.co_training
    "prosody, adapted": {"rounds": 0, "least_share": 0.0, "rounds_per_speaker": 0},
    BOLD: {"least_share": 0.0},
}
EVIDENCE = ("rarest_share", "chance", "log_clips_per_speaker")
METHODS = (SOURCE, *CHANGES, CHOSEN)
SET_LEVELS, LABELLED, SET_DRAWS = (0.8, 0.9), 40, 5  # of prediction sets


class Answer(NamedTuple):
    """What was measured of one task."""

    task: TrustTask
    uar: dict[str, float]  # by method
    truth: float  # the accuracy of the chosen labels
    evidence: np.ndarray  # [features] of the chosen labels, from `accuracy.evidence`
    truth_alone: float  # the accuracy of the labels of the source alone
    evidence_alone: np.ndarray  # [features] of these
    peers: dict[str, float]  # by name, from `trust_peers.measure`
    labels: np.ndarray  # the chosen ones, [utterances, classes]
    emotion: np.ndarray  # [utterances]


@cache
def label_function(emotions: tuple[str, ...], settings: tuple) -> Callable[..., jax.Array]:
    """Co-training's labels, compiled once for each size of the domains."""
    return make_label_function(emotions, dict(settings))


def answer(task: TrustTask) -> Answer:
    """Labels a task in each way, and scores the labels."""
    config: Any = load_config("best")
    relevance = config.features.relevance
    emotions, source, target = task.task.emotions, task.task.source, task.task.target
    emotion, target_emotion = (
        np.array([emotions.index(u.emotion or "") for u in part.utterances], np.int32)
        for part in (source, target)
    )
    by = task.by
    domains = (
        source.z_scores(by, relevance),
        jax.nn.one_hot(emotion, len(emotions)),
        target.z_scores(by, relevance),
        None,
        target.rows_of_speakers(by),
    )
    model = discriminant.fit(domains[0], domains[1], config.co_training.shrinkage)
    labels = {SOURCE: np.asarray(jax.nn.softmax(discriminant.logits(model, domains[2])))}
    least_share = config.co_training.least_share if task.by_speaker else LEAST_SHARE_UNKNOWN
    changes = CHANGES | {CHOSEN: {"least_share": least_share}}
    draws: dict[str, np.ndarray] = {}
    for name, settings in changes.items():
        label = label_function(emotions, tuple(settings.items()))
        keys = jax.random.key(0)[None]
        if name == CHOSEN:
            keys = jnp.concatenate([keys, jax.random.key(1)[None]])
        draws[name] = np.asarray(label(keys, *domains))
        labels[name] = draws[name][0]
    chosen = labels[CHOSEN]
    labelled = Labelled(
        source=domains[0],
        source_labels=emotion,
        source_speakers=[u.speaker for u in source.utterances],
        target=domains[2],
        ways=labels,
        again=draws[CHOSEN][1],
        source_alone=SOURCE,
        chosen=CHOSEN,
    )
    predicted = chosen.argmax(1)
    return Answer(
        task,
        uar={name: mean_recall(values, target_emotion) for name, values in labels.items()},
        truth=float((predicted == target_emotion).mean()),
        evidence=accuracy.evidence(chosen, task.clips_per_speaker),
        truth_alone=float((labels[SOURCE].argmax(1) == target_emotion).mean()),
        evidence_alone=accuracy.evidence(labels[SOURCE], task.clips_per_speaker),
        peers=measure(labelled, config.co_training.shrinkage),
        labels=chosen,
        emotion=target_emotion,
    )


def mean_recall(labels: np.ndarray, emotion: np.ndarray) -> float:
    """Unweighted average recall of labels [n, classes]."""
    predicted = labels.argmax(1)
    return float(np.mean([(predicted[emotion == k] == k).mean() for k in np.unique(emotion)]))


def held_out_estimates(
    features: np.ndarray, answers: Sequence[Answer], truth: np.ndarray
) -> np.ndarray:
    """Estimates [tasks], each fitted to the truth of the tasks of the other target corpora."""
    target = np.array([a.task.task.target.corpus for a in answers])
    estimates = np.empty(len(answers))
    for name in np.unique(target):
        rest = target != name
        coefficients = accuracy.fit(features[rest], truth[rest])
        estimates[~rest] = accuracy.apply(coefficients, features[~rest])
    return estimates


def print_scores(answers: Sequence[Answer]) -> None:
    """UAR of each way to label, by kind of task, and how often it is below the source alone."""
    ends = ("below the best of the four", "worst against the source alone")
    columns = ("target", "speaker ids", "tasks", *METHODS, *ends)
    print(header(columns, ["---"] * 2 + ["---:"] * (len(columns) - 2)))
    for kind, ids in dict.fromkeys((a.task.kind, a.task.ids) for a in answers):
        same = [a for a in answers if (a.task.kind, a.task.ids) == (kind, ids)]
        means = [np.mean([a.uar[name] for a in same]) for name in METHODS]
        worst = [min(a.uar[name] - a.uar[SOURCE] for a in same) for name in (BOLD, CHOSEN)]
        below = np.mean([max(a.uar.values()) - a.uar[CHOSEN] for a in same])
        cells = [f"{value:.3f}" for value in (*means, below)]
        print(row(kind, ids, str(len(same)), *cells, f"{worst[0]:+.3f}, {worst[1]:+.3f}"))


def print_estimates(answers: Sequence[Answer]) -> None:
    """Errors of the estimate and of its peers, over all tasks and over whole targets."""
    truth = np.array([a.truth for a in answers])
    evidence = np.stack([a.evidence for a in answers])
    peers = {name: np.array([a.peers[name] for a in answers]) for name in PEERS}
    estimates = {
        "always the mean of the other tasks": held_out_estimates(evidence[:, :0], answers, truth),
        **{name: np.clip(peers[name], 0, 1) for name in ESTIMATES},
        **{
            f"{name}, fitted": held_out_estimates(values[:, None], answers, truth)
            for name, values in peers.items()
        },
        "ours": held_out_estimates(evidence, answers, truth),
    }
    columns = ("estimate", "tasks", "mean absolute error", "rank correlation", "90 % of errors")
    print(header(columns, ["---"] + ["---:"] * 4))
    whole = np.array([a.task.kind == "all" for a in answers])
    for name, estimate in estimates.items():
        for label, rows in (("all", np.full(len(answers), True)), ("whole targets", whole)):
            error = np.abs(estimate - truth)[rows]
            rank = spearmanr(estimate[rows], truth[rows])[0] if np.ptp(estimate[rows]) else np.nan
            ends = f"{np.quantile(error, 0.9):.3f}"
            print(row(name, f"{rows.sum()}, {label}", f"{error.mean():.3f}", f"{rank:.2f}", ends))
    print_estimates_alone(answers)
    print_calibration(answers, estimates["ours"])
    print_sets(answers, estimates["ours"])
    print_risk(answers)
    covered = np.abs(estimates["ours"] - truth) <= accuracy.HALF_WIDTH
    print(f"\nThe 90 % interval contains the truth in {covered.mean():.0%} of the tasks.")
    print("Coefficients of co-training:", np.round(accuracy.fit(evidence, truth), 4).tolist())


def print_estimates_alone(answers: Sequence[Answer]) -> None:
    """Errors of the estimate for the labels of the source alone, and its coefficients."""
    truth = np.array([a.truth_alone for a in answers])
    evidence = np.stack([a.evidence_alone for a in answers])
    columns = ("source alone", "mean absolute error", "90 % of errors")
    print("\n" + header(columns, ["---"] + ["---:"] * 2))
    for name, features in (("always the mean", evidence[:, :0]), ("ours", evidence)):
        error = np.abs(held_out_estimates(features, answers, truth) - truth)
        print(row(name, f"{error.mean():.3f}", f"{np.quantile(error, 0.9):.3f}"))
    print("Coefficients of others:", np.round(accuracy.fit(evidence, truth), 4).tolist())


def print_calibration(answers: Sequence[Answer], estimate: np.ndarray) -> None:
    """Calibration errors and what abstaining leaves, before and after the temperature."""
    logits = [np.log(np.maximum(a.labels, 1e-12))[None] for a in answers]
    columns = ("temperature", "calibration error", "worst", "right where at least .7", "answered")
    print("\n" + header(columns, ["---"] + ["---:"] * 4))
    temperatures = {
        "1": [1.0] * len(answers),
        "by the estimate": [
            max(1.0, calibration.match_confidence([pair[0]], pair[1]))
            for pair in zip(logits, estimate, strict=True)
        ],
    }
    for name, values in temperatures.items():
        errors, right, confident = [], [], []
        for a, logit, temperature in zip(answers, logits, values, strict=True):
            probabilities = mean_probabilities(logit, temperature)
            errors.append(calibration.expected_calibration_error(probabilities, a.emotion))
            confident.append(probabilities.max(1) >= 0.7)
            right.append(probabilities.argmax(1) == a.emotion)
        answered, correct = np.concatenate(confident), np.concatenate(right)
        cells = (np.mean(errors), np.max(errors), correct[answered].mean(), answered.mean())
        print(row(name, *(f"{value:.3f}" for value in cells)))


def print_sets(answers: Sequence[Answer], estimate: np.ndarray) -> None:
    """How often prediction sets hold the right emotion, without labels and with LABELLED of them.

    The probabilities have the temperature of the estimate. Labels are drawn at random; the other
    utterances of the task are scored.
    """
    columns = ("level", "labels", "coverage, mean", "a tenth of the tasks is below", "mean size")
    print("\n" + header(columns, ["---:"] * 5))
    for level in SET_LEVELS:
        scores = {0: [], LABELLED: []}
        for a, accuracy_estimate in zip(answers, estimate, strict=True):
            logits = np.log(np.maximum(a.labels, 1e-12))[None]
            temperature = max(1.0, calibration.match_confidence([logits], accuracy_estimate))
            probabilities = mean_probabilities(logits, temperature)
            scores[0].append(set_scores(probabilities, a.emotion, level))
            for draw in range(SET_DRAWS):
                order = np.random.default_rng(draw).permutation(len(a.emotion))
                labelled, rest = order[:LABELLED], order[LABELLED:]
                own_level = conformal_level(probabilities[labelled], a.emotion[labelled], level)
                scores[LABELLED].append(set_scores(probabilities[rest], a.emotion[rest], own_level))
        for labels, pairs in scores.items():
            coverage, size = np.array(pairs).T
            cells = (coverage.mean(), np.quantile(coverage, 0.1), size.mean())
            print(row(f"{level:g}", str(labels), *(f"{value:.3f}" for value in cells)))


def set_scores(probabilities: np.ndarray, emotion: np.ndarray, level: float) -> tuple[float, float]:
    """The share of sets that hold the emotion, and their mean size."""
    sets = make_sets(probabilities, level)
    return float(sets[np.arange(len(emotion)), emotion].mean()), float(sets.sum(1).mean())


def print_risk(answers: Sequence[Answer]) -> None:
    """How many of the most confident answers of a task are right: the risk-coverage curve."""
    print("\n" + header(("answered", "right, mean over tasks"), ["---:"] * 2))
    for part in (0.1, 0.25, 0.5, 0.75, 1.0):
        right = []
        for a in answers:
            order = np.argsort(-a.labels.max(1), kind="stable")
            kept = order[: max(1, round(part * len(order)))]
            right.append((a.labels[kept].argmax(1) == a.emotion[kept]).mean())
        print(row(f"{part:.0%}", f"{np.mean(right):.3f}"))


def save(answers: Sequence[Answer], path: Path) -> None:
    """Writes what the estimates were fitted to, one row per task."""
    rows = []
    for a in answers:
        values = (a.truth, *a.evidence, *a.peers.values(), *a.uar.values())
        numbers = [f"{value:.4f}" for value in values]
        rows.append((a.task.name, a.task.task.target.corpus, *numbers))
    columns = ("accuracy", *EVIDENCE, *PEERS, *METHODS)
    write_csv(path, ("task", "target", *columns), rows)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("manifests", type=Path, nargs="+")
    parser.add_argument("--data-dir", type=Path, default=None, help="where features are cached")
    parser.add_argument("--channels", nargs="*", default=list(CHANNELS), choices=list(DEGRADATIONS))
    parser.add_argument("--save", type=Path, help="a csv for the evidence of each task")
    arguments = parser.parse_args()
    data_dir = arguments.data_dir or default_data_dir()
    manifests = name_manifests(arguments.manifests)
    channels = () if arguments.tiny else arguments.channels
    tasks = make_tasks(*load_channels(manifests, data_dir, channels))
    answers: list[Answer] = []
    for task in islice(tasks, 7) if arguments.tiny else tasks:
        if answers and task.task.target.corpus != answers[-1].task.task.target.corpus:
            # Every size of a target is a program of its own, and memory maps are limited.
            label_function.cache_clear()
            jax.clear_caches()
        answers.append(answer(task))
        scores = ", ".join(f"{name} {value:.3f}" for name, value in answers[-1].uar.items())
        print(f"{task.name}: {scores}", flush=True)
    if arguments.save:
        save(answers, arguments.save)
    print_scores(answers)
    print_estimates(answers)


if __name__ == "__main__":
    main()
