"""How often a 95 % interval of UAR contains the true value, by simulation.

    python benchmarks/interval_coverage.py
    python benchmarks/interval_coverage.py --tiny    # few simulations; meaningless

Speakers are drawn from a population in which some are easier to recognise than others. The log-odds
that a clip is recognised have two random parts: one is the same for all clips of a speaker, and one
for all clips of a speaker and emotion. The true UAR is that of the whole population. For each
simulated test set, several kinds of intervals are computed, among them that of
`jdann.evaluation.intervals`. A good interval contains the truth in 95 % of the simulations and is
not wider than necessary.
"""

import argparse
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from command_line import make_parser
from machine import cpus, python_and_packages
from markdown_table import header, row
from scipy import special, stats

from jdann.evaluation import intervals

CLASSES = 5
RESAMPLES = 500
SPREAD_OF_CLASSES = 0.8  # of the log-odds of the emotions, from the mean to the extremes
QUANTILES = (0.025, 0.975)


class Scenario(NamedTuple):
    """One population of speakers, and how a test set is taken from it."""

    speakers: int
    clips: int  # per speaker and emotion; if `spread` is "drawn", in all
    uar: float  # the mean recall, approximately
    effect: float  # standard deviation of the log-odds between speakers
    spread: str = "each"  # or "uneven": many from some speakers, with gaps; or "drawn": by chance


class Test(NamedTuple):
    """A simulated test set, and the recall of two methods that share the speakers' effects."""

    clips: np.ndarray  # [speakers, classes] int
    correct: np.ndarray  # [2, speakers, classes] int, of two methods


SCENARIOS = (
    *(
        Scenario(speakers, clips, uar, effect)
        for speakers, clips in ((4, 50), (10, 10), (24, 10))
        for uar in (0.5, 0.85)
        for effect in (0.0, 0.5, 1.0)
    ),
    Scenario(4, 2, 0.6, 0.5),
    Scenario(4, 1, 0.85, 0.5),
    Scenario(10, 1, 0.85, 0.5),
    Scenario(4, 30, 0.6, 0.5, "drawn"),
    Scenario(10, 30, 0.6, 0.5, "drawn"),
    Scenario(10, 50, 0.85, 0.5, "drawn"),
    Scenario(10, 10, 0.6, 0.5, "uneven"),
    Scenario(24, 10, 0.6, 0.5, "uneven"),
)


def log_odds(uar: float, classes: int = CLASSES) -> np.ndarray:
    """[classes], around the log-odds of a mean recall."""
    return special.logit(uar) + np.linspace(-1, 1, classes) * SPREAD_OF_CLASSES


def true_uar(scenario: Scenario, uar: float) -> float:
    """The UAR of the whole population, by Gauss-Hermite quadrature."""
    points, weights = np.polynomial.hermite_e.hermegauss(60)
    recall = special.expit(log_odds(uar)[:, None] + scenario.effect * points)  # [classes, points]
    return float((recall @ weights / weights.sum()).mean())


def simulate(scenario: Scenario, uar: tuple[float, float], random: np.random.Generator) -> Test:
    """Draws speakers, their clips, and the clips that each of two methods recognises."""
    shape = (scenario.speakers, CLASSES)
    clips = np.full(shape, scenario.clips)
    if scenario.spread == "drawn":
        cells = np.full(clips.size, 1 / clips.size)
        clips = random.multinomial(scenario.clips, cells).reshape(shape)
    if scenario.spread == "uneven":
        # The first speaker has about eight times the clips of the last; a quarter is missing.
        size = scenario.clips * np.geomspace(8, 1, scenario.speakers) / 3
        clips = random.poisson(size[:, None], shape) * (random.random(shape) > 0.25)
        clips[0] = np.maximum(clips[0], 1)  # no emotion is missing altogether
    part = scenario.effect * np.sqrt(0.5)
    common = part * random.normal(size=(scenario.speakers, 1))
    specific = part * random.normal(size=(2, *shape))
    levels = np.stack([log_odds(level) for level in uar])[:, None]  # [2, 1, classes]
    return Test(clips, random.binomial(clips, special.expit(levels + common + specific)))


def mean_recall(correct: np.ndarray, clips: np.ndarray) -> np.ndarray:
    """UAR [...] of counts [..., classes]; emotions without clips are left out."""
    present = clips > 0
    recall = np.divide(correct, clips, out=np.zeros(np.shape(correct)), where=present)
    return recall.sum(-1) / np.maximum(present.sum(-1), 1)


def resample_speakers(test: Test, random: np.random.Generator) -> np.ndarray:
    """UAR [RESAMPLES] of the first method with speakers drawn anew."""
    count = len(test.clips)
    times = random.multinomial(count, np.full(count, 1 / count), RESAMPLES)
    return mean_recall(times @ test.correct[0], times @ test.clips)


def resample_both(test: Test, random: np.random.Generator) -> np.ndarray:
    """UAR [RESAMPLES] with speakers drawn anew, and then the clips of each drawn speaker."""
    count = len(test.clips)
    times = random.multinomial(count, np.full(count, 1 / count), RESAMPLES)
    clips = times[:, :, None] * test.clips  # [resamples, speakers, classes]
    recall = test.correct[0] / np.maximum(test.clips, 1)
    return mean_recall(random.binomial(clips, recall).sum(1), clips.sum(1))


def resample_clips(test: Test, random: np.random.Generator) -> np.ndarray:
    """UAR [RESAMPLES] with clips drawn anew, regardless of their speakers."""
    clips, correct = test.clips.sum(0), test.correct[0].sum(0)
    total = clips.sum()
    cells = np.concatenate([correct, clips - correct]) / total
    drawn = random.multinomial(total, cells, RESAMPLES)  # [resamples, 2 classes]
    return mean_recall(drawn[:, :CLASSES], drawn[:, :CLASSES] + drawn[:, CLASSES:])


def percentiles(
    resample: Callable[[Test, np.random.Generator], np.ndarray],
) -> Callable[[Test, np.random.Generator], tuple[float, float]]:
    """Makes a function that computes the percentile interval for a way to resample."""

    def find(test: Test, random: np.random.Generator) -> tuple[float, float]:
        low, high = np.quantile(resample(test, random), QUANTILES)
        return low, high

    return find


def stretched_percentiles(test: Test, random: np.random.Generator) -> tuple[float, float]:
    """Percentiles of resampled speakers; their distances from the UAR are stretched as for t."""
    low, high = percentiles(resample_speakers)(test, random)
    count = len(test.clips)
    stretch = stats.t.ppf(QUANTILES[1], count - 1) / stats.norm.ppf(QUANTILES[1])
    stretch *= np.sqrt(count / (count - 1))
    uar = mean_recall(test.correct[0].sum(0), test.clips.sum(0))
    return uar - stretch * (uar - low), uar + stretch * (high - uar)


def bias_corrected(test: Test, random: np.random.Generator) -> tuple[float, float]:
    """The BCa interval of resampled speakers (Efron 1987)."""
    samples = resample_speakers(test, random)
    uar = mean_recall(test.correct[0].sum(0), test.clips.sum(0))
    below = ((samples < uar).mean() + (samples <= uar).mean()) / 2
    bias = stats.norm.ppf(np.clip(below, 1 / RESAMPLES, 1 - 1 / RESAMPLES))
    without = np.array(
        [
            mean_recall(
                np.delete(test.correct[0], speaker, 0).sum(0),
                np.delete(test.clips, speaker, 0).sum(0),
            )
            for speaker in range(len(test.clips))
        ]
    )
    difference = without.mean() - without
    scale = 6 * (difference**2).sum() ** 1.5
    acceleration = (difference**3).sum() / scale if scale else 0.0
    shifted = bias + stats.norm.ppf(QUANTILES)
    levels = stats.norm.cdf(bias + shifted / (1 - acceleration * shifted))
    low, high = np.quantile(samples, levels)
    return low, high


def list_clips(test: Test) -> tuple[np.ndarray, list[str], list[np.ndarray]]:
    """The emotion and speaker of each clip, and the predictions of both methods."""
    speaker, emotion = np.indices(test.clips.shape)
    emotions = np.repeat(emotion.ravel(), test.clips.ravel())
    speakers = np.repeat(speaker.ravel(), test.clips.ravel())
    predicted = []
    for correct in test.correct:
        right = np.concatenate(
            [
                np.arange(total) < hits
                for total, hits in zip(test.clips.ravel(), correct.ravel(), strict=True)
            ]
        )
        predicted.append(np.where(right, emotions, (emotions + 1) % CLASSES))
    return emotions, [str(name) for name in speakers], predicted


def our_intervals(test: Test) -> tuple[list[float], list[float]]:
    """The intervals of jdann: of the first method's UAR, and of its gain over the second method."""
    emotion, speaker, predicted = list_clips(test)
    resamples = intervals.draw_resamples(emotion, speaker, CLASSES)
    assert resamples is not None
    samples = [
        intervals.resample_scores(resamples, emotion, [labels], CLASSES).uar for labels in predicted
    ]
    clips, correct = test.clips.sum(0), test.correct.sum(1)
    uar = mean_recall(correct, clips)
    least = intervals.least_half_width(correct[0] / np.maximum(clips, 1), clips)
    half = max(least, intervals.half_width(samples[0], resamples))
    gain = intervals.half_width(samples[0] - samples[1], resamples)
    return (
        intervals.interval(float(uar[0]), half),
        intervals.interval(float(uar[0] - uar[1]), gain, lowest=-1.0),
    )


OTHERS = {
    "clips, percentiles": percentiles(resample_clips),
    "speakers, percentiles": percentiles(resample_speakers),
    "speakers then clips, percentiles": percentiles(resample_both),
    "speakers, BCa": bias_corrected,
    "speakers, stretched percentiles": stretched_percentiles,
}
OURS = ("speakers, t (ours)", "difference, t (ours)")


def coverage(scenario: Scenario, simulations: int) -> Iterator[tuple[str, float, float]]:
    """The name, the coverage and the mean width of each interval."""
    random = np.random.default_rng(0)
    levels = scenario.uar, scenario.uar - 0.08
    truth = true_uar(scenario, levels[0])
    gain = truth - true_uar(scenario, levels[1])
    hits: dict[str, list[bool]] = {}
    widths: dict[str, list[float]] = {}

    def note(name: str, ends: tuple[float, float] | list[float], value: float) -> None:
        hits.setdefault(name, []).append(bool(ends[0] <= value <= ends[1]))
        widths.setdefault(name, []).append(float(ends[1] - ends[0]))

    for _ in range(simulations):
        test = simulate(scenario, levels, random)
        for name, find in OTHERS.items():
            note(name, find(test, random), truth)
        uar_ends, gain_ends = our_intervals(test)
        note(OURS[0], uar_ends, truth)
        note(OURS[1], gain_ends, gain)
    for name in hits:
        yield name, float(np.mean(hits[name])), float(np.mean(widths[name]))


def parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--simulations", type=int, default=1000, help="of each scenario")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    print(f"{cpus()}; {python_and_packages(('numpy', 'scipy'))}\n")
    scenarios = SCENARIOS[:2] if arguments.tiny else SCENARIOS
    simulations = 5 if arguments.tiny else arguments.simulations
    names = (*OTHERS, *OURS)
    about = ("speakers", "clips per speaker and emotion", "UAR", "speaker effect")
    print(header((*about, *names), ["---:"] * (len(about) + len(names))), flush=True)
    for scenario in scenarios:
        clips = {
            "each": f"{scenario.clips} of each",
            "uneven": f"about {scenario.clips} of each, uneven",
            "drawn": f"{scenario.clips} in all, by chance",
        }[scenario.spread]
        cells = [str(scenario.speakers), clips, f"{scenario.uar:.2f}", f"{scenario.effect:.1f}"]
        cells += [
            f"{share:.3f} ({width:.2f})" for _, share, width in coverage(scenario, simulations)
        ]
        print(row(*cells), flush=True)


if __name__ == "__main__":
    main()
