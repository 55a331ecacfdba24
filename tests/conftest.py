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
# The test processes share the cores: threads of one would only wait for those of another.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# A vector that JAX silently spreads over the wrong axis, or an integer that silently becomes a
# float, is an error in tests. The variables of the environment reach the programs that tests
# start, too.
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")
os.environ.setdefault("JAX_NUMPY_DTYPE_PROMOTION", "strict")
# No test fetches the speaker encoder, wherever pip would look for it.
os.environ |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}
# numba's cache on disk, which librosa uses, is not safe for two processes that compile the same
# function for different types at the same time. So each test process has a cache of its own.
os.environ["NUMBA_CACHE_DIR"] = str(
    Path(tempfile.gettempdir()) / f"jdann-tests-numba-{os.environ.get('PYTEST_XDIST_WORKER', 'gw')}"
)

import jax
import pytest

from jdann.cli import main
from tests.support.corpora import write_tones
from tests.support.runs import arguments
from tests.support.sessions import once

# Modules in which numbers are compared as users get them, with all optimisations.
OPTIMISED = ("test_reversal",)


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
def shared(tmp_path_factory) -> Path:
    """A folder that all processes of this test session share."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def tones(shared) -> tuple[Path, Path]:
    """Manifests of two tiny labelled corpora of sixty utterances, a source and a shifted target."""
    source, target = shared / "tones" / "source", shared / "tones" / "target"
    with once(shared / "tones") as missing:
        if missing:
            write_tones(source, 0, 150.0)
            write_tones(target, 1, 230.0)
    return source / "list.csv", target / "list.csv"


@pytest.fixture(scope="session")
def data_dir(shared) -> Path:
    """A folder for cached features, shared so that they are computed once."""
    return shared / "data"


@pytest.fixture(scope="session")
def finished_run(shared, tones, data_dir) -> Path:
    """The work directory of a small run of `source_only` and `dann`. No test may change it.

    It was started with relative paths, and tests continue copies of it from other folders.
    """
    workdir = shared / "runs" / "finished"
    with once(workdir) as missing, pytest.MonkeyPatch.context() as patch:
        if missing:
            patch.chdir(shared)
            relative = [manifest.relative_to(shared) for manifest in tones]
            main(arguments(*relative, workdir, data_dir, "--config.tsne=true"))
    return workdir
