"""ESD as a TFDS dataset: bit for bit, without TensorFlow, and never incomplete."""

import json
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import soundfile
import tensorflow_datasets as tfds
from tensorflow_datasets.core import constants

from jdann import locks
from jdann.corpora import describe, fingerprint, prepared
from jdann.corpora.demo import MARKER
from jdann.corpora.index import Skipped
from jdann.errors import InputError
from jdann.files import default_data_dir

FILES = {  # numbers of samples; official, flat and other layouts are mixed
    "0003/惊喜/0003_001401.wav": 1000,
    "0003/Neutral/train/0003_000051.wav": 700,
    "0011/Angry/test/0011_000371.wav": 1,
    "0011/Angry/0011_000351.wav": 65537,
    "0011/Sad/0011_001051.wav": 900,
}


def samples_of(file):
    rng = np.random.default_rng(list(file.encode()))
    return rng.integers(-32768, 32768, FILES[file]).astype(np.int16)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A tiny ESD with two bad files, one of them bad only below its header."""
    root = tmp_path_factory.mktemp("ESD")
    for file in FILES:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root / file, samples_of(file), 16000, subtype="PCM_16")
    (root / "0011/Sad/0011_001052.wav").write_bytes(b"not audio")
    soundfile.write(root / "0011/Sad/0011_001053.wav", np.zeros(0, np.int16), 16000)
    (root / "0011/0011.txt").write_bytes("0011_000351\tDon’t.\tAngry\n".encode("utf-16-le"))
    return root


@pytest.fixture(scope="module")
def data_dir(root, tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("tfds")
    prepared_corpus = prepared.prepare_esd(root, data_dir)
    assert not prepared_corpus.existed_before
    return data_dir


def test_samples_and_labels_are_read_back(root, data_dir):
    corpus = prepared.load_prepared(data_dir)
    assert sorted(u.file for u in corpus.utterances) == sorted(FILES)
    for utterance in corpus.utterances:
        samples, sample_rate_hz = corpus.read(utterance)
        assert samples.dtype == np.int16
        assert samples.flags.writeable
        np.testing.assert_array_equal(samples, samples_of(utterance.file))
        assert sample_rate_hz == 16000
        assert utterance.duration_s == FILES[utterance.file] / 16000
        assert utterance.path == ""
    by_file = {u.file: u for u in corpus.utterances}
    assert by_file["0011/Angry/test/0011_000371.wav"][2:9] == (
        "angry",
        "0011",
        "en",
        "male",
        "21",
        "esd",
        "test",
    )
    assert by_file["0003/惊喜/0003_001401.wav"][2:9] == (
        "surprise",
        "0003",
        "zh",
        "female",
        "1",
        "esd",
        "evaluation",
    )
    assert corpus.description == "ESD"
    assert not corpus.synthetic
    assert describe(corpus).hours == pytest.approx(sum(FILES.values()) / 16000 / 3600)


def test_bad_files_are_listed_and_the_rest_goes_on(data_dir):
    skipped = prepared.load_prepared(data_dir).skipped
    assert [s.file for s in skipped] == ["0011/Sad/0011_001052.wav", "0011/Sad/0011_001053.wav"]
    assert skipped[1] == Skipped("0011/Sad/0011_001053.wav", "no samples")


def test_tfds_itself_reads_it_with_the_transcripts(data_dir):
    builder = tfds.builder_from_directory(data_dir / "esd" / "1.0.0")
    assert sorted(builder.info.splits) == ["speaker_0003", "speaker_0011"]
    texts = {
        record["file"].decode(): record["text"].decode()
        for record in builder.as_data_source("speaker_0011")
    }
    assert texts["0011/Angry/0011_000351.wav"] == "Don’t."
    assert texts["0011/Sad/0011_001051.wav"] == ""


def test_reading_from_threads_and_after_pickling(data_dir):
    corpus = prepared.load_prepared(data_dir)
    repeated = pickle.loads(pickle.dumps(corpus))
    with ThreadPoolExecutor(4) as pool:
        for utterance, (samples, _) in zip(
            repeated.utterances * 20, pool.map(repeated.read, repeated.utterances * 20), strict=True
        ):
            np.testing.assert_array_equal(samples, samples_of(utterance.file))


def test_a_second_call_does_nothing_unless_forced(root, data_dir, monkeypatch):
    written = {path: path.stat().st_mtime_ns for path in (data_dir / "esd" / "1.0.0").iterdir()}
    before = fingerprint(prepared.load_prepared(data_dir))
    monkeypatch.setattr(prepared, "_write", None)
    repeated = prepared.prepare_esd(root, data_dir)
    assert repeated.existed_before
    assert (repeated.utterances, repeated.speakers, repeated.root) == (5, 2, str(root))
    assert written == {
        path: path.stat().st_mtime_ns for path in (data_dir / "esd" / "1.0.0").iterdir()
    }
    monkeypatch.undo()
    assert not prepared.prepare_esd(root, data_dir, force=True).existed_before
    assert fingerprint(prepared.load_prepared(data_dir)) == before, (
        "the samples are the same, so a cache must stay valid"
    )


def test_other_samples_have_another_fingerprint(root, data_dir, tmp_path):
    shutil.copytree(root, tmp_path / "ESD")
    changed = samples_of("0011/Sad/0011_001051.wav")
    changed[7] += 1
    soundfile.write(tmp_path / "ESD/0011/Sad/0011_001051.wav", changed, 16000, subtype="PCM_16")
    prepared.prepare_esd(tmp_path / "ESD", tmp_path / "tfds")
    assert fingerprint(prepared.load_prepared(tmp_path / "tfds")) != fingerprint(
        prepared.load_prepared(data_dir)
    )


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt),
        (OSError(28, "No space left on device"), InputError),
    ],
)
def test_interrupted_preparation_leaves_nothing(root, tmp_path, monkeypatch, error, expected):
    def transcripts(_, utterances):
        if utterances[0].speaker == "0011":  # the second speaker, after the first one's records
            raise error
        return {}

    monkeypatch.setattr(prepared, "_transcripts", transcripts)
    message = "No space left on device" if expected is InputError else None
    with pytest.raises(expected, match=message):
        prepared.prepare_esd(root, tmp_path)
    assert not list(tmp_path.glob("esd/*"))
    assert not prepared.is_prepared(tmp_path)
    monkeypatch.undo()
    assert prepared.prepare_esd(root, tmp_path).utterances == 5


def test_folders_that_cannot_be_written(root, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(
        InputError,
        match=r"file: cannot be written \(.*\); "
        r"make room, or choose another folder with --data-dir",
    ):
        prepared.prepare_esd(root, tmp_path / "file")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2**20))
    with pytest.raises(InputError, match=r"1 MiB are free, ESD needs 2 MiB; make room"):
        prepared.prepare_esd(root, tmp_path / "data")
    assert not list(tmp_path.glob("data/*"))


def test_folders_that_are_no_esd(tmp_path):
    (tmp_path / "a.wav").touch()
    with pytest.raises(InputError, match=r"is not ESD; expected files named like 0011_000351\.wav"):
        prepared.prepare_esd(tmp_path, tmp_path / "data")
    (tmp_path / "a.wav").rename(tmp_path / "0011_000351.wav")
    with pytest.raises(
        InputError, match=r"none of its 1 files can be read, e\.g\. 0011_000351\.wav: "
    ):
        prepared.prepare_esd(tmp_path, tmp_path / "data")


def test_other_files_in_the_place_of_the_dataset_are_left_alone(root, tmp_path):
    (tmp_path / "esd/1.0.0").mkdir(parents=True)
    (tmp_path / "esd/1.0.0/precious").touch()
    with pytest.raises(
        InputError, match=r"exists, but its preparation is not complete; move it away"
    ):
        prepared.prepare_esd(root, tmp_path)
    assert (tmp_path / "esd/1.0.0/precious").exists()


def test_damaged_and_absent_datasets(data_dir, tmp_path):
    with pytest.raises(
        InputError, match=r"ESD has not been prepared there; run `jdann prepare esd FOLDER`"
    ):
        prepared.load_prepared(tmp_path)
    shutil.copytree(data_dir / "esd", tmp_path / "esd")
    (tmp_path / "esd/1.0.0/metadata.json").write_text("{")
    with pytest.raises(
        InputError, match=r"the prepared ESD cannot be read .*; prepare it again with --force"
    ):
        prepared.load_prepared(tmp_path)


FOREIGN = {
    "empty": lambda data: b"",
    "truncated": lambda data: data[: len(data) // 2],
    "another file": lambda data: b"\x89PNG\r\n\x00\xff",
    "a list": lambda data: b"[1, 2]",
    "a dict": lambda data: b'{"a": 1}',
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_file_in_any_place_is_refused_and_force_mends_it(root, data_dir, tmp_path, kind):
    dataset = tmp_path / "esd" / "1.0.0"
    for name in sorted(path.name for path in (data_dir / "esd" / "1.0.0").iterdir()):
        shutil.rmtree(tmp_path / "esd", ignore_errors=True)
        shutil.copytree(data_dir / "esd", tmp_path / "esd")
        (dataset / name).write_bytes(FOREIGN[kind]((dataset / name).read_bytes()))
        with pytest.raises(InputError, match="prepare it again with --force") as error:
            prepared.load_prepared(tmp_path)
        assert "\n" not in str(error.value)
    prepared.prepare_esd(root, tmp_path, force=True)
    assert len(prepared.load_prepared(tmp_path).utterances) == len(FILES)


def test_metadata_of_another_version_is_refused(data_dir, tmp_path):
    shutil.copytree(data_dir / "esd", tmp_path / "esd")
    file = tmp_path / "esd" / "1.0.0" / "metadata.json"
    metadata = json.loads(file.read_text())
    changes = [{key: None} for key in ("utterances", "skipped", "notes")]
    changes += [{"utterances": metadata["utterances"][1:]}, {"utterances": [{"path": "a"}]}]
    for changed in [metadata | change for change in changes] + [
        {name: value for name, value in metadata.items() if name != key} for key in metadata
    ]:
        file.write_text(json.dumps(changed))
        with pytest.raises(InputError, match="prepare it again with --force"):
            prepared.load_prepared(tmp_path)


def test_a_reader_of_a_replaced_dataset_gets_no_other_samples(root, data_dir, tmp_path):
    shutil.copytree(data_dir / "esd", tmp_path / "data" / "esd")
    corpus = prepared.load_prepared(tmp_path / "data")
    corpus = pickle.loads(pickle.dumps(corpus))  # it opens the files again when it reads
    shutil.copytree(root, tmp_path / "ESD")
    first = "0011/Angry/0011_000351.wav"
    (tmp_path / "ESD" / first).unlink()
    prepared.prepare_esd(tmp_path / "ESD", tmp_path / "data", force=True)
    utterances = {utterance.file: utterance for utterance in corpus.utterances}
    with pytest.raises((InputError, ValueError, IndexError)):
        corpus.read(utterances[first])


@pytest.mark.parametrize("name", ["put_in_place", "_write", "_load_usable"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_what_fails_leaves_the_dataset_before(root, data_dir, tmp_path, monkeypatch, name, error):
    shutil.copytree(data_dir / "esd", tmp_path / "esd")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def fail(*_):
        raise error

    module = prepared.folders if name == "put_in_place" else prepared
    monkeypatch.setattr(module, name, fail)
    expected = InputError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        prepared.prepare_esd(root, tmp_path, force=True)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_a_second_process_waits_and_prepares_nothing(root, tmp_path, monkeypatch):
    write, begun, go_on, lines, calls = prepared._write, Event(), Event(), [], []

    def slow_write(builder):
        calls.append(1)
        begun.set()
        assert go_on.wait(60)
        write(builder)

    def note(text, *values):
        lines.append(text % values)
        go_on.set()

    monkeypatch.setattr(prepared, "_write", slow_write)
    monkeypatch.setattr(locks.log, "warning", note)
    with ThreadPoolExecutor(1) as pool:
        # For a lock, another descriptor of the same process is as good as another process.
        first = pool.submit(prepared.prepare_esd, root, tmp_path)
        assert begun.wait(60)
        second = prepared.prepare_esd(root, tmp_path)
    assert second.existed_before and not first.result().existed_before and len(calls) == 1
    assert len(lines) == 1 and "which has prepared ESD there for" in lines[0]
    assert [path.name for path in tmp_path.iterdir()] == ["esd"]


def test_other_forms_of_audio(tmp_path):
    """Float, 24 bit and stereo come out as the nearest 16 bit of the channels' mean."""
    wave = np.linspace(-1, 1, 400)
    for file, samples, subtype in (
        ("a", wave, "FLOAT"),
        ("b", wave, "PCM_24"),
        ("c", np.stack([wave, 0 * wave], 1), "FLOAT"),
    ):
        soundfile.write(tmp_path / f"{file}.wav", samples, 8000, subtype=subtype)
    for file, expected in (("a", wave), ("b", wave), ("c", wave / 2)):
        samples, sample_rate_hz = prepared._decode(str(tmp_path / f"{file}.wav"))
        assert sample_rate_hz == 8000
        np.testing.assert_allclose(samples, np.clip(expected * 32768, -32768, 32767), atol=0.51)
    soundfile.write(tmp_path / "d.wav", np.array([0.0, np.nan]), 8000, subtype="FLOAT")
    with pytest.raises(ValueError, match="not finite"):
        prepared._decode(str(tmp_path / "d.wav"))


def test_a_prepared_demo_corpus_stays_synthetic(root, tmp_path):
    shutil.copytree(root, tmp_path / "demo")
    (tmp_path / "demo" / MARKER).write_text("{}")
    prepared.prepare_esd(tmp_path / "demo", tmp_path)
    corpus = prepared.load_prepared(tmp_path)
    assert corpus.synthetic
    assert corpus.description == "demo corpus (synthesised speech)"


def test_the_default_folder_is_tfds_own(monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert default_data_dir() == tmp_path
    monkeypatch.delenv("TFDS_DATA_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_data_dir() == Path(constants.get_default_data_dir()).expanduser()


def test_tensorflow_is_never_imported(root, tmp_path):
    """And neither preparing nor reading prints to standard output."""
    script = f"""
import sys
from pathlib import Path
from jdann.corpora import load
from jdann.corpora.prepared import prepare_esd
prepare_esd(Path({str(root)!r}), Path({str(tmp_path)!r}))
corpus = load("esd:en", ("angry",), Path({str(tmp_path)!r}))
corpus.read(corpus.utterances[0])
assert "tensorflow" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
