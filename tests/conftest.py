"""What tests share."""

import csv
import os
import tempfile
from pathlib import Path

# Before jax is imported: what one test compiles, the next one finds.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir()) / "jdann-tests-xla"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")
# Most tests compile far longer than they run: without XLA's costlier passes in less than half the time.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import jax
import numpy as np
import pytest
import soundfile

# Modules that compare numbers, with all optimisations, as users get them.
OPTIMISED = ("features", "encoders", "gradient_reversal", "recogniser", "programs", "export", "training")
EMOTIONS = ("neutral", "happy", "angry", "sad", "surprise")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """One process runs all tests of a file, or all tests of one method: what they share is trained and compiled once."""
    from xdist.scheduler import LoadScopeScheduling

    class ByWhatIsShared(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file, _, test = nodeid.partition("::")
            if not file.endswith("test_methods.py"):
                return file
            return f"{file}[{test.rstrip(']').partition('[')[2].partition('-')[0]}"

    return ByWhatIsShared(config, log)


@pytest.fixture(scope="module", autouse=True)
def optimisations(request):
    """Switches XLA's optimisations on for a module of OPTIMISED, off for any other."""
    before = jax.config.read("jax_disable_most_optimizations")
    optimised = request.module.__name__.rpartition(".")[2].removeprefix("test_").startswith(OPTIMISED)
    jax.config.update("jax_disable_most_optimizations", before and not optimised)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="session")
def corpora_dir() -> Path:
    """The folder of real corpora, RAVDESS and CASIA with their manifests; tests that need it skip where absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "corpora"
    folder = Path(os.environ.get("JDANN_CORPORA", default))
    if not (folder / "ravdess.csv").is_file():
        pytest.skip(f"no real corpora in {folder}: set JDANN_CORPORA to the folder that holds ravdess.csv and casia.csv")
    return folder


def write_tones(folder: Path, seed: int, base_hz: float, speakers: int = 4, takes: int = 3) -> Path:
    """Writes a tiny corpus of harmonic tones whose pitch, loudness and tremor stand for emotions; returns its manifest."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    rows = []
    for speaker in range(speakers):
        for e, emotion in enumerate(EMOTIONS):
            for take in range(takes):
                seconds = random.uniform(0.4, 0.8)
                t = np.arange(int(16000 * seconds)) / 16000
                pitch = base_hz * (1 + 0.15 * e) * (1 + 0.02 * random.normal()) * (1 + 0.1 * speaker)
                wave = sum(np.sin(2 * np.pi * k * pitch * t) / k for k in range(1, 6))
                wave *= 0.1 * (1 + 0.5 * np.sin(2 * np.pi * (2 + 2 * e) * t))
                name = f"{speaker}-{e}-{take}.wav"
                soundfile.write(folder / name, wave + 0.002 * random.normal(size=len(t)), 16000)
                rows.append((name, emotion, f"s{speaker}", "en"))
    return write_manifest(folder / "list.csv", rows)


def write_manifest(path: Path, rows: list, columns: tuple = ("file", "emotion", "speaker", "language")) -> Path:
    """Writes a manifest."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


@pytest.fixture(scope="session")
def tones(tmp_path_factory) -> tuple[Path, Path]:
    """Manifests of two tiny labelled corpora of sixty utterances, a source and a shifted target."""
    root = tmp_path_factory.mktemp("tones")
    return write_tones(root / "source", 0, 150.0), write_tones(root / "target", 1, 230.0)


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory) -> Path:
    """A folder for cached features, shared so that they are computed once."""
    return tmp_path_factory.mktemp("data")
