"""Programs that are traced once and kept: what finds them, what replaces them, and start-up."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import jax
import numpy as np
import pytest
import soundfile

from jdann import program_cache
from jdann.inference import model
from jdann.inference.recogniser import Recogniser
from tests.support.models import make_model, speech
from tests.support.recordings import noise, voice

CLIP = speech(0.9)
# A short look does not tell whether all of it is speech, so that the finder of speech runs.
PAUSED_CLIP = np.concatenate([voice(0.9, 150), noise(2.0, 0.005), voice(0.9, 150)])
# What takes long to import and a kept program does without.
HEAVY = (
    "flax",
    "librosa",
    "optax",
    "orbax",
    "tensorflow_datasets",
    "matplotlib",
    "sklearn",
    "huggingface_hub",
    "jdann.pretrained.load",  # only models with an encoder need it
    "jdann.features.store",  # the finder of speech needs other modules of jdann.features
)


@pytest.fixture
def folder(tmp_path):
    """An empty folder as JAX's compilation cache, and where traced programs lie in it."""
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    yield tmp_path / "traced"
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.fixture(scope="module")
def loaded_model():
    return make_model()


def probabilities(loaded_model):
    """Of the clip, and whether anything was traced for it."""
    recogniser = Recogniser.of(loaded_model)
    return recogniser.probabilities([CLIP], 16000), "inference" in vars(recogniser.programs)


@pytest.mark.slow
def test_a_kept_program_is_not_traced_again_and_says_the_same(loaded_model, folder):
    expected, traced = probabilities(loaded_model)
    assert traced and len(list(folder.iterdir())) == 1
    rows, traced = probabilities(loaded_model)
    assert not traced
    np.testing.assert_array_equal(rows, expected)
    jax.config.update("jax_compilation_cache_dir", None)
    rows, traced = probabilities(loaded_model)
    assert traced and len(list(folder.iterdir())) == 1
    np.testing.assert_allclose(rows, expected, atol=1e-6)


@pytest.mark.slow
def test_a_damaged_program_is_made_anew(loaded_model, folder):
    expected, _ = probabilities(loaded_model)
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], whole[:-1] + bytes([whole[-1] ^ 1])):
        path.write_bytes(damaged)
        rows, traced = probabilities(loaded_model)
        assert traced
        np.testing.assert_array_equal(rows, expected)
        assert not probabilities(loaded_model)[1]


@pytest.mark.slow
def test_a_program_of_another_source_version_or_config_is_not_taken(
    loaded_model, folder, monkeypatch
):
    probabilities(loaded_model)
    with monkeypatch.context() as patch:
        patch.setattr(program_cache, "_source", lambda: "changed")
        assert probabilities(loaded_model)[1]
    with monkeypatch.context() as patch:
        patch.setattr(program_cache, "version", lambda package: "99")
        assert probabilities(loaded_model)[1]
    config = loaded_model.card["config"]
    changed = {**config, "features": {**config["features"], "normalise": "none"}}
    assert probabilities(loaded_model._replace(card={**loaded_model.card, "config": changed}))[1]
    assert len(list(folder.iterdir())) == 4


@pytest.mark.slow
def test_where_nothing_can_be_written_it_works_all_the_same(loaded_model, folder):
    folder.parent.joinpath("traced").write_text("a file, no folder")
    assert np.isfinite(probabilities(loaded_model)[0]).all()


@pytest.mark.slow
def test_a_second_clip_of_the_same_bucket_traces_and_compiles_nothing(loaded_model, folder):
    recogniser = Recogniser.of(loaded_model)
    recogniser(CLIP, 16000)
    compiled = dict(recogniser.programs._compiled)
    traces, counted = [], recogniser.programs.inference
    recogniser.programs.inference = counted._replace(
        outputs=lambda *a: traces.append(1) or counted.outputs(*a)
    )
    recogniser(speech(0.7), 16000)
    recogniser.only("sad", "happy").at_temperature(2.0)(speech(0.8), 16000)
    assert recogniser.programs._compiled == compiled and not traces
    recogniser(speech(1.7), 16000)
    assert len(recogniser.programs._compiled) == 2 and traces


def test_threads_agree_and_compile_once(loaded_model, folder):
    recogniser = Recogniser.of(loaded_model)
    traces, inner = [], recogniser.programs.inference
    recogniser.programs.inference = inner._replace(
        outputs=lambda *a: traces.append(1) or inner.outputs(*a)
    )
    clips = [speech(0.9, 100 + 10 * i, i) for i in range(8)]
    expected = Recogniser.of(loaded_model).probabilities(clips[:4], 16000)
    for path in folder.iterdir():  # else the kept program would be read
        path.unlink()
    rows: dict[int, np.ndarray] = {}

    def work(i: int) -> None:
        for _ in range(5):
            rows[i] = recogniser.probabilities([clips[i % 4]], 16000)[0]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(rows) == 8 and len(traces) == 1
    for i, row in rows.items():
        np.testing.assert_allclose(row, expected[i % 4], atol=1e-6)


@pytest.mark.slow
def test_the_command_line_keeps_programs_and_then_imports_neither_flax_nor_librosa(
    loaded_model, tmp_path
):
    config = loaded_model.card["config"]
    config = {**config, "audio": {**config["audio"], "speech_only": True}}
    card = {**loaded_model.card, "config": config}
    model.save_model(tmp_path / "model", loaded_model._replace(card=card))
    soundfile.write(tmp_path / "clip.wav", PAUSED_CLIP, 16000)
    code = f"""
import sys
from jdann.cli import main
main(["predict", {str(tmp_path / "model")!r}, {str(tmp_path / "clip.wav")!r}])
print(*(name for name in {HEAVY} if name in sys.modules), file=sys.stderr)
"""
    environment = {
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "PATH": "",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    outputs = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        outputs.append((done.stdout, done.stderr.splitlines()[-1].split()))
    assert {"flax", "librosa"} <= set(outputs[0][1])  # traced
    assert outputs[1][1] == []
    assert outputs[0][0] == outputs[1][0] and "no speech" not in outputs[0][0]
    kept = {
        path.name.split("-")[0]
        for path in (tmp_path / "cache" / "jdann" / "xla").rglob("*")
        if path.is_file()
    }
    assert {"outputs", "speech", "jit_call"} <= kept, kept  # traced, compiled


def test_importing_a_recogniser_imports_nothing_heavy():
    code = f"""
import sys
import jdann.inference.predict
print(*(name for name in {HEAVY} if name in sys.modules))
"""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


@pytest.mark.slow
def test_plain_python_keeps_programs_too(loaded_model, tmp_path):
    """Where the user chose no cache, loading a recogniser sets one; importing it does not."""
    model.save_model(tmp_path / "model", loaded_model)
    soundfile.write(tmp_path / "clip.wav", CLIP, 16000)
    code = f"""
import sys, jax
from jdann import Recogniser
assert jax.config.jax_compilation_cache_dir is None
jax.jit(lambda x: x + 1)(1.0)  # JAX looks at the folder at its first compilation
Recogniser.load({str(tmp_path / "model")!r})({str(tmp_path / "clip.wav")!r})
print(*(name for name in {HEAVY} if name in sys.modules))
"""
    environment = {
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "PATH": "",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }

    def loaded(**more: str) -> set[str]:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment | more,
            capture_output=True,
            text=True,
            check=True,
        )
        return set(done.stdout.split())

    assert {"flax", "librosa"} <= loaded(JAX_ENABLE_COMPILATION_CACHE="false")
    assert not (tmp_path / "cache").exists()  # the user chose to keep nothing
    assert {"flax", "librosa"} <= loaded()
    assert not loaded()
    files = [path.name for path in (tmp_path / "cache" / "jdann" / "xla").rglob("*")]
    assert {"outputs", "jit_call"} <= {name.split("-")[0] for name in files}, files


def test_a_folder_that_cannot_be_written_is_not_used(tmp_path, monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    (tmp_path / "file").write_text("")
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    try:
        program_cache.keep_programs()
        assert jax.config.jax_compilation_cache_dir is None
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


def test_a_program_depends_on_the_source_of_every_stage(monkeypatch):
    read = []
    original = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path) or original(path))
    program_cache._source.__wrapped__()
    assert {"recipe.py", "conv1d.py", "forward.py"} <= {path.name for path in read}
