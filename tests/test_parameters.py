"""Keyword parameters of factories: read from the signature, refused outside their ranges."""

from typing import Literal

import pytest

from jdann import parameters
from jdann.errors import InputError
from jdann.parameters import Count, Counts, Fraction, checked, pick


@checked
def factory(
    *,
    hidden: Count = 128,
    kind: Literal["hard", "soft"] = "hard",
    channels: Counts = (64, 64),
    dropout: Fraction = 0.3,
    voice: bool = False,
) -> tuple:
    return hidden, kind, channels, dropout, voice


def test_defaults_are_those_of_the_signature():
    expected = {"hidden": 128, "kind": "hard", "channels": (64, 64), "dropout": 0.3, "voice": False}
    assert parameters.defaults(factory) == expected
    assert factory() == tuple(expected.values())
    assert factory(dropout=1) == (128, "hard", (64, 64), 1, False)  # a whole number is a number


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hidden": 0}, "hidden is 0; expected a whole number of at least 1"),
        ({"hidden": 1.5}, "expected a whole number"),
        ({"hidden": True}, "expected a whole number"),
        ({"dropout": 10**400}, "at least 0 and at most 1"),  # too large for a float
        ({"kind": "medium"}, "expected one of hard, soft"),
        ({"channels": ()}, "expected one or more whole numbers"),
        ({"channels": (8, 0)}, "expected one or more whole numbers of at least 1"),
        ({"dropout": 1.1}, "at least 0 and at most 1"),
        ({"dropout": float("nan")}, "at least 0 and at most 1"),
        ({"voice": 1}, "expected true or false"),
        ({"width": 3}, "no such parameter; expected one of hidden, kind"),
    ],
)
def test_values_out_of_range_are_refused_by_a_call_and_by_a_check(values, message):
    with pytest.raises(InputError, match=f"^factory: .*{message}"):
        factory(**values)
    with pytest.raises(InputError, match=rf"^config\.part\..*{message}"):
        parameters.check(factory, values, "config.part.")


@pytest.mark.parametrize("value", [2**31, 10**30, 10**400])
def test_a_number_that_overflows_is_refused(value):
    """JAX holds whole numbers of 32 bits, and one of these does not even fit into a float."""
    with pytest.raises(InputError, match="hidden is 1?.*; expected a whole number of at most 2147"):
        factory(hidden=value)
    assert factory(hidden=2**31 - 1)[0] == 2**31 - 1


def test_a_long_value_is_shortened_in_the_message():
    with pytest.raises(InputError, match="hidden is 'xxx") as raised:
        factory(hidden="x" * 10_000)
    assert len(str(raised.value)) < 200


def test_a_name_picks_from_a_dict_or_is_told_what_is_near():
    assert pick({"adam": 1, "sgd": 2}, "sgd", "config.optimiser.name") == 2
    with pytest.raises(InputError, match="'adan'; did you mean adam\\? choose one of adam, sgd"):
        pick({"adam": 1, "sgd": 2}, "adan", "config.optimiser.name")
