"""Training from disk: the same as from the device."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jdann.data.batches import StoredFrames, TrainingData, read_ahead
from jdann.training.records import EVALUATION_BATCH, outputs
from tests.support.toy_training import BINS, SEEDS, WINDOW, fit, make_program, make_toy


def stored(frames):
    """The same utterances as if on disk; `read` notes how many it is asked for at a time."""
    values, asked = np.asarray(frames.values), []

    def read(rows):
        asked.append(len(rows))
        return (values[frames.start[i] : frames.start[i] + frames.length[i]] for i in rows)

    return StoredFrames(frames.length, WINDOW, BINS, read), asked


@pytest.fixture
def toy_on_disk():
    toy = make_toy(0.0, (2.0, -1.5), 0.0)
    (source, of_source), (target, of_target) = stored(toy.data.source), stored(toy.data.target)
    data = TrainingData(source, np.asarray(toy.data.emotion), np.asarray(toy.data.speaker), target)
    return toy, toy._replace(data=data), (of_source, of_target)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dann+self_training", "adabn"])
def test_it_learns_what_training_from_the_device_learns(toy_on_disk, name, tmp_path):
    toy, on_disk, asked = toy_on_disk
    program = make_program(name, batch_norm=name == "adabn", epochs=2)
    whole, steps = fit(program, toy), fit(program, on_disk, folder=tmp_path)
    for a, b in zip(
        *(jax.tree.leaves((x.state, x.history, x.test_logits, x.criteria)) for x in (whole, steps)),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4)
    batch = len(SEEDS) * program.budget.batch_size
    assert set(asked[0]) | set(asked[1]) == {
        batch,
        4 * EVALUATION_BATCH,
    }  # never the whole corpus


def test_outputs_come_in_the_order_asked_for(toy_on_disk):
    toy, on_disk, _ = toy_on_disk
    program = make_program("adabn", batch_norm=True, epochs=2)
    keys = jax.vmap(jax.random.key)(jnp.asarray(SEEDS, jnp.uint32))
    state = program.training.init(keys)
    rows = np.random.default_rng(0).permutation(240)[:77]
    outputs_of_both = [
        outputs(program.training, state, variant.data.target, rows, "target")
        for variant in (toy, on_disk)
    ]
    for a, b in zip(*outputs_of_both, strict=True):
        assert a.shape[:2] == (len(SEEDS), 77) and np.ptp(a, axis=1).min() > 0
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_what_a_killed_run_had_learnt_is_continued(toy_on_disk, tmp_path):
    _, on_disk, _ = toy_on_disk
    program = make_program("dann+self_training", epochs=2)
    whole = fit(program, on_disk)

    def kill(epoch, means):
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(program, on_disk, folder=tmp_path, on_epoch=kill)
    continued = fit(program, on_disk, folder=tmp_path)
    for a, b in zip(jax.tree.leaves(whole.state), jax.tree.leaves(continued.state), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_next_is_made_while_the_last_is_used_and_its_failure_reaches_the_caller():
    computed = []

    def make(x):
        computed.append(x)
        return 10 // x

    results = read_ahead(make, iter([5, 2, 0]))
    assert next(results) == 2 and next(results) == 5
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert computed == [5, 2, 0]
    assert list(read_ahead(make, [])) == []
