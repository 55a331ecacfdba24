"""Criteria without target labels: each against an independent derivation, and all together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.spatial.distance
import scipy.stats
from sklearn import metrics as reference
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import cosine_similarity, rbf_kernel

from jdann import selection
from jdann.errors import InputError
from jdann.evaluation.domain_distance import a_distance
from jdann.selection import (
    CRITERIA,
    Criterion,
    Evidence,
    choose,
    density_ratio,
    evaluate,
    geometry,
    predictions,
    rank_correlation,
)

N, K, M, D, C = 40, 50, 60, 6, 4
ON_DEVICE = [name for name, criterion in CRITERIA.items() if not criterion.on_host]


def _evidence(seed=0, n=N, k=K, m=M, d=D, c=C, shift=0.5, scale=1.5) -> Evidence:
    """One member's outputs; source and target differ by a shift of every dimension."""
    random = np.random.default_rng(seed)

    def normal(*shape):
        return random.normal(size=shape).astype(np.float32)

    source, train, target = normal(n, d), normal(k, d), normal(m, d) + np.float32(shift)
    return Evidence(
        scale * normal(n, c), random.integers(0, c, n), source, train, scale * normal(m, c), target
    )


def _stack(*members: Evidence) -> Evidence:
    return Evidence(*(np.stack(field) for field in zip(*members, strict=True)))


def _softmax(logits):
    return scipy.special.softmax(np.asarray(logits, np.float64), axis=-1)


def _value(name, evidence):
    return float(evaluate(_stack(evidence), (name,))[name][0])


# --- Against other derivations --------------------------------------------------------------------


def test_source_risk_is_scikit_learns_log_loss_of_what_is_labelled():
    evidence = _evidence()
    labelled = np.arange(N) % 3 > 0
    evidence = evidence._replace(source_emotion=np.where(labelled, evidence.source_emotion, -1))
    expected = reference.log_loss(
        evidence.source_emotion[labelled],
        _softmax(evidence.source_logits)[labelled],
        labels=range(C),
    )
    assert _value("source_risk", evidence) == pytest.approx(expected, rel=1e-5)


def test_entropy_and_information_maximisation_equal_scipy():
    evidence = _evidence()
    p = _softmax(evidence.target_logits)
    conditional, marginal = scipy.stats.entropy(p, axis=1).mean(), scipy.stats.entropy(p.mean(0))
    assert _value("entropy", evidence) == pytest.approx(conditional, rel=1e-5)
    assert _value("information_maximisation", evidence) == pytest.approx(
        conditional - marginal, abs=1e-6
    )
    # Mutual information as a divergence: of the joint from the product of its marginals.
    divergence = scipy.stats.entropy(p.ravel() / M, np.tile(p.mean(0), M) / M)
    assert _value("information_maximisation", evidence) == pytest.approx(-divergence, abs=1e-6)


def test_bnm_is_the_sum_of_singular_values_of_the_largest_possible():
    evidence = _evidence()
    expected = np.linalg.norm(_softmax(evidence.target_logits), "nuc") / np.sqrt(M * C)
    assert _value("bnm", evidence) == pytest.approx(expected, rel=1e-5)


def test_softmax_correlation_is_a_cosine_with_the_identity():
    evidence = _evidence()
    p = _softmax(evidence.target_logits)
    correlation = sum(np.outer(row, row) for row in p)
    expected = cosine_similarity(correlation.reshape(1, -1), np.eye(C).reshape(1, -1))
    assert _value("softmax_correlation", evidence) == pytest.approx(expected.item(), rel=1e-5)


def test_mcc_equals_sums_over_pairs_of_classes():
    evidence = _evidence()
    q = _softmax(evidence.target_logits / 2.5)
    weight = 1 + np.exp(-scipy.stats.entropy(q, axis=1))
    weight = M * weight / weight.sum()
    loss = 0.0
    for j in range(C):
        row = [sum(weight[i] * q[i, j] * q[i, k] for i in range(M)) for k in range(C)]
        loss += sum(row[k] for k in range(C) if k != j) / sum(row) / C
    assert _value("mcc", evidence) == pytest.approx(loss, rel=1e-5)


def test_snd_equals_a_loop_over_neighbourhoods():
    evidence = _evidence()
    similarity = cosine_similarity(_softmax(evidence.target_logits))
    entropies = [
        scipy.stats.entropy(_softmax(np.delete(similarity[i], i) / 0.05)) for i in range(M)
    ]
    assert _value("snd", evidence) == pytest.approx(np.mean(entropies), rel=1e-5)


def _domain_regression(train, target, mass=None):
    """Standardiser and scikit-learn's regression, each domain's mass 1/2."""
    x = np.concatenate([train, target]).astype(np.float64)
    label = np.repeat([0, 1], [len(train), len(target)])
    mass = np.where(label, 0.5 / len(target), 0.5 / len(train)) if mass is None else mass
    mean = mass @ x
    deviation = np.sqrt(mass @ (x - mean) ** 2)
    regression = LogisticRegression(C=1 / density_ratio.RIDGE, tol=1e-10, max_iter=10000)
    return (x - mean) / deviation, label, mass, lambda rows: (rows - mean) / deviation, regression


@pytest.mark.parametrize("train_rows", [K, 8])
def test_dev_and_iwv_equal_numpy_with_scikit_learns_density_ratio(train_rows):
    evidence = _evidence(k=train_rows)
    x, label, mass, standardise, regression = _domain_regression(
        evidence.train_representation, evidence.target_representation
    )
    regression.fit(x, label, sample_weight=mass)
    p = regression.predict_proba(standardise(evidence.source_representation))
    weight = p[:, 1] / p[:, 0]
    loss = -np.log(_softmax(evidence.source_logits)[np.arange(N), evidence.source_emotion])
    np.testing.assert_allclose(density_ratio.importance_weights(evidence), weight, rtol=1e-3)
    assert _value("iwv", evidence) == pytest.approx((weight * loss).mean(), rel=1e-3)

    covariance = np.cov(weight * loss, weight, ddof=1)
    eta = -covariance[0, 1] / covariance[1, 1]
    assert _value("dev", evidence) == pytest.approx(
        (weight * loss).mean() + eta * weight.mean() - eta, rel=1e-3
    )
    assert abs(weight.mean() - 1) > 0.02  # else the control variate is not tested


def test_unlabelled_source_counts_for_nothing():
    evidence = _evidence()
    labelled = np.arange(N) % 3 > 0
    hidden = evidence._replace(source_emotion=np.where(labelled, evidence.source_emotion, -1))
    short = evidence._replace(
        **{f: getattr(evidence, f)[labelled] for f in evidence._fields if f.startswith("source")}
    )
    for name in ("source_risk", "dev", "iwv"):
        assert _value(name, hidden) == pytest.approx(_value(name, short), rel=1e-5)


def test_the_domain_classifier_leaves_each_row_out():
    evidence = _evidence(k=20, m=30, shift=0.3)
    x, label, mass, _, regression = _domain_regression(
        evidence.train_representation, evidence.target_representation
    )
    left_out = [
        regression.fit(
            np.delete(x, i, 0), np.delete(label, i), np.delete(mass, i)
        ).decision_function(x[i : i + 1])[0]
        for i in range(len(x))
    ]
    fitted = regression.fit(x, label, mass).decision_function(x)
    classifier = density_ratio.domain_classifier(evidence)
    rows = np.concatenate([classifier.train, classifier.target])
    assert np.abs(rows - left_out).max() < 0.1 * np.abs(fitted - left_out).max()


@pytest.mark.parametrize("d", [4, 400])  # 400: more than density_ratio.MAX_DIMENSIONS
@pytest.mark.parametrize("shift", [0.0, 1.0, 8.0])
def test_a_distance_agrees_with_scikit_learns_and_with_theory(d, shift):
    evidence = _evidence(k=1000, m=1000, d=d, shift=0)
    target = evidence.target_representation + np.float32(
        shift / np.sqrt(d)
    )  # means `shift` deviations apart
    expected = 2 * (1 - 2 * scipy.stats.norm.cdf(-shift / 2))  # the best rule's
    distance = _value("a_distance", evidence._replace(target_representation=target))
    # In 400 dimensions, 2000 rows do not suffice to find the best rule, and half as many less so.
    assert distance == pytest.approx(expected, abs=0.12 if d == 4 else 0.5)
    assert distance >= a_distance(evidence.train_representation, target, 0) - 0.1


def test_mmd_equals_scikit_learns_kernels_at_the_median():
    evidence = _evidence()
    source, target = evidence.source_representation, evidence.target_representation
    both = np.concatenate([source, target]).astype(np.float64)
    median = np.median(scipy.spatial.distance.pdist(both, "sqeuclidean"))
    sign = np.repeat([1 / N, -1 / M], [N, M])
    expected = np.mean(
        [sign @ rbf_kernel(both, gamma=1 / (median * 2.0**power)) @ sign for power in range(-2, 3)]
    )
    assert _value("mmd", evidence) == pytest.approx(expected, rel=1e-3)
    assert _value(
        "mmd", evidence._replace(source_representation=7 * source, target_representation=7 * target)
    ) == pytest.approx(expected, rel=1e-3)


def test_class_ami_is_scikit_learns_for_clusters_from_other_starts():
    random = np.random.default_rng(0)
    cluster = random.integers(0, C, M)
    rows = (10 * np.eye(D)[cluster] + random.normal(size=(M, D))).astype(np.float32)
    predicted = np.where(random.random(M) < 0.7, (cluster + 1) % C, random.integers(0, C, M))
    clusters = KMeans(C, n_init=10, random_state=5).fit_predict(rows[:, ::-1])
    evidence = _evidence()._replace(
        target_representation=rows, target_logits=np.eye(C, dtype=np.float32)[predicted]
    )
    expected = reference.adjusted_mutual_info_score(predicted, clusters)
    assert _value("class_ami", evidence) == pytest.approx(expected) and 0.2 < expected < 0.9


# --- What criteria are for ------------------------------------------------------------------------


def _model(good: bool, seed: int = 0, n: int = 120) -> Evidence:
    """Outputs of a model that separates the classes in both domains, or only the domains."""
    random = np.random.default_rng(seed)

    def domain(offset):
        emotion = np.arange(n) % C
        where = np.eye(D)[emotion] if good else np.zeros((n, D)) + offset
        rows = 4 * where + random.normal(size=(n, D))
        logits = 8.0 * np.eye(C)[emotion] if good else 2 * random.normal(size=(n, C))
        return (
            emotion,
            rows.astype(np.float32),
            (logits + 0.1 * random.normal(size=(n, C))).astype(np.float32),
        )

    (_, train, _), (emotion, source, source_logits), (_, target, target_logits) = (
        domain(0),
        domain(0),
        domain(0.5),
    )
    return Evidence(source_logits, emotion, source, train, target_logits, target)


def test_every_criterion_prefers_the_model_that_has_found_the_classes():
    values = evaluate(_stack(*(_model(good, seed) for good in (True, False) for seed in range(3))))
    assert list(values) == list(CRITERIA)
    for name, members in values.items():
        records = members.reshape(2, 3)  # as if the good model came first
        assert (choose(records, name) == 0).all(), (name, members)
        assert rank_correlation(records, np.array([[0.9] * 3, [0.25] * 3]), name) > 0.8


def test_importance_weights_turn_source_risk_into_target_risk():
    """Only p(x) differs, and the model errs in a region with much target and little source."""
    random = np.random.default_rng(0)

    def domain(mean, n):
        rows = random.normal(size=(n, 1)).astype(np.float32) + mean
        emotion = (random.random(n) < 0.5).astype(int)
        wrong = rows[:, 0] > 0.5
        logits = np.eye(2)[np.where(wrong, 1 - emotion, emotion)].astype(np.float32)
        return emotion, rows, logits

    _, train, _ = domain(0.0, 3000)
    emotion, source, logits = domain(0.0, 3000)
    target_emotion, target, target_logits = domain(1.0, 3000)
    target_risk = reference.log_loss(target_emotion, _softmax(target_logits))
    evidence = _stack(Evidence(logits, emotion, source, train, target_logits, target))
    values = evaluate(evidence, ("source_risk", "iwv", "dev"))
    error = {name: abs(members[0] - target_risk) for name, members in values.items()}
    assert error["source_risk"] > 0.3
    assert (
        error["iwv"] < 0.7 * error["source_risk"]
    )  # not smaller, as the ridge shrinks the weights
    assert error["dev"] < 0.1


def test_there_is_no_way_in_for_target_labels():
    assert [field for field in Evidence._fields if field.startswith("target")] == [
        "target_logits",
        "target_representation",
    ]
    for criterion in CRITERIA.values():
        assert set(criterion.needs) <= set(Evidence._fields)


# --- What holds for every criterion ---------------------------------------------------------------


def test_ranges_hold_and_extremes_are_reached():
    perfect = _evidence()._replace(target_logits=50 * np.eye(C, dtype=np.float32)[np.arange(M) % C])
    collapsed = _evidence()._replace(
        target_logits=50 * np.eye(C, dtype=np.float32)[np.zeros(M, int)]
    )
    uniform = _evidence()._replace(target_logits=np.zeros((M, C), np.float32))
    expected = {
        "entropy": (0, 0, np.log(C)),
        "information_maximisation": (-np.log(C), 0, 0),
        "bnm": (1, C**-0.5, 1 / C),
        "softmax_correlation": (1, C**-0.5, C**-0.5),
        "mcc": (0, 1 - 1 / C, 1 - 1 / C),
        "snd": (np.log(M / C - 1), np.log(M - 1), np.log(M - 1)),
    }
    values = evaluate(_stack(perfect, collapsed, uniform), tuple(expected))
    for name, extremes in expected.items():
        np.testing.assert_allclose(values[name], extremes, atol=2e-3, err_msg=name)


def test_the_order_of_rows_does_not_matter():
    evidence = _evidence()
    random = np.random.default_rng(1)
    target, train, source = random.permutation(M), random.permutation(K), random.permutation(N)
    shuffled = Evidence(
        *(getattr(evidence, field)[source] for field in Evidence._fields[:3]),
        evidence.train_representation[train],
        *(getattr(evidence, field)[target] for field in Evidence._fields[4:]),
    )
    for name, (ordered, reordered) in evaluate(_stack(evidence, shuffled)).items():
        np.testing.assert_allclose(reordered, ordered, rtol=1e-4, atol=1e-5, err_msg=name)


def test_criteria_depend_on_what_they_need_and_on_nothing_else():
    evidence = _evidence()
    poisoned = [
        evidence._replace(**{field: np.full_like(getattr(evidence, field), np.nan)})
        for field in Evidence._fields
        if field != "source_emotion"
    ]
    fields = [field for field in Evidence._fields if field != "source_emotion"]
    for name, (clean, *values) in evaluate(_stack(evidence, *poisoned)).items():
        needed = [field in CRITERIA[name].needs for field in fields]
        np.testing.assert_array_equal(np.isnan(values), needed, err_msg=name)
        assert all(value == clean for value, need in zip(values, needed, strict=True) if not need)


def test_a_missing_field_gives_nan_to_the_criteria_that_need_it():
    evidence = _stack(_evidence(n=0), _evidence(1, n=0))
    values = evaluate(evidence)
    for name, members in values.items():
        needs_source = any(field.startswith("source") for field in CRITERIA[name].needs)
        assert np.isnan(members).all() == needs_source, name
        assert members.shape == (2,) and members.dtype == np.float32
    unlabelled = _evidence()._replace(source_emotion=np.full(N, -1))
    assert all(np.isnan(_value(name, unlabelled)) for name in ("source_risk", "dev", "iwv"))


def _degenerate(n, k, m):
    evidence = _evidence(n=n, k=k, m=m)
    ones, zeros = np.ones_like, np.zeros_like

    def representations(change):
        return evidence._replace(
            **{
                f: change(getattr(evidence, f))
                for f in evidence._fields
                if f.endswith("representation")
            }
        )

    def logits(change):
        return evidence._replace(
            **{f: change(getattr(evidence, f)) for f in evidence._fields if f.endswith("logits")}
        )

    return {
        "as it is": evidence,
        "one class": logits(lambda x: 0 * x + 9 * np.eye(C, dtype=np.float32)[2]),
        "one class, for certain": logits(lambda x: 0 * x + 1e6 * np.eye(C, dtype=np.float32)[2]),
        "logits all 0": logits(zeros),
        "huge logits": logits(lambda x: 1e6 * x),
        "the largest logits": logits(lambda x: np.sign(x) * np.finfo(np.float32).max),
        "rows all 0": representations(zeros),
        "rows all the same": representations(lambda x: 0.1 * ones(x)),
        "rows the same within a domain": representations(lambda x: x[:1] + zeros(x)),
        "a dead dimension": representations(lambda x: x * (np.arange(D) != 3)),
        "huge rows": representations(lambda x: 1e15 * x),
        "tiny rows": representations(lambda x: 1e-15 * x),
        "domains apart": evidence._replace(
            target_representation=evidence.target_representation + np.float32(1e4)
        ),
        "all of it": Evidence(
            *(zeros(value) if value.dtype == np.float32 else value for value in evidence),
        ),
    }


@pytest.mark.parametrize("rows", [(N, K, M), (2, 2, 2), (1, 1, 1), (1, 3, 2)])
@pytest.mark.filterwarnings("error")
def test_degenerate_outputs_give_finite_values(rows):
    cases = _degenerate(*rows)
    evidence = _stack(
        *(
            Evidence(*(np.asarray(v, getattr(v, "dtype", None)) for v in case))
            for case in cases.values()
        )
    )
    for name, values in evaluate(evidence).items():
        failed = [case for case, v in zip(cases, values, strict=True) if not np.isfinite(v)]
        assert not failed, (name, failed)


def test_a_representation_that_is_the_same_for_all_has_no_distance_and_no_clusters():
    same = _degenerate(N, K, M)["rows all the same"]
    values = evaluate(_stack(same), ("mmd", "a_distance", "class_ami"))
    assert (
        values["a_distance"] == 0
        and values["class_ami"] == 0
        and values["mmd"] == pytest.approx(0, abs=1e-5)
    )
    collapsed = same._replace(target_logits=np.zeros_like(same.target_logits))
    assert (
        _value("class_ami", collapsed) == 0
    )  # one cluster and one class: full agreement about nothing


def test_vmap_equals_a_loop_and_evaluate():
    members = [_evidence(seed, shift=seed / 2) for seed in range(3)]
    stacked = _stack(*members)
    values = evaluate(stacked)
    functions = {name: CRITERIA[name].function for name in ON_DEVICE}
    batched = jax.jit(
        jax.vmap(
            lambda evidence: {name: function(evidence) for name, function in functions.items()}
        )
    )(stacked)
    for name in CRITERIA:
        one_by_one = [float(evaluate(_stack(member), (name,))[name][0]) for member in members[:2]]
        np.testing.assert_allclose(values[name][:2], one_by_one, rtol=1e-4, atol=1e-5, err_msg=name)
        if name in ON_DEVICE:
            np.testing.assert_allclose(
                values[name], batched[name], rtol=1e-4, atol=1e-5, err_msg=name
            )


def test_one_compilation_for_a_shape_and_labels_shared_by_all_members():
    first, second = _stack(_evidence(0), _evidence(1)), _stack(_evidence(2), _evidence(3))
    expected = evaluate(first._replace(source_emotion=np.stack([first.source_emotion[0]] * 2)))
    compiled = selection._on_device._cache_size()
    shared = evaluate(first._replace(source_emotion=first.source_emotion[0]))
    evaluate(second)
    assert selection._on_device._cache_size() == compiled
    for name in CRITERIA:
        np.testing.assert_array_equal(shared[name], expected[name])


@pytest.mark.slow
def test_quadratic_criteria_take_evenly_spaced_rows():
    m = 3 * predictions.SND_ROWS
    large = _evidence(m=m, d=2, shift=0)
    few = np.linspace(0, m - 1, predictions.SND_ROWS).round().astype(int)
    assert few[0] == 0 and few[-1] == m - 1
    small = large._replace(
        target_logits=large.target_logits[few],
        target_representation=large.target_representation[few],
    )
    assert geometry.MMD_ROWS == density_ratio.MAX_ROWS == predictions.SND_ROWS
    for name in ("snd", "mmd", "a_distance"):
        assert _value(name, large) == pytest.approx(_value(name, small), rel=1e-5)


# --- Choosing -------------------------------------------------------------------------------------


def test_choose_takes_the_best_record_or_the_later_of_equals_or_the_last():
    nan = np.nan
    values = np.array(
        [[3.0, 1, nan, nan, 2], [1.0, 5, nan, 7, 2], [2.0, nan, nan, np.inf, 1]]
    )  # [records, members]
    np.testing.assert_array_equal(choose(values, "bnm"), [0, 1, 2, 1, 1])
    np.testing.assert_array_equal(choose(values, "entropy"), [1, 0, 2, 1, 2])


def test_rank_correlation_is_positive_where_the_criterion_is_right():
    random = np.random.default_rng(0)
    uar = random.random((6, 3))
    values = uar + 0.3 * random.random((6, 3))
    expected = scipy.stats.spearmanr(values.ravel(), uar.ravel()).statistic
    assert rank_correlation(values, uar, "snd") == pytest.approx(expected)
    assert rank_correlation(-values, uar, "source_risk") == pytest.approx(expected)
    assert rank_correlation(values, uar, "source_risk") == pytest.approx(-expected)
    values[2, 1], values[0, 0] = np.nan, np.inf
    kept = np.isfinite(values)
    assert rank_correlation(values, uar, "snd") == pytest.approx(
        scipy.stats.spearmanr(values[kept], uar[kept]).statistic
    )


def test_rank_correlation_is_none_where_undefined():
    uar = np.linspace(0, 1, 6).reshape(3, 2)
    assert rank_correlation(np.full((3, 2), np.nan), uar, "snd") is None
    assert rank_correlation(np.ones((3, 2)), uar, "snd") is None
    assert rank_correlation(uar, np.ones((3, 2)), "snd") is None
    with pytest.raises(ValueError, match="expected one shape"):
        rank_correlation(uar, uar[:2], "snd")


def test_unknown_criteria_are_named():
    with pytest.raises(InputError, match="no criterion 'sdn'; known are source_risk, entropy"):
        evaluate(_stack(_evidence()), ("sdn",))
    with pytest.raises(InputError):
        choose(np.zeros((2, 2)), "oracle")
    with pytest.raises(InputError, match=r"did you mean snd\?"):
        evaluate(_stack(_evidence()), ("sdn",))


# --- A new criterion ------------------------------------------------------------------------------


def _mean_confidence(evidence: Evidence) -> jax.Array:
    return jax.nn.softmax(evidence.target_logits).max(-1).mean()


def _class_count(evidence: Evidence) -> float:
    return float(len(np.unique(evidence.target_logits.argmax(-1))))


def test_a_new_criterion_needs_only_an_entry_in_the_dictionary(monkeypatch):
    needs = ("target_logits",)
    confidence = Criterion(_mean_confidence, True, needs, "this test")
    count = Criterion(_class_count, True, needs, "this test", on_host=True)
    monkeypatch.setitem(CRITERIA, "confidence", confidence)
    monkeypatch.setitem(CRITERIA, "class_count", count)
    members = [_evidence(seed) for seed in range(2)]
    values = evaluate(_stack(*members), ("confidence", "entropy", "class_count"))
    expected = [_softmax(member.target_logits).max(-1).mean() for member in members]
    np.testing.assert_allclose(values["confidence"], expected, rtol=1e-5)
    np.testing.assert_array_equal(values["class_count"], [C, C])
    assert choose(np.array([[0.4], [0.9], [0.7]]), "confidence") == [1]
    assert "confidence" in evaluate(_stack(*members))  # all criteria are those of this moment

    # The same name with another function is compiled anew.
    def negative(evidence: Evidence) -> jax.Array:
        return -_mean_confidence(evidence)

    monkeypatch.setitem(CRITERIA, "confidence", confidence._replace(function=negative))
    np.testing.assert_allclose(
        evaluate(_stack(*members), ("confidence",))["confidence"], -jnp.array(expected), rtol=1e-5
    )


def test_fields_with_different_numbers_of_members_are_refused():
    evidence = _stack(_evidence(0), _evidence(1))
    with pytest.raises(AssertionError, match="equal_shape_prefix|prefix"):
        evaluate(evidence._replace(target_representation=evidence.target_representation[:1]))
