"""Gathering batches from the flat storage, and the order of an epoch."""

import jax
import jax.numpy as jnp
import numpy as np

from jdann.data.batches import Frames, StoredFrames, Target, append, epoch_order, take


def test_take_pads_with_zeros_and_never_shows_a_neighbour():
    values = np.arange(1, 25, dtype=np.float16).reshape(12, 2)
    values = np.concatenate([values, np.zeros((5, 2), np.float16)])
    frames = Frames(jnp.asarray(values), np.array([0, 3, 10]), np.array([3, 7, 2]))
    features, _ = jax.jit(take, static_argnums=2)(frames, jnp.array([2, 0, 1]), 7)
    assert features.shape == (3, 7, 2)
    for row, (start, length) in enumerate([(10, 2), (0, 3), (3, 7)]):
        np.testing.assert_array_equal(features[row, :length], values[start : start + length])
        assert not features[row, length:].any()


def test_take_cuts_a_part_of_what_is_longer_than_the_window():
    values = np.concatenate(
        [np.arange(10, dtype=np.float16)[:, None], np.zeros((4, 1), np.float16)]
    )
    frames = Frames(jnp.asarray(values), np.array([0, 8]), np.array([8, 2]))
    features, length = take(frames, jnp.array([0, 0, 0, 1]), 4, jnp.array([0.0, 0.5, 0.999, 0.9]))
    np.testing.assert_array_equal(length, [4, 4, 4, 2])
    np.testing.assert_array_equal(
        features[..., 0], [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7], [8, 9, 0, 0]]
    )


def random_utterances(seed, lengths):
    random = np.random.default_rng(seed)
    return [random.normal(size=(length, 2)).astype(np.float16) for length in lengths]


def put_on_device(utterances, window):
    length = np.array([len(x) for x in utterances], np.int32)
    values = np.concatenate([*utterances, np.zeros((window, 2), np.float16)])
    return Frames(jnp.asarray(values), (np.cumsum(length) - length).astype(np.int32), length)


def test_appended_utterances_are_taken_as_from_their_own_domain():
    window, rows = 6, np.array([3, 1])
    first, second = random_utterances(0, (4, 2, 6)), random_utterances(1, (5, 3, 1, 6))
    both = append(put_on_device(first, window), put_on_device(second, window), rows)
    taken, length = take(both, jnp.arange(5), window)
    expected, _ = take(put_on_device([*first, second[3], second[1]], window), jnp.arange(5), window)
    np.testing.assert_array_equal(taken, expected)
    np.testing.assert_array_equal(length, [4, 2, 6, 6, 3])
    assert append(both, both, rows[:0]) is both


def test_appended_utterances_are_read_from_disk_in_the_order_wanted():
    def store(utterances):
        length = np.array([len(x) for x in utterances], np.int32)
        return StoredFrames(length, 6, 2, lambda rows: iter([utterances[row] for row in rows]))

    first, second = random_utterances(0, (4, 2, 6)), random_utterances(1, (5, 3, 1, 6))
    both = append(store(first), store(second), np.array([3, 1]))
    expected = [second[1], first[0], second[3], first[2], second[1]]
    for features, wanted in zip(both.read([4, 0, 3, 2, 4]), expected, strict=True):
        np.testing.assert_array_equal(features, wanted)
    np.testing.assert_array_equal(both.length, [4, 2, 6, 6, 3])


def test_a_target_batch_has_no_label_field():
    assert Target._fields == (
        "features",
        "length",
        "pseudo_labels",
        "representation",
        "logits",
    )


def test_every_utterance_is_drawn_before_any_is_drawn_again():
    rows, group = np.array([3, 5, 8, 13, 21]), np.zeros(5, int)
    order = epoch_order(rows, group, steps=4, batch_size=3, seed=(0, 1, 2)).reshape(-1)
    assert sorted(order[:5]) == sorted(order[5:10]) == list(rows)
    np.testing.assert_array_equal(order.reshape(4, 3), epoch_order(rows, group, 4, 3, (0, 1, 2)))
    assert (order != epoch_order(rows, group, 4, 3, (0, 1, 3)).reshape(-1)).any()


def test_a_small_group_fills_as_much_of_a_batch_as_a_large_one():
    rows, group = np.arange(10, 23), np.array([2] * 10 + [5] * 3)
    order = epoch_order(rows, group, steps=6, batch_size=4, seed=(0, 0, 0))
    assert ((order >= 20).sum(1) == 2).all()  # the three of the small group are two of every four
    counts = np.bincount(order.reshape(-1), minlength=23)
    assert counts[10:20].sum() == counts[20:].sum() == 12
    assert np.ptp(counts[10:20]) <= 1 and np.ptp(counts[20:]) == 0
    odd = epoch_order(rows, group, steps=4, batch_size=5, seed=(0, 0, 0))
    assert {int(n) for n in (odd >= 20).sum(1)} == {2, 3} and (odd >= 20).sum() == 10
