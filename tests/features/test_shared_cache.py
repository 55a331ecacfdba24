"""The feature cache under faults: two processes, a kill, damage, files of other versions."""

import errno
import io
import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from jdann import audio, corpora, locks
from jdann.configuration import base_config
from jdann.errors import InputError
from jdann.features import feature_set, store
from jdann.features.feature_set import DamagedError, read_features
from jdann.features.journal import Journal
from tests.support.corpora import EMOTIONS
from tests.support.processes import kill, line_with, started

EXTRACT = """
import logging, sys, time
from pathlib import Path
from jdann import audio, corpora
from jdann.configuration import base_config
from jdann.features import journal, store
logging.basicConfig(format="%(message)s", level=logging.INFO)
manifest, data, cache, slow = sys.argv[1:]
journal._FLUSH_S = 0.0
store._BATCH = store._DECODED = 4
if slow == "slow":
    flush = journal.Journal.flush
    def slow_flush(self):
        flush(self)
        print(len(self.entries), "kept", file=sys.stderr, flush=True)
        time.sleep(0.1)
    journal.Journal.flush = slow_flush
corpus = corpora.load(manifest, ("neutral", "happy", "angry", "sad", "surprise"), Path(data))
features = store.extract(
    corpus, recipe_name="frames", settings=base_config().features,
    audio_settings=audio.AudioSettings(speech_only=False), cache=Path(cache),
)
for utterance, values in zip(features.utterances, features.read(), strict=True):
    print(utterance.file, values.shape, values.tobytes().hex())
"""


@pytest.fixture
def extracted(tones, tmp_path):
    """Computes the features of six utterances, or finds them; returns the bytes of each."""
    corpus = corpora.load(str(tones[0]), EMOTIONS, tmp_path)
    corpus = corpus._replace(utterances=corpus.utterances[:6])

    def run():
        features = extract(corpus, tmp_path / "cache")
        assert features.utterances == corpus.utterances
        return [values.tobytes() for values in features.read()]

    return run


def extract(corpus, cache):
    return store.extract(
        corpus,
        recipe_name="frames",
        settings=base_config().features,
        audio_settings=audio.AudioSettings(speech_only=False),
        cache=cache,
    )


def only_folder(cache: Path) -> Path:
    (folder,) = cache.iterdir()
    return folder


def npz(**arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def npy(array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def changed_index(data: bytes, **changes) -> bytes:
    """An index with other arrays; None leaves an array out."""
    with np.load(io.BytesIO(data)) as index:
        arrays = dict(index) | changes
    return npz(**{name: array for name, array in arrays.items() if array is not None})


FOREIGN = {
    "empty": lambda data: b"",
    "truncated": lambda data: data[:-3],
    "another text": lambda data: b"something else",
    "zeros": lambda data: bytes(len(data)),
    "an array": lambda data: npy(np.zeros(3)),
    "objects": lambda data: npy(np.array([{}], object)),
    "another archive": lambda data: npz(a=np.zeros(3)),
    "a json list": lambda data: b"[[0], 1]",
    "deep json": lambda data: b"[" * 100_000,
}
INDICES = {
    "an array is missing": {"cut": None},
    "no digest, as by an earlier version, and other lengths": {
        "digest": None,
        "length": np.ones(6, np.int32),
    },
    "other utterances": {"kept": np.arange(1, 7)},
    "fewer utterances": {"kept": np.arange(5)},
    "the same rows twice": {"start": np.zeros(6, np.int64)},
    "another type": {"start": np.zeros(6)},
    "no numbers": {"duration_s": np.array(["a"] * 6)},
}


@pytest.fixture(scope="module")
def six(tones, tmp_path_factory):
    """A corpus of six utterances, and the folder of its features."""
    cache = tmp_path_factory.mktemp("six")
    corpus = corpora.load(str(tones[0]), EMOTIONS, cache)
    corpus = corpus._replace(utterances=corpus.utterances[:6])
    return corpus, extract(corpus, cache)


@pytest.fixture
def copy(six, tmp_path):
    return Path(shutil.copytree(six[1].path.parent, tmp_path / "copy"))


@pytest.mark.parametrize("kind", [*FOREIGN, "missing", "a folder"])
@pytest.mark.parametrize("name", ["values.f32", "index.npz", "skipped.json"])
def test_any_damage_is_noticed(six, copy, name, kind):
    data = (copy / name).read_bytes()
    (copy / name).unlink()
    if kind == "a folder":
        (copy / name).mkdir()
    elif kind != "missing":
        (copy / name).write_bytes(FOREIGN[kind](data))
    with pytest.raises(DamagedError):
        read_features(copy, six[0], six[1].bins)


@pytest.mark.parametrize("changes", INDICES.values(), ids=INDICES)
def test_another_index_is_not_believed(six, copy, changes):
    data = (copy / "index.npz").read_bytes()
    (copy / "index.npz").write_bytes(changed_index(data, **changes))
    with pytest.raises(DamagedError):
        read_features(copy, six[0], six[1].bins)


@pytest.mark.parametrize("changes", [{"digest": None}, {"more": np.zeros(3)}], ids=str)
def test_an_index_of_an_earlier_or_later_version_is_read(six, copy, changes):
    data = (copy / "index.npz").read_bytes()
    (copy / "index.npz").write_bytes(changed_index(data, **changes))
    features = read_features(copy, six[0], six[1].bins)
    assert features is not None
    for values in zip(features.read(), six[1].read(), strict=True):
        np.testing.assert_array_equal(*values)


def test_a_missing_folder_is_no_damage(six, tmp_path):
    assert read_features(tmp_path / "missing", six[0], six[1].bins) is None


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*FOREIGN, "a folder"])
@pytest.mark.parametrize("name", ["values.f32", "journal.jsonl", "index.npz", "skipped.json"])
def test_an_unfinished_folder_of_any_content_is_continued(extracted, tmp_path, name, kind):
    whole = extracted()
    unfinished = interrupt(extracted, tmp_path / "cache")
    file = unfinished / name
    data = file.read_bytes() if file.exists() else b"abcdef"
    file.unlink(missing_ok=True)
    if kind == "a folder":
        file.mkdir()
    else:
        file.write_bytes(FOREIGN[kind](data))
    assert extracted() == whole


@pytest.mark.parametrize(
    "change",
    [
        lambda i, *fields: [i, *fields[:-1]],  # an earlier version wrote no checksum
        lambda i, *fields: [i, *fields, "more"],
        lambda i, *fields: [i + 100, *fields],
        lambda i, *fields: [0, *fields],  # a second time
        lambda i, *fields: [-1, *fields],
        lambda i, *fields: [str(i), *fields],
        lambda i, start, *fields: [i, start + 1, *fields],
        lambda i, start, length, *fields: [i, start, -length, *fields],
        lambda i, start, length, *fields: [i, start, 10**30, *fields],
        lambda i, *fields: {"utterance": i},
    ],
)
def test_a_journal_in_another_format_is_not_believed(tmp_path, change):
    rows = [np.full((n, 2), n, np.float32) for n in (1, 2, 3)]
    with Journal(tmp_path, 2, count=9) as journal:
        for i, values in enumerate(rows):
            journal.add(i, values, duration_s=0.5, cut=False)
    lines = tmp_path / "journal.jsonl"
    first, second, third = lines.read_text().splitlines()
    changed = json.dumps(change(*json.loads(second)))
    lines.write_text("\n".join([first, changed, third, ""]))
    with Journal(tmp_path, 2, count=9) as journal:
        assert list(journal.entries) == [0]
        journal.add(1, rows[1], duration_s=0.5, cut=False)
    stored = np.fromfile(tmp_path / "values.f32", np.float32).reshape(-1, 2)
    np.testing.assert_array_equal(stored, np.concatenate(rows[:2]))


def test_values_that_are_not_those_of_the_journal_are_computed_again(tmp_path):
    with Journal(tmp_path, 2, count=9) as journal:
        journal.add(0, np.ones((3, 2)), duration_s=0.5, cut=False)
    (tmp_path / "values.f32").write_bytes(bytes(3 * 2 * 4))
    with Journal(tmp_path, 2, count=9) as journal:
        assert not journal.entries


def interrupt(extracted, cache: Path) -> Path:
    """Computes the features anew up to an interrupt; returns the unfinished folder."""
    shutil.rmtree(only_folder(cache))

    def interrupted(*_):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(store, "write_features", interrupted)
        extracted()
    return only_folder(cache)


def test_a_reader_keeps_its_features_while_another_process_repairs(tones, tmp_path):
    corpus = corpora.load(str(tones[0]), EMOTIONS, tmp_path)
    corpus = corpus._replace(utterances=corpus.utterances[:6])
    features = extract(corpus, tmp_path / "cache")
    before = [values.tobytes() for values in features.read()]
    (features.path.parent / "index.npz").write_bytes(b"")
    repaired = extract(corpus, tmp_path / "cache")
    # The reader of the damaged folder has the old file; in the new one, rows may be elsewhere.
    repaired.path.write_bytes(bytes(repaired.path.stat().st_size))
    assert [values.tobytes() for values in features.read()] == before


def test_values_that_become_shorter_stop_their_reader_in_one_line(tones, tmp_path):
    corpus = corpora.load(str(tones[0]), EMOTIONS, tmp_path)
    features = extract(corpus._replace(utterances=corpus.utterances[:6]), tmp_path / "cache")
    with features.path.open("r+b") as file:
        file.truncate(10)
    with pytest.raises(InputError, match="has become shorter while it was read") as error:
        list(features.read())
    assert "\n" not in str(error.value)


def test_an_error_that_says_nothing_about_the_content_removes_nothing(
    extracted, tmp_path, monkeypatch
):
    whole = extracted()

    def too_many(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="Too many open files"):
        patch.setattr(feature_set, "OpenFile", too_many)
        extracted()
    monkeypatch.setattr(store, "write_computed", lambda *_: pytest.fail("computed again"))
    assert extracted() == whole


def test_a_second_process_waits_and_reads_what_the_first_computed(extracted, monkeypatch):
    write, begun, go_on, lines, calls = (
        store.write_computed,
        threading.Event(),
        threading.Event(),
        [],
        [],
    )

    def slow_write(*arguments):
        calls.append(1)
        begun.set()
        assert go_on.wait(60)
        write(*arguments)

    def note(text, *values):
        lines.append(text % values)
        go_on.set()

    monkeypatch.setattr(store, "write_computed", slow_write)
    monkeypatch.setattr(locks.log, "warning", note)
    results = []
    # For a lock, another descriptor of the same process is as good as another process.
    first = threading.Thread(target=lambda: results.append(extracted()))
    first.start()
    assert begun.wait(60)
    results.append(extracted())
    first.join()
    assert results[0] == results[1] and len(calls) == 1
    assert len(lines) == 1 and "which has computed these features for" in lines[0]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_a_full_disk_keeps_what_was_computed(extracted, tmp_path, monkeypatch, error):
    whole = extracted()
    shutil.rmtree(only_folder(tmp_path / "cache"))

    def full(*_):
        raise OSError(error, "full")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="full"):
        patch.setattr(store, "write_features", full)
        extracted()
    assert len(only_folder(tmp_path / "cache").joinpath("journal.jsonl").read_text()) > 100
    read = []
    prepare = audio.prepare
    monkeypatch.setattr(
        audio, "prepare", lambda *args, **options: read.append(1) or prepare(*args, **options)
    )
    assert extracted() == whole and not read


@pytest.mark.slow
def test_two_processes_continue_a_killed_one_to_the_same_bytes(tones, tmp_path):
    words = (tones[0], tmp_path)
    with started(EXTRACT, *words, tmp_path / "whole", "fast") as process:
        whole, _ = process.communicate(timeout=120)
    assert len(whole.splitlines()) == 60
    with started(EXTRACT, *words, tmp_path / "cache", "slow") as process:
        line_with(process, "24 kept")
        kill(process)
    with (
        started(EXTRACT, *words, tmp_path / "cache", "slow") as first,
        started(EXTRACT, *words, tmp_path / "cache", "slow") as second,
    ):
        outputs = [process.communicate(timeout=120) for process in (first, second)]
    assert [output for output, _ in outputs] == [whole, whole]
    errors = "".join(error for _, error in outputs)
    assert errors.count("utterances are there already") == 1  # one of them computed the rest
    assert errors.count("which has computed these features for") == 1
    assert only_folder(tmp_path / "cache").name == only_folder(tmp_path / "whole").name
