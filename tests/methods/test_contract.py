"""The contract, for every method and some sums of them, trained by the real core on a toy."""

import gc
import shutil
import tempfile
from collections import namedtuple
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from jdann import configuration, parameters
from jdann.configuration import base_config
from jdann.data import normalise
from jdann.data.batches import BatchIndices, Frames
from jdann.data.splits import Split
from jdann.errors import InputError
from jdann.experiments.jobs import plan_jobs
from jdann.methods import METHODS, make_method, settings_for_classes, term
from jdann.training import loop
from jdann.training.task import make_budget
from tests.support.toy_training import (
    BATCH,
    BINS,
    CLASSES,
    DIMS,
    EPOCHS,
    RATE,
    SEEDS,
    SETTINGS,
    STEPS,
    UTTERANCES,
    WINDOW,
    accuracy,
    degenerate_batches,
    fit,
    gradients_with,
    make_hyper,
    make_program,
    make_toy,
)

SUMS = ("cdan+mcc", "dann+self_training", "dann+bsp", "dsbn+mcc", "sup_con+self_training")
NAMES = (*METHODS, *SUMS)
# The tests of the others are slow; tests of runs train with pseudo-labels, too.
QUICK = ("dann",)
AUGMENTED = ("fixmatch", "adamatch")  # whose loss compares clean with augmented utterances
WITHOUT = make_hyper(0.0, 0.5 * RATE, 0.0)  # strength, and weight decay
# These adapt only together with another method, or not by what the toy offers.
NOT_ALONE = {
    "source_only": "the row to beat",
    "bsp": "goes with an adversary: dann+bsp",
    "entropy": "may give all of the target to one class; tests/methods/test_confusion.py",
    "sup_con": "sees the source alone: sup_con+self_training",
    "speaker_adversary": "removes speakers; tests/methods/test_adversarial.py",
    "co_training": "needs statistics of utterances; tests/methods/test_co_training.py",
}
SHIFTED, TURNED = (0.0, (2.0, -1.5), 0.0), (1.05, (0.0, 0.0), 0.8)
TOYS = {
    "adabn": SHIFTED,
    "dsbn": SHIFTED,
    "fixmatch": TURNED,
}  # batch norm undoes a shift, not a turn; others: as by default


def toy_of(name):
    return make_toy(*TOYS.get(name, ()))


def settings(name):
    """How to compile the encoder for a method."""
    return {
        "batch_norm": "batch_norm" in make_method(name, SETTINGS).needs,
        "augment": name in AUGMENTED,
    }


def program_of(name):
    return make_program(name, **settings(name))


def middles(plan):
    """An epoch in the middle of each phase."""
    ends = np.cumsum(plan.phases)
    return [int(end) - length + length // 2 for end, length in zip(ends, plan.phases, strict=True)]


@cache
def trained(name):
    """The training of a method, and what its folder held in the middle of each phase."""
    program, folder = program_of(name), Path(tempfile.mkdtemp())
    clock, copies = [0.0], {}

    def on_epoch(epoch, means):  # called before the epoch's checkpoint
        if epoch - 1 in middles(program.budget):
            copies[epoch - 1] = Path(tempfile.mkdtemp())
            shutil.copytree(folder, copies[epoch - 1], dirs_exist_ok=True)
        if epoch in middles(program.budget):
            clock[0] += 1

    with patch.object(loop, "time", SimpleNamespace(monotonic=lambda: clock[0])):
        fitted = fit(program, toy_of(name), folder=folder, on_epoch=on_epoch)
    assert set(program.training.compilations()) == {1}  # one program for all epochs of a phase
    shutil.rmtree(folder)
    return fitted, copies


@cache
def unadapted(toy=(), batch_norm=False, augment=False):
    return accuracy(
        fit(make_program("source_only", batch_norm=batch_norm, augment=augment), make_toy(*toy)),
        make_toy(*toy),
    )


@cache
def unadapted_without_decay(epochs, batch_norm, augment):
    program = make_program("source_only", batch_norm=batch_norm, augment=augment, epochs=epochs)
    return fit(program, make_toy(), WITHOUT).state.params


@pytest.fixture(
    scope="module",
    params=[pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in NAMES],
)
def name(request):
    """Runs all tests of one method, then drops its programs: a process can map only so many."""
    yield request.param
    for forget in (trained, make_program):
        forget.cache_clear()
    gc.collect()


def test_losses_and_gradients_stay_finite_and_every_seed_learns_the_source(name):
    fitted, _ = trained(name)
    assert fitted.diverged == (None,) * len(SEEDS)
    chex.assert_tree_all_finite(fitted.state.params)
    assert not np.array_equal(*fitted.test_logits[-1])
    assert (
        np.isfinite(fitted.history["loss"]).all()
        and np.isfinite(fitted.history["gradient_norm"]).all()
    )
    assert np.nanmax(fitted.history["source_accuracy"][EPOCHS // 2 - 1 :], axis=0).min() > 0.9


def test_a_shifted_target_is_recovered(name):
    if name in NOT_ALONE:
        pytest.skip(NOT_ALONE[name])
    baseline = unadapted(TOYS.get(name, ()), **settings(name))
    assert baseline < 0.9
    assert accuracy(trained(name)[0], toy_of(name)) > baseline + 0.06


def test_resumed_in_the_middle_of_a_phase_it_ends_bit_for_bit_the_same(name):
    whole, copies = trained(name)
    assert len(copies) == len(program_of(name).budget.phases)
    for folder in copies.values():
        chex.assert_trees_all_equal(whole, fit(program_of(name), toy_of(name), folder=folder))


def test_strength_zero_is_source_only_and_compiles_nothing_anew(name):
    """Encoder and classifier equal those of source_only.

    source_only is trained for as many epochs as the method trains with the source risk. So a phase
    without it moves neither of them. Methods that make several updates by the source risk in a step
    (mcd) are asked for less: what they learn does not depend on the target.
    """
    program, toy = program_of(name), make_toy()
    trained(name)
    compiled = program.training.compilations()
    actual = fit(program, toy, WITHOUT).state.params
    assert program.training.compilations() == compiled
    of_risk = [
        sum(update.source_risk for update in phase.updates)
        for phase in program.training.program.method.phases
    ]
    if max(of_risk) > 1:
        shifted_toy = toy._replace(data=toy.data._replace(target=make_toy(*SHIFTED).data.target))
        expected, tolerance = fit(program, shifted_toy, WITHOUT).state.params, 0.0
    else:
        epochs = sum(n for n, count in zip(program.budget.phases, of_risk, strict=True) if count)
        expected, tolerance = unadapted_without_decay(epochs, **settings(name)), 2e-3
    for group in ("encoder", "classifier"):
        chex.assert_trees_all_close(actual[group], expected[group], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("case", ["constant", "silent", "identical"])
def test_degenerate_features_give_finite_gradients(name, case):
    program, data = program_of(name), make_toy().data
    same = {"constant": 1.0, "silent": 0.0}.get(case)
    if same is not None:
        values = jnp.full(data.source.values.shape, same, jnp.float16)
        short = Frames(values, data.source.start, data.source.length)
        data = data._replace(source=short, target=Frames(values, *data.source[1:]))
    else:
        data = data._replace(target=data.source)
    data = data._replace(target=_like(data.target, make_toy().data.target))
    keys = jax.vmap(jax.random.key)(jnp.asarray(SEEDS, jnp.uint32))
    state = program.training.init(keys)
    index = jnp.asarray(
        np.random.default_rng(0).integers(0, UTTERANCES, (len(SEEDS), STEPS, BATCH)), jnp.int32
    )
    pseudo = jnp.full((len(SEEDS), UTTERANCES, CLASSES), 1 / CLASSES, jnp.float32)
    for phase in range(len(program.budget.phases)):
        state = program.training.enter_phase(state) if phase else state
        state, metrics = program.training.train_epoch(
            phase, state, keys, make_hyper(), data, BatchIndices(index, index), pseudo
        )
        for quantity, values in metrics.items():
            assert np.isfinite(values).all(), quantity
    chex.assert_tree_all_finite(state)


def _like(frames, longer):
    """`frames` with as many rows as `longer` has: another number would be another program."""
    rows = len(longer.values)
    values = (
        jnp.zeros((rows, BINS), jnp.float16)
        .at[: min(rows, len(frames.values))]
        .set(frames.values[:rows])
    )
    return Frames(values, np.minimum(frames.start, rows - WINDOW), frames.length)


def test_every_loss_is_finite_in_corners_and_gives_nothing_at_strength_zero(name):
    """On batches where a formula may divide by zero, in one program for all strengths."""
    method = make_method(name, SETTINGS)
    params = method.init(jax.random.key(0), DIMS)
    updates = {
        (i, j): update
        for i, phase in enumerate(method.phases)
        for j, update in enumerate(phase.updates)
    }

    chex.clear_trace_counter()  # it counts by the name of a function, over all methods

    @chex.assert_max_traces(n=1)
    def gradients(batch, strength):
        return [gradients_with(method, batch, strength, params, *place) for place in updates]

    # Compiling costs more than running: without optimisations the program is ready much sooner.
    compiled = jax.jit(
        jax.vmap(gradients, in_axes=(0, None)),
        compiler_options={"xla_backend_optimization_level": 0},
    )
    for strength in (0.0, 1.0):
        for update, (value, batch_gradient, params_gradient) in zip(
            updates.values(), compiled(degenerate_batches(), strength), strict=True
        ):
            leaves = {
                **batch_gradient._asdict(),
                "value": value,
                **{str(i): x for i, x in enumerate(jax.tree.leaves(params_gradient))},
            }
            broken = {
                key: np.flatnonzero(~np.isfinite(x).reshape(len(x), -1).all(1))
                for key, x in leaves.items()
            }
            assert not any(map(len, broken.values())), broken
            if strength == 0:
                assert not np.any(leaves["source_logits"]) and not np.any(leaves["target_logits"])
                if "encoder" in update.trains:
                    assert not np.any(leaves["source"]) and not np.any(leaves["target"])


@pytest.mark.parametrize(
    "kind", ["bsp", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("wdgrl", "dsbn+mcc"))]
)
def test_seeds_side_by_side_are_seeds_one_after_the_other(kind):
    program, steps = program_of(kind), 3
    data, keys = make_toy().data, jax.vmap(jax.random.key)(jnp.asarray(SEEDS, jnp.uint32))
    index = jnp.asarray(
        np.random.default_rng(0).integers(0, UTTERANCES, (len(SEEDS), steps, BATCH)), jnp.int32
    )
    pseudo = jax.nn.one_hot(jnp.zeros((len(SEEDS), UTTERANCES), int), CLASSES)
    actual = []
    for how in ("map", "vmap"):
        compiled = program if how == "map" else make_program(kind, **settings(kind), how=how)
        training, indices = compiled.training, BatchIndices(index, index)
        state = training.init(keys)
        actual.append(training.train_epoch(0, state, keys, make_hyper(), data, indices, pseudo))
    chex.assert_trees_all_close(*actual, rtol=1e-3, atol=1e-4)


def test_unknown_methods_are_named():
    with pytest.raises(InputError, match="'danm'; did you mean dan.*one of source_only, dann"):
        make_method("danm", SETTINGS)
    with pytest.raises(InputError, match="'danm'"):
        make_method("dann+danm", SETTINGS)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dann+dann", "each part once"),
        ("mcc+shot", "shot trains in an order of its own"),
        ("mcd+mcc", "mcd trains in an order of its own"),
        ("self_training+co_training", "self_training and co_training both make pseudo-labels"),
    ],
)
def test_sums_that_make_no_sense_are_refused(name, message):
    with pytest.raises(InputError, match=message):
        make_method(name, SETTINGS)


def test_a_sum_needs_what_its_members_need():
    assert make_method("dsbn+speaker_adversary", SETTINGS).needs == {"batch_norm", "speakers"}
    assert make_method("speaker_adversary+sup_con", SETTINGS).uses_target is False


def small_direction(speaker):
    """As much of a direction as the plan of a run looks at."""
    Domain = namedtuple("Domain", "corpus emotion speaker")
    domain = Domain(SimpleNamespace(name="demo:en"), np.arange(20) % 5, speaker)
    statistics = normalise.identity(16)
    return SimpleNamespace(
        source=domain,
        target=domain,
        window=None,
        bins=16,
        recipe_settings={},
        statistics=(statistics, statistics),
    )


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("speaker_adversary", "two known speakers or more in the source, demo:en"),
        ("dann+dsbn", "batch norm, and mlp has none"),
    ],
)
def test_what_a_method_lacks_is_named_before_anything_is_trained(method, message):
    config = base_config()
    config.methods, config.encoder = (method,), ConfigDict({**config.encoder, "name": "mlp"})
    with pytest.raises(InputError, match=message):
        plan_jobs(config, [small_direction(("a",) * 10 + (None,) * 10)])


def test_more_phases_than_epochs_are_refused():
    config = base_config()
    rows = np.arange(4)
    splits, method = [Split("all", rows, rows, rows, rows)], make_method("adda", config)
    with pytest.raises(
        InputError, match=r"config.epochs is 1, but .* has 2 phases \(source, adapt\)"
    ):
        make_budget(
            splits, method, epochs=1, batch_size=2, evaluate_every=1, checkpoint_every_s=0.0
        )


PARAMETERS = [
    pytest.param(factory, parameter, id=f"{name}.{parameter.name}")
    for name, factory in METHODS.items()
    for parameter in parameters.parameters(factory).values()
]


@pytest.mark.parametrize(("factory", "parameter"), PARAMETERS)
def test_every_parameter_has_a_range_or_choices(factory, parameter):
    """What lies outside, or is of another type, is refused by name."""
    wrong = [object()]
    if parameter.choices:
        wrong += ["unheard of"]
    elif parameter.name == "prior":
        wrong += ["flat", "0.5,0.6", "1.2,-0.2", ""]
    else:
        assert parameter.kind in (int, float) and parameter.range is not None
        low, high = parameter.range.low, parameter.range.high
        assert np.isfinite(low)
        wrong += [low - 1, float("nan"), float("inf"), True]
        wrong += [low] * parameter.range.above + [high] * (parameter.range.below)
        wrong += [high + 1] if np.isfinite(high) else []
        wrong += [low + 0.5] if parameter.kind is int else []
    for value in wrong:
        with pytest.raises(InputError, match=f"{factory.__name__}: {parameter.name} is "):
            factory(**{parameter.name: value})
    factory(**{parameter.name: parameter.default})


@pytest.mark.parametrize(
    "key",
    [
        "mcd.encoder_steps=0",
        "cdan.hidden=0",
        "vada.hidden=-1",
        "co_training.folds=0",
        "wdgrl.critic_steps=-1",
        "dan.kernels=0",
        "self_training.first_fraction=7",
        "adda.source_fraction=2",
        "dann.layers=0",
    ],
)
def test_a_config_refuses_what_a_method_cannot_use(key):
    name, value = key.split("=")
    with pytest.raises(InputError, match=rf"config\.{name} is {value}"):
        configuration.load_config("base", [(name, value)])


def test_more_layers_make_a_deeper_discriminator():
    params = make_method("dann", {"dann": {"layers": 3, "hidden": 5}}).init(jax.random.key(0), DIMS)
    assert [params[f"Dense_{i}"]["bias"].shape for i in range(len(params))] == [(5,)] * 3 + [(1,)]


def test_priors_leave_out_the_classes_that_the_source_lacks():
    settings = {"self_training": {"start": 0.1}, "co_training": {"prior": "0.2,0.3,0.5"}}
    changed = settings_for_classes(settings, (True, False, True))
    assert changed["self_training"] == {"start": 0.1, "prior": "0.5,0,0.5"}
    assert changed["co_training"]["prior"] == "0.285714,0,0.714286"
    assert settings["co_training"]["prior"] == "0.2,0.3,0.5"  # the argument is left as it is
    with pytest.raises(InputError, match=r"config\.co_training\.prior .* 4 shares"):
        settings_for_classes(settings, (True, True, False, True))


@parameters.checked
def mean_matching(*, weight: parameters.NonNegative = 1.0):
    """A method that jdann does not have: both domains get the same mean representation."""

    def loss(params, source, target, context):
        distance = jnp.square(source.representation.mean(0) - target.representation.mean(0)).sum()
        return context.strength * weight * distance, {"mean_distance": distance}

    return term(loss)


@pytest.mark.slow
def test_a_new_method_needs_no_more_than_a_name_in_the_dict(monkeypatch):
    monkeypatch.setitem(METHODS, "mean_matching", mean_matching)
    config = configuration.load_config(
        "base", [("methods", "mean_matching,dann+mean_matching"), ("mean_matching.weight", "3")]
    )
    assert config.mean_matching.weight == 3.0
    with pytest.raises(InputError, match=r"config\.mean_matching\.weight is -1"):
        configuration.load_config("base", [("mean_matching.weight", "-1")])
    program = make_program("mean_matching", epochs=EPOCHS // 2)
    adapted, plain = (
        fit(program, make_toy(), make_hyper(strength)).history["mean_distance"][-1].mean()
        for strength in (1.0, 0.0)
    )
    assert adapted < 0.5 * plain
