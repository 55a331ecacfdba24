"""Each benchmark runs at its tiny size. The figures mean nothing; the tables must be whole."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.published import published_arguments
from tests.support.recordings import write_voices

ROOT = Path(__file__).parents[2]
ENCODER = str(ROOT / "tests" / "pretrained" / "references" / "hubert_base")
# The other files in this folder are modules that the scripts import.
SCRIPTS = sorted(
    path.stem
    for path in (ROOT / "benchmarks").glob("*.py")
    if 'if __name__ == "__main__":' in path.read_text(encoding="utf-8")
)
MODEL_CODE = """
import sys
from pathlib import Path
import startup_models
startup_models.write_models(Path(sys.argv[1]), ["base"], tiny=True)
"""


def run_python(arguments: list[str], data_dir: Path) -> str:
    """Runs Python in a process of its own, and returns what it printed."""
    paths = (str(ROOT), str(ROOT / "benchmarks"))
    # The programs of peers, such as optax's Adam, are not written for strict promotion.
    strict = ("JAX_NUMPY_RANK_PROMOTION", "JAX_NUMPY_DTYPE_PROMOTION")
    environment = {name: value for name, value in os.environ.items() if name not in strict}
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    environment["TFDS_DATA_DIR"] = str(data_dir)
    outcome = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True
    )
    assert outcome.returncode == 0, outcome.stderr[-4000:]
    return outcome.stdout


@pytest.fixture(scope="module")
def voices(tmp_path_factory) -> tuple[Path, Path]:
    """Manifests of two corpora of sixty utterances. Benchmarks use speech alone, so no tones."""
    folder = tmp_path_factory.mktemp("voices")
    return write_voices(folder / "a", 3, 4), write_voices(folder / "b", 3, 4)


def script_arguments(name: str, voices: tuple[Path, Path], folder: Path) -> list[str]:
    """What a script needs on its command line beside `--tiny`."""
    source, target = map(str, voices)
    model = str(folder / "base")
    work = ["--workdir", str(folder), "--data-dir", str(folder / "data")]
    return {
        "adapt": [model, target],
        "channels": [source, target, "--data-dir", str(folder / "data")],
        "encoder_features": [ENCODER],
        "encoder_gradients": [ENCODER, "--blocks", "1"],
        "encoder_views": [ENCODER, source, target, *work, "--seeds", "1", "--scenes", "ids"],
        "digests": ["--data-dir", str(folder / "data")],
        "few_labels": [source, target, "--data-dir", str(folder / "data")],
        "inference": [model],
        "labelling": [source, target, "--data-dir", str(folder / "data")],
        "no_speech": [source],
        "published": published_arguments(folder),
        "smart_turn": [source],
        "recipes": [source, target, *work],
        "recordings": [str(folder / "voices/list.csv"), "--model", model],
        "processes": ["--data-dir", str(folder / "data")],
        "scale": ["--data-dir", str(folder / "data")],
        "speakers": [source, target, "--data-dir", str(folder / "data")],
        "sweep": ["--source", source, "--target", target, "--data-dir", str(folder / "data")],
        "trust": [source, target, "--data-dir", str(folder / "data")],
        "trust_networks": [source, target, *work],
        "unfamiliar": [source, target, "--data-dir", str(folder / "data")],
        "voice": [source],
    }.get(name, [])


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_script_runs_at_its_tiny_size(name, voices, tmp_path, data_dir):
    if name in ("adapt", "inference", "recordings"):
        run_python(["-c", MODEL_CODE, str(tmp_path)], data_dir)
    if name == "recordings":
        write_voices(tmp_path / "voices")
    script = str(ROOT / "benchmarks" / f"{name}.py")
    arguments = script_arguments(name, voices, tmp_path)
    printed = run_python([script, *arguments, "--tiny"], data_dir)
    assert printed.strip()
    rows = [line for line in printed.splitlines() if line.startswith("|")]
    widths = {row.count("|") for row in rows if "not installed" not in row}
    assert len(widths) <= len([row for row in rows if set(row) <= set("|-: ")])  # one per table


@pytest.mark.parametrize("name", SCRIPTS)
def test_docstring_shows_the_command_and_its_tiny_size(name):
    text = (ROOT / "benchmarks" / f"{name}.py").read_text(encoding="utf-8")
    docstring = text.split('"""')[1]
    assert f"python benchmarks/{name}.py" in docstring and "--tiny" in docstring


@pytest.mark.slow
def test_the_models_of_startup_can_be_loaded(tmp_path, data_dir):
    code = MODEL_CODE + (
        "from jdann import Recogniser\n"
        "print(len(Recogniser.load(Path(sys.argv[1]) / 'base').labels))\n"
    )
    assert run_python(["-c", code, str(tmp_path)], data_dir).strip() == "5"
