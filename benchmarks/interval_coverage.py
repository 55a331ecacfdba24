"""How often a 95 % interval of UAR contains the true value, by simulation.

    python benchmarks/interval_coverage.py
    python benchmarks/interval_coverage.py --tiny    # few simulations; meaningless

Speakers are drawn from a population in which some are easier to recognise than others: the
log-odds that a clip is recognised have a part common to the speaker and a part of the speaker and
the emotion. The true UAR is that of the whole population. Each simulated test set is given to
several intervals, of which `jdann.evaluation.intervals` is one. A good interval contains the truth
in 95 % of the simulations and is not wider than it has to be.
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
    clips: int  # of each speaker and emotion; if they are drawn, of all together
    uar: float  # about the mean recall
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
    """Draws speakers, their clips, and which of these two methods recognise."""
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


def uar_of(correct: np.ndarray, clips: np.ndarray) -> np.ndarray:
    """UAR [...] of counts [..., classes]; emotions without clips are left out."""
    present = clips > 0
    recall = np.divide(correct, clips, out=np.zeros(np.shape(correct)), where=present)
    return recall.sum(-1) / np.maximum(present.sum(-1), 1)


def resample_speakers(test: Test, random: np.random.Generator) -> np.ndarray:
    """UAR [RESAMPLES] of the first method with speakers drawn anew."""
    count = len(test.clips)
    times = random.multinomial(count, np.full(count, 1 / count), RESAMPLES)
    return uar_of(times @ test.correct[0], times @ test.clips)


def resample_both(test: Test, random: np.random.Generator) -> np.ndarray:
    """UAR [RESAMPLES] with speakers drawn anew, and then the clips of each drawn speaker."""
    count = len(test.clips)
    times = random.multinomial(count, np.full(count, 1 / count), RESAMPLES)
    clips = times[:, :, None] * test.clips  # [resamples, speakers, classes]
    recall = test.correct[0] / np.maximum(test.clips, 1)
    return uar_of(random.binomial(clips, recall).sum(1), clips.sum(1))


def resample_clips(test: Test, random: np.random.Generator) -> np.ndarray:
    """UAR [RESAMPLES] with clips drawn anew, whoever spoke them."""
    clips, correct = test.clips.sum(0), test.correct[0].sum(0)
    total = clips.sum()
    cells = np.concatenate([correct, clips - correct]) / total
    drawn = random.multinomial(total, cells, RESAMPLES)  # [resamples, 2 classes]
    return uar_of(drawn[:, :CLASSES], drawn[:, :CLASSES] + drawn[:, CLASSES:])


def percentiles(
    resample: Callable[[Test, np.random.Generator], np.ndarray],
) -> Callable[[Test, np.random.Generator], tuple[float, float]]:
    """The percentile interval of a way to resample."""

    def find(test: Test, random: np.random.Generator) -> tuple[float, float]:
        low, high = np.quantile(resample(test, random), QUANTILES)
        return low, high

    return find


def stretched_percentiles(test: Test, random: np.random.Generator) -> tuple[float, float]:
    """Percentiles of resampled speakers, their distance from the UAR stretched as t demands."""
    low, high = percentiles(resample_speakers)(test, random)
    count = len(test.clips)
    stretch = stats.t.ppf(QUANTILES[1], count - 1) / stats.norm.ppf(QUANTILES[1])
    stretch *= np.sqrt(count / (count - 1))
    uar = uar_of(test.correct[0].sum(0), test.clips.sum(0))
    return uar - stretch * (uar - low), uar + stretch * (high - uar)


def bias_corrected(test: Test, random: np.random.Generator) -> tuple[float, float]:
    """The BCa interval of resampled speakers (Efron 1987)."""
    samples = resample_speakers(test, random)
    uar = uar_of(test.correct[0].sum(0), test.clips.sum(0))
    below = ((samples < uar).mean() + (samples <= uar).mean()) / 2
    bias = stats.norm.ppf(np.clip(below, 1 / RESAMPLES, 1 - 1 / RESAMPLES))
    without = np.array(
        [
            uar_of(
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


def clips_of(test: Test) -> tuple[np.ndarray, list[str], list[np.ndarray]]:
    """Emotions, speakers and the predictions of both methods, as a run has them."""
    speaker, emotion = np.indices(test.clips.shape)
    order = np.repeat(emotion.ravel(), test.clips.ravel())
    speakers = np.repeat(speaker.ravel(), test.clips.ravel())
    predicted = []
    for correct in test.correct:
        right = np.concatenate(
            [
                np.arange(total) < hits
                for total, hits in zip(test.clips.ravel(), correct.ravel(), strict=True)
            ]
        )
        predicted.append(np.where(right, order, (order + 1) % CLASSES))
    return order, [str(name) for name in speakers], predicted


def ours(test: Test) -> tuple[list[float], list[float]]:
    """The intervals of a run: of the first method's UAR, and of the difference to the second."""
    emotion, speaker, predicted = clips_of(test)
    resamples = intervals.draw_resamples(emotion, speaker, CLASSES)
    assert resamples is not None
    samples = [
        intervals.resample_scores(resamples, emotion, [labels], CLASSES).uar for labels in predicted
    ]
    clips, correct = test.clips.sum(0), test.correct.sum(1)
    uar = uar_of(correct, clips)
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
        own, difference = ours(test)
        note(OURS[0], own, truth)
        note(OURS[1], difference, gain)
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
    about = ("speakers", "clips by speaker and emotion", "UAR", "speaker effect")
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
