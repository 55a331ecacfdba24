"""A thousand tables in odd dialects or damaged: no row is lost, doubled or changed without a word.

The seed is printed; set JDANN_CAMPAIGN_SEED to repeat a campaign.
"""

import csv
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import soundfile

from jdann.corpora import Utterance
from jdann.corpora.manifest import load_manifest, read_utterances
from jdann.corpora.tables import read_table
from jdann.errors import InputError
from jdann.experiments.labelled_clips import read_labels
from jdann.inference import model
from jdann.inference.clips import Part
from jdann.inference.items import find_items
from tests.support.models import make_model, speech
from tests.support.mutated_tables import FILES, Table, damaged, faithful

pytestmark = pytest.mark.slow
TABLES, OF_COMMANDS = 1_000, 6
LONGEST_S = 5.0  # until a table is read or refused


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The audio files that rows name."""
    folder = tmp_path_factory.mktemp("audio")
    for i in range(FILES):
        soundfile.write(folder / f"{i} a.wav", speech(0.5, 120 + 10 * i, i), 16000)
    return folder


def random_table(rng) -> Table:
    return faithful(rng) if rng.integers(2) else damaged(rng)


def write(folder: Path, table: Table) -> Path:
    path = folder / f"table{table.suffix}"
    path.write_bytes(table.data)
    return path


def refusal(read, path: Path):
    """What a reader returns, and the one line by which it refuses the table; one is None."""
    begun = time.monotonic()
    try:
        return read(path), None
    except InputError as error:
        line = str(error)
        assert len(line.splitlines()) == 1 and str(path) in line, line
        return None, line
    finally:
        assert time.monotonic() - begun < LONGEST_S


def contains_in_order(values, expected) -> bool:
    rest = iter(values)
    return all(any(value == other for other in rest) for value in expected)


def check_count(n_rows: int, table: Table) -> None:
    assert 0 <= n_rows - len(table.rows) <= table.may_split, f"{n_rows} rows"


def check_as_manifest(path: Path, table: Table, expected: list[Utterance]) -> None:
    """Training: each row is an utterance, or is reported as missing or as repeated."""
    corpus, refused = refusal(load_manifest, path)
    if refused is not None:
        assert table.may_be_refused, refused
        return
    repeated = [re.match(r"([\d,]+) rows? repeat", note) for note in corpus.notes]
    n_repeated = sum(int(match[1].replace(",", "")) for match in repeated if match)
    check_count(len(corpus.utterances) + len(corpus.skipped) + n_repeated, table)
    assert contains_in_order(corpus.utterances, list(dict.fromkeys(expected)))


def check_for_prediction(path: Path, table: Table, expected: list[Utterance]) -> None:
    """`jdann predict`: each row is a clip, and its other cells are kept."""
    items, refused = refusal(lambda path: find_items([str(path)]), path)
    if refused is not None:
        assert table.may_be_refused, refused
        return
    check_count(len(items), table)
    parts = [Part(Path(u.path), u.start_s, u.end_s) for u in expected]
    assert contains_in_order([item.part for item in items], parts)
    rows = [row for row in table.rows if row is not None]
    notes = [item.columns.get("note", "") for item in items]
    assert contains_in_order(notes, [row.cells["note"] for row in rows])


def check_as_labels(path: Path, table: Table, expected: list[Utterance]) -> None:
    """`jdann evaluate RUN TABLE`: each clip is labelled once."""
    labels, refused = refusal(read_labels, path)
    if refused is not None:
        assert table.may_be_refused, refused
        return
    check_count(len(labels) + (table.kind == "doubled row"), table)
    found = [(*label.place, label.emotion, label.speaker) for label in labels]
    wanted = [(u.file, u.start_s, u.end_s, u.emotion, u.speaker) for u in expected]
    assert contains_in_order(found, list(dict.fromkeys(wanted)))


def test_each_row_is_read_as_it_is_or_reported(rng, folder, tmp_path):
    outcomes: Counter[tuple[str, str]] = Counter()
    for number in range(TABLES):
        table = random_table(rng)
        path = write(folder, table)
        kept = tmp_path / f"{number}{table.suffix}"  # for whoever looks at a failure
        kept.write_bytes(table.data)
        expected = [row.utterance(folder) for row in table.rows if row is not None]
        rows, refused = refusal(lambda path: list(read_utterances(path, read_table(path))), path)
        if refused is None:
            check_count(len(rows), table)
            assert contains_in_order([utterance for _, utterance in rows], expected), kept
        else:
            assert table.may_be_refused, (kept, refused)
        for check in (check_as_manifest, check_for_prediction, check_as_labels):
            check(path, table, expected)
        outcomes[table.kind, "read" if refused is None else "refused"] += 1
        kept.unlink()
        path.unlink()
    for (kind, outcome), count in sorted(outcomes.items()):
        print(f"{kind}: {outcome} {count}")


def run(*words) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jdann", *map(str, words)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    assert "Traceback" not in done.stderr, done.stderr
    if done.returncode == 2:
        errors = [line.startswith("jdann: ") for line in done.stderr.splitlines()]
        assert not done.stdout and errors[-1] and sum(errors) == 1, done.stderr
    return done


def test_the_commands_answer_or_report_each_row(rng, folder, tmp_path):
    recogniser, answers = tmp_path / "model", tmp_path / "answers.csv"
    model.save_model(recogniser, make_model(members=1))
    for _ in range(OF_COMMANDS):
        table = random_table(rng)
        path = write(folder, table)
        items, refused = refusal(lambda path: find_items([str(path)]), path)
        done = run("predict", recogniser, path, "--csv", answers)
        left_out = re.findall(r"^left out: ", done.stderr, re.M)
        if refused is not None:
            assert done.returncode == 2
        elif done.returncode != 2:  # 2: no clip can be used, since they start after their end
            with answers.open(newline="", encoding="utf-8") as file:
                assert len(list(csv.DictReader(file))) + len(left_out) == len(items)
            assert done.returncode == (1 if left_out else 0)
        _, refused = refusal(load_manifest, path)
        assert run("corpora", path).returncode == (0 if refused is None else 2)
        _, refused = refusal(read_labels, path)
        # 2 also where no clip can be scored, because it starts after its end.
        assert run("evaluate", recogniser, path).returncode in ((0, 2) if refused is None else (2,))
        path.unlink()
