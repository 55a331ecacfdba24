"""Hundreds of random changes of model folders and exports: none gives another answer.

Each change is refused in one line, or it changes no answer. The seed is printed; set
JDANN_CAMPAIGN_SEED to repeat a campaign.
"""

import json
import shutil
import subprocess
import sys
import time
import zipfile
from collections import Counter

import jax
import numpy as np
import pytest

from jdann.errors import InputError
from jdann.inference import export, model
from jdann.inference.card import FREE_TEXT
from jdann.inference.recogniser import Recogniser
from tests.support.models import make_model, make_model_of_vectors, speech
from tests.support.random_tampers import change_bytes, change_json, tamper
from tests.support.tampering import as_earlier

pytestmark = pytest.mark.slow
LONGEST_S = 5.0  # until a changed file is refused, or answers
OF_FOLDERS, OF_EARLIER_FOLDERS, OF_EXPORTS, OF_COMMANDS = 500, 200, 300, 12
VECTORS = np.random.default_rng(0).normal(0, 2, (4, 6)).astype(np.float32)
CLIPS = speech(0.5)[None], np.array([8000], np.int32)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A model, and another one with other arrays and labels in another order."""
    parent = tmp_path_factory.mktemp("models")
    model.save_model(parent / "model", make_model_of_vectors())
    second = make_model_of_vectors(seed=1)
    second.card["labels"].reverse()
    model.save_model(parent / "second", second)
    return parent / "model", parent / "second"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "model.jdann"
    export.write(Recogniser.of(make_model(members=1)), path)
    return path


def answers(folder):
    """The labels, the probabilities of VECTORS and the doubts of a model in a folder."""
    recogniser = Recogniser.load(folder)
    rows = [answer for _, answer in recogniser.answers(list(VECTORS))]
    return recogniser.labels, np.array([r.probabilities for r in rows]), [r.doubt for r in rows]


def assert_same_model(loaded: model.Model, expected: model.Model) -> None:
    """All but the free text is the same."""
    cards = [
        {key: value for key, value in m.card.items() if key not in FREE_TEXT}
        for m in (loaded, expected)
    ]
    assert cards[0] == cards[1]
    jax.tree.map(np.testing.assert_array_equal, loaded[:2], expected[:2])
    jax.tree.map(np.testing.assert_array_equal, loaded[3:], expected[3:])


def refusal(work) -> str | None:
    """The one line by which changed files are refused, or None; either comes soon."""
    begun = time.monotonic()
    line = None
    try:
        work()
    except InputError as error:
        line = str(error)
        assert line and len(line.splitlines()) == 1, line
    assert time.monotonic() - begun < LONGEST_S
    return line


def test_changed_folders_are_refused_or_answer_the_same(rng, folders, tmp_path):
    whole, second = folders
    expected_model = model.load_model(whole)
    labels, probabilities, doubts = answers(whole)
    outcomes: Counter[tuple[str, str]] = Counter()

    def check(folder):
        assert_same_model(model.load_model(folder), expected_model)
        now = answers(folder)
        assert now[0] == labels and now[2] == doubts
        np.testing.assert_array_equal(now[1], probabilities)

    for number in range(OF_FOLDERS):
        folder = shutil.copytree(whole, tmp_path / str(number))
        kind = tamper(rng, folder, second)
        line = refusal(lambda folder=folder: check(folder))
        outcomes[kind, "same answers" if line is None else "refused"] += 1
    for (kind, outcome), count in sorted(outcomes.items()):
        print(f"{kind}: {outcome} {count}")
    assert sum(n for (_, outcome), n in outcomes.items() if outcome == "refused") > OF_FOLDERS / 2


def test_changed_folders_of_earlier_versions_end_in_one_line_or_answer(rng, folders, tmp_path):
    """They have no digest, so another answer is possible. An error of another kind is not."""
    whole, second = folders
    outcomes: Counter[str] = Counter()
    for number in range(OF_EARLIER_FOLDERS):
        folder = shutil.copytree(whole, tmp_path / str(number))
        as_earlier(folder, 4)
        tamper(rng, folder, second)
        line = refusal(lambda folder=folder: answers(folder))
        outcomes["answered" if line is None else "refused"] += 1
    print(dict(outcomes))
    assert outcomes["refused"] > OF_EARLIER_FOLDERS / 4


def tamper_export(rng, whole: bytes, path) -> None:
    """Writes an export of which bytes, the card, the program or the members were changed."""
    path.write_bytes(whole)
    if rng.random() < 0.5:
        path.write_bytes(change_bytes(rng, whole))
        return
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    match rng.integers(4):
        case 0:
            members["program.bin"] = change_bytes(rng, members["program.bin"])
        case 1:
            del members[sorted(members)[rng.integers(2)]]
        case _:
            card = json.loads(members["card.json"])
            change_json(rng, card)
            members["card.json"] = json.dumps(card).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)


def test_changed_exports_are_refused_or_answer_the_same(rng, exported, tmp_path):
    whole, program = exported.read_bytes(), export.Exported(exported)
    labels, probabilities = program.labels, program(*CLIPS)
    outcomes: Counter[str] = Counter()

    def check(path):
        changed = export.Exported(path)
        assert changed.labels == labels
        np.testing.assert_array_equal(changed(*CLIPS), probabilities)

    for number in range(OF_EXPORTS):
        path = tmp_path / f"{number}.jdann"
        tamper_export(rng, whole, path)
        line = refusal(lambda path=path: check(path))
        outcomes["same answers" if line is None else "refused"] += 1
    print(dict(outcomes))
    assert outcomes["refused"] > OF_EXPORTS / 2


def test_the_command_refuses_with_one_line_and_status_2(rng, folders, tmp_path):
    whole, second = folders
    (tmp_path / "clip.wav").write_bytes(b"")
    refused = 0
    while refused < OF_COMMANDS:
        folder = tmp_path / "model"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, folder)
        tamper(rng, folder, second)
        if refusal(lambda folder=folder: model.load_model(folder)) is None:
            continue
        refused += 1
        command = [
            sys.executable,
            "-m",
            "jdann",
            "predict",
            str(folder),
            str(tmp_path / "clip.wav"),
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 2 and not done.stdout
        assert len(done.stderr.splitlines()) == 1 and str(folder) in done.stderr, done.stderr
