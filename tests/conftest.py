"""What tests share."""

import os
import tempfile
from pathlib import Path

# This has to happen before jax is imported: what one test compiles, the next one finds.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir()) / "jdann-tests-xla")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")
# Most tests compile much longer than they run. Without the costlier passes of XLA they take less
# than half the time.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# A vector that JAX silently spreads over the wrong axis, or an integer that silently becomes a
# float, is an error in tests. The variables of the environment reach the programs that tests
# start, too.
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")
os.environ.setdefault("JAX_NUMPY_DTYPE_PROMOTION", "strict")
# numba's cache on disk, which librosa uses, is not safe for two processes that compile the same
# function for different types at the same time. So each test process has a cache of its own.
os.environ["NUMBA_CACHE_DIR"] = str(
    Path(tempfile.gettempdir()) / f"jdann-tests-numba-{os.environ.get('PYTEST_XDIST_WORKER', 'gw')}"
)

import jax
import pytest

from tests.support.corpora import write_tones

# Modules that compare numbers, with all optimisations, as users get them.
OPTIMISED = ("features", "models", "test_gradient_reversal", "inference", "training.test_step")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """One process runs all tests of a file, or all tests of one method.

    So what these tests share is trained and compiled once.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByWhatIsShared(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file, _, test = nodeid.partition("::")
            if not file.endswith("methods/test_contract.py"):
                return file
            return f"{file}[{test.rstrip(']').partition('[')[2].partition('-')[0]}"

    return ByWhatIsShared(config, log)


@pytest.fixture(scope="module", autouse=True)
def optimisations(request):
    """Switches XLA's optimisations on for a module of OPTIMISED, off for any other."""
    before = jax.config.read("jax_disable_most_optimizations")
    optimised = request.module.__name__.removeprefix("tests.").startswith(OPTIMISED)
    jax.config.update("jax_disable_most_optimizations", before and not optimised)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="session")
def corpora_dir() -> Path:
    """The folder of real corpora with their manifests; without it tests are skipped."""
    default = Path(__file__).resolve().parents[2] / "shared" / "corpora"
    folder = Path(os.environ.get("JDANN_CORPORA", default))
    if not (folder / "ravdess.csv").is_file():
        pytest.skip(
            f"no real corpora in {folder}: set JDANN_CORPORA to the folder that holds ravdess.csv "
            "and casia.csv"
        )
    return folder


@pytest.fixture(scope="session")
def tones(tmp_path_factory) -> tuple[Path, Path]:
    """Manifests of two tiny labelled corpora of sixty utterances, a source and a shifted target."""
    root = tmp_path_factory.mktemp("tones")
    return write_tones(root / "source", 0, 150.0), write_tones(root / "target", 1, 230.0)


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory) -> Path:
    """A folder for cached features, shared so that they are computed once."""
    return tmp_path_factory.mktemp("data")
