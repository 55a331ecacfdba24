"""Published estimates of an accuracy find it where what they assume is true."""

import importlib
from pathlib import Path

import jax
import numpy as np
import pytest

from jdann.methods import discriminant

FOLDER = Path(__file__).parents[2] / "benchmarks"
SHRINKAGE = 0.5


@pytest.fixture
def peers(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("trust_peers")


def test_independent_annotators_are_told_apart(peers):
    random = np.random.default_rng(0)
    truth = random.integers(0, 4, 2000)
    answers = []
    for right in (0.9, 0.7, 0.5):
        other = (truth + random.integers(1, 4, len(truth))) % 4
        answers.append(np.where(random.random(len(truth)) < right, truth, other))
    measured = [float((answer == truth).mean()) for answer in answers]
    assert peers.accuracies_of_annotators(answers, 4) == pytest.approx(measured, abs=0.04)


def draw(n, random):
    """Speakers, classes and values that a discriminant tells apart for the most part."""
    label = random.integers(0, 3, n)
    centres = np.eye(3, 6) * 1.5
    values = centres[label] + random.normal(size=(n, 6))
    return [str(i % 10) for i in range(n)], label, jax.numpy.asarray(values, "float32")


def label_by(source, labels, target):
    model = discriminant.fit(source, jax.nn.one_hot(labels, 3), SHRINKAGE)
    return np.asarray(jax.nn.softmax(discriminant.logits(model, target)))


def test_without_a_shift_the_estimates_from_the_source_are_right(peers):
    random = np.random.default_rng(1)
    speakers, labels, source = draw(1500, random)
    _, truth, target = draw(1500, random)
    alone = label_by(source, labels, target)
    ways = {"alone": alone, "again": alone}
    values = peers.measure(
        peers.Labelled(source, labels, speakers, target, ways, alone, "alone", "again"), SHRINKAGE
    )
    accuracy = float((alone.argmax(1) == truth).mean())
    assert 0.6 < accuracy < 0.95
    assert values[peers.DIFFERENCE] == pytest.approx(accuracy, abs=0.04)
    assert values[peers.THRESHOLD] == pytest.approx(accuracy, abs=0.04)
    assert values[peers.DRAWS] == values[peers.AGREEMENT] == 1
    assert set(values) == set(peers.PEERS)


def test_a_moved_target_has_a_longer_way_and_a_worse_way_back(peers):
    random = np.random.default_rng(2)
    speakers, labels, source = draw(600, random)
    _, _, near = draw(600, random)
    values = {}
    for name, target in (("near", near), ("far", near[:, ::-1])):
        way = label_by(source, labels, target)
        labelled = peers.Labelled(
            source, labels, speakers, target, {"alone": way}, way, "alone", "alone"
        )
        values[name] = peers.measure(labelled, SHRINKAGE)
    assert values["far"][peers.NORM] > values["near"][peers.NORM]
    assert values["far"][peers.REVERSE] < values["near"][peers.REVERSE]
