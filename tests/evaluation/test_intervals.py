import numpy as np
import pytest
from scipy import special, stats
from sklearn import metrics as reference

from jdann.evaluation import intervals, metrics
from jdann.evaluation.intervals import CLIPS, SPEAKERS

CLASSES = 4


def _clips(seed=0, speakers=6, clips=8, effect=0.8):
    """Labels, speakers and predictions; some speakers are easier to recognise than others."""
    random = np.random.default_rng(seed)
    speaker = np.repeat(np.arange(speakers), CLASSES * clips)
    emotion = np.tile(np.repeat(np.arange(CLASSES), clips), speakers)
    level = 0.6 + effect * random.normal(size=(speakers, CLASSES))
    right = random.random(len(emotion)) < special.expit(level[speaker, emotion])
    predicted = np.where(right, emotion, (emotion + random.integers(1, CLASSES)) % CLASSES)
    return emotion, [f"s{i}" for i in speaker], predicted


def _drawn(emotion, speaker, weight=None):
    resamples = intervals.draw_resamples(emotion, speaker, CLASSES, weight)
    assert resamples is not None
    return resamples


def _interval(emotion, speaker, predicted):
    resamples = _drawn(emotion, speaker)
    samples = intervals.resample_scores(resamples, emotion, [predicted], CLASSES)
    uar = float(metrics.unweighted_average_recall(emotion, predicted))
    return intervals.interval(uar, intervals.half_width(samples.uar, resamples))


@pytest.mark.parametrize("count", [2, 4, 10, 24])
def test_equal_shares_give_the_quantile_of_t(count):
    # The variance of such weights is n / (n + 1) times that of counts of draws.
    expected = stats.t.ppf(0.975, count - 1) * np.sqrt((count + 1) / (count - 1))
    stretch = intervals.stretch_of_deviation(np.full(count, 1 / count))
    assert stretch == pytest.approx(expected)


def test_unequal_shares_give_the_degrees_of_freedom_of_the_matrix():
    """The traces are computed from the matrix of the quadratic form itself."""
    share = np.random.default_rng(0).dirichlet(np.ones(7))
    centred = np.eye(7) - np.outer(np.ones(7), share)
    form = centred.T @ np.diag(share**2) @ centred
    freedom = np.trace(form) ** 2 / np.trace(form @ form)
    expected = stats.t.ppf(0.975, freedom) * np.sqrt(8 / 7 * (share**2).sum() / np.trace(form))
    assert intervals.stretch_of_deviation(share) == pytest.approx(expected)
    assert freedom < 6


def test_deviation_of_resampled_speakers_equals_scipys():
    """SciPy draws speakers with replacement."""
    emotion, speaker, predicted = _clips()
    resamples = _drawn(emotion, speaker)
    assert (resamples.unit, resamples.units) == (SPEAKERS, 6)
    samples = intervals.resample_scores(resamples, emotion, [predicted], CLASSES)
    rows = [np.flatnonzero(np.array(speaker) == f"s{i}") for i in range(6)]

    def statistic(speakers, name):
        chosen = np.concatenate([rows[i] for i in speakers])
        score = metrics.score(emotion[chosen], predicted[chosen], [None] * len(chosen), CLASSES)
        return getattr(score, name)

    for name in ("accuracy", "macro_f1", "uar"):
        expected = stats.bootstrap(
            (np.arange(6),),
            lambda speakers, name=name: statistic(speakers, name),
            vectorized=False,
            n_resamples=500,
            method="percentile",
            rng=np.random.default_rng(1),
        ).standard_error
        deviation = np.std(getattr(samples, name)) * np.sqrt(7 / 6)
        assert deviation == pytest.approx(expected, rel=0.1), name


def test_scores_of_a_confusion_matrix_equal_scikit_learns():
    random = np.random.default_rng(0)
    emotion, predicted = random.integers(0, 3, (2, 5, 40))  # the last class does not occur
    confusions = np.array(
        [metrics.confusion_matrix(e, p, 4) for e, p in zip(emotion, predicted, strict=True)]
    )
    scores = intervals.scores_of_confusions(confusions.astype(float))
    for i in range(5):
        labels = [0, 1, 2]
        f1 = reference.f1_score(emotion[i], predicted[i], labels=labels, average="macro")
        recall = reference.recall_score(emotion[i], predicted[i], labels=labels, average="macro")
        assert scores.macro_f1[i] == pytest.approx(f1)
        assert scores.uar[i] == pytest.approx(recall)
        assert scores.accuracy[i] == pytest.approx((emotion[i] == predicted[i]).mean())


def test_samples_are_the_mean_over_seeds():
    emotion, speaker, first = _clips()
    second = _clips(1)[2]
    resamples = _drawn(emotion, speaker)
    both = intervals.resample_scores(resamples, emotion, [first, second], CLASSES)
    alone = [intervals.resample_scores(resamples, emotion, [p], CLASSES) for p in (first, second)]
    np.testing.assert_allclose(both.macro_f1, (alone[0].macro_f1 + alone[1].macro_f1) / 2)


def test_a_weight_counts_like_so_many_clips():
    emotion, speaker, predicted = _clips()
    weight = np.random.default_rng(2).integers(1, 4, len(emotion))
    repeated = np.repeat(np.arange(len(emotion)), weight)
    weighted = _drawn(emotion, speaker, weight)
    plain = _drawn(emotion[repeated], np.array(speaker)[repeated].tolist())
    assert weighted.stretch == pytest.approx(plain.stretch)
    samples = [
        intervals.resample_scores(weighted, emotion, [predicted], CLASSES, weight),
        intervals.resample_scores(plain, emotion[repeated], [predicted[repeated]], CLASSES),
    ]
    for with_weights, with_copies in zip(*samples, strict=True):
        np.testing.assert_allclose(with_weights, with_copies, rtol=1e-5)


@pytest.mark.parametrize(
    "known, unit, units",
    [(1.0, SPEAKERS, 6), (0.8, SPEAKERS, 7), (0.3, CLIPS, 192), (0.0, CLIPS, 192)],
)
def test_clips_are_resampled_where_speakers_are_not_known(known, unit, units):
    emotion, speaker, _ = _clips()
    random = np.random.default_rng(0)
    names = [name if random.random() < known else None for name in speaker]
    resamples = _drawn(emotion, names)
    assert (resamples.unit, resamples.units) == (unit, units)


def test_one_speaker_is_no_sample_of_speakers():
    emotion, _, _ = _clips()
    assert _drawn(emotion, ["s0"] * len(emotion)).unit == CLIPS


def test_unlabelled_clips_are_left_out():
    emotion, speaker, predicted = _clips()
    expected = _interval(emotion, speaker, predicted)
    more = np.r_[emotion, np.full(9, metrics.UNLABELLED)]
    speakers = [*speaker, *["someone else"] * 9]
    assert _interval(more, speakers, np.r_[predicted, np.zeros(9, int)]) == expected
    assert intervals.draw_resamples(np.full(9, -1), ["s"] * 9, CLASSES) is None


def test_speakers_give_a_wider_interval_than_their_clips():
    emotion, speaker, predicted = _clips(effect=1.5)
    by_speaker = _interval(emotion, speaker, predicted)
    by_clip = _interval(emotion, [None] * len(emotion), predicted)
    assert by_speaker[1] - by_speaker[0] > 2 * (by_clip[1] - by_clip[0])


def test_a_paired_difference_cancels_what_speakers_share():
    emotion, speaker, first = _clips(effect=1.5)
    second = first.copy()
    second[::10] = (emotion[::10] + 1) % CLASSES  # a tenth is wrong, whoever speaks
    resamples = _drawn(emotion, speaker)
    samples = [
        intervals.resample_scores(resamples, emotion, [predicted], CLASSES).uar
        for predicted in (first, second)
    ]
    difference = intervals.half_width(samples[0] - samples[1], resamples)
    assert difference < intervals.half_width(samples[0], resamples) / 3


def test_an_interval_stays_among_possible_values():
    assert intervals.interval(0.9, 0.3) == [pytest.approx(0.6), 1]
    assert intervals.interval(0.1, 0.3) == [0, pytest.approx(0.4)]
    assert intervals.interval(-0.9, 0.3, lowest=-1.0) == [-1, pytest.approx(-0.6)]


def test_the_least_width_is_that_of_independent_clips():
    """For many clips, the variance of a mean of recalls is the mean of their binomial ones."""
    recall, clips = np.array([0.5, 0.8, np.nan]), np.array([4000.0, 2000.0, 0.0])
    variance = (stats.binom(4000, 0.5).var() / 4000**2 + stats.binom(2000, 0.8).var() / 2000**2) / 4
    expected = stats.norm.ppf(0.975) * np.sqrt(variance)
    assert intervals.least_half_width(recall, clips) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("clips", [4, 10])
def test_clips_that_are_all_right_prove_little(clips):
    """The exact interval of so many hits without a miss is Clopper and Pearson's."""
    exact = stats.binomtest(clips, clips).proportion_ci(method="exact").low
    least = intervals.least_half_width(np.ones(1), np.array([float(clips)]))
    assert 0.6 * (1 - exact) < least < 1.2 * (1 - exact)


def test_weighted_clips_count_as_their_effective_number():
    emotion = np.array([0, 0, 0, 0, 1, 1, -1])
    weight = np.array([2.0, 2.0, 2.0, 2.0, 1.0, 3.0, 9.0])
    assert intervals.clips_of_classes(emotion, 3).tolist() == [4, 2, 0]
    assert intervals.clips_of_classes(emotion, 3, weight).tolist() == [4, 1.6, 0]


@pytest.mark.parametrize("units", [2, 4, 30, 500])
def test_as_many_units_as_are_asked_for_narrow_the_interval(units):
    deviation = 0.15

    def half(count):
        return stats.t.ppf(0.975, count - 1) * deviation / np.sqrt(count)

    needed = intervals.units_for(half(units), units, 0.05)
    assert needed >= units and half(needed) <= 0.05
    assert needed == units or half(needed - 1) > 0.05


@pytest.mark.parametrize("speakers", [4, 10])
def test_an_interval_contains_the_truth_as_often_as_it_says(speakers):
    """Speakers differ; percentiles of resampled speakers contain the truth less often."""
    points, weights = np.polynomial.hermite_e.hermegauss(40)
    truth = special.expit(0.6 + 0.8 * points) @ weights / weights.sum()
    hits, percentile_hits = [], []
    for seed in range(250):
        emotion, speaker, predicted = _clips(seed, speakers=speakers)
        resamples = _drawn(emotion, speaker)
        samples = intervals.resample_scores(resamples, emotion, [predicted], CLASSES).uar
        uar = float(metrics.unweighted_average_recall(emotion, predicted))
        low, high = intervals.interval(uar, intervals.half_width(samples, resamples))
        hits.append(low <= truth <= high)
        low, high = np.quantile(samples, [0.025, 0.975])
        percentile_hits.append(low <= truth <= high)
    assert 0.92 <= np.mean(hits) <= 0.98
    assert np.mean(percentile_hits) < np.mean(hits) - 0.02
