"""Runs the commands of README.md and docs/ in order, in one folder, on small corpora.

Overrides give each training a tiny budget. The output that a page shows must be printed; only
numbers and emotions may differ.
"""

import itertools
import re
import runpy
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from jdann import Recogniser, gradient_reversal
from jdann.cli import main
from jdann.configuration import base_config
from jdann.corpora import demo
from tests.support.corpora import write_manifest
from tests.support.documented import (
    ROOT,
    Block,
    Command,
    blocks,
    commands,
    expanded,
    optional,
    skeleton,
    written_as,
)
from tests.support.recordings import conversation, write_voices
from tests.support.runs import SMALL, read

pytest_plugins = ["tests.support.serving"]

TINY = (
    *(s for s in SMALL if not s.startswith("epochs")),
    "epochs=1",
    "encoder.hidden=8",
    "co_training.rounds=1",
    "tune.trials=2",
)
TRAININGS = ("train", "sweep", "tune")
# test_docs.py only checks commands that begin like this; the reason stands beside each.
NOT_RUN = {
    "jdann prepare esd": "ESD is available only on request",
    "jdann serve": "it never ends; the tests ask a running server instead",
    "jdann tune --config tune_poster --workers": "test_tune.py has several processes",
    "jdann tune --config tune_poster --storage": "needs a folder that machines share",
    "jdann launch": "tests/cluster/test_launch.py starts processes, and there is no Slurm",
    "python run.py --config configs/poster.py": "ResNet-50 takes minutes to compile",
    "python run.py --config configs/base.py --config.encoder.name=resnet50": "the same",
    "python run.py --config configs/base.py --config.source=a.csv --config.target=b.csv "
    "--config.features.recipe=pretrained_frames": "pip would fetch the encoder",
    "srun": "there is no Slurm; tests/cluster sets its variables",
    "ssh": "it needs other machines",
    ".venv": "the set-up in the README, which continuous integration runs",
    "python3 -m venv": "the same",
    "pip": "the tests run with the installed packages",
    "python -m pytest": "the tests would run themselves again",
    "python benchmarks": "minutes each",
}


def _named(line: str) -> str:
    """Whether an emotion is named or withheld depends on the model, so both are the same here."""
    return line.replace(",,", ",sad,")


class Session:
    """A reader's shell."""

    def __init__(self, capfd, port=None):
        self.capfd, self.port, self.status = capfd, port, 0

    def run(self, command: Command) -> None:
        """Runs one command and compares what it prints with what the page shows."""
        if any(command.text.startswith(begin) for begin in NOT_RUN):
            return
        self.capfd.readouterr()
        for words in optional(command.words):
            getattr(self, f"_{Path(words[0]).name}")(words[1:])
        out, err = self.capfd.readouterr()
        printed = {skeleton(_named(line)) for line in f"{out}\n{err}".splitlines()}
        for line in command.shown:
            if line.strip() not in ("", "..."):
                assert skeleton(_named(line)) in printed, (
                    f"{command.name}: {line!r} is not printed; printed was\n{out}\n{err}"
                )
        self.command, self.messages = command, err

    def _jdann(self, words: list[str]) -> None:
        words = expanded(words)
        name = words[0] if words and not words[0].startswith("-") else "train"
        is_training = name in TRAININGS or (name == "recordings" and "--source" in words)
        extra = [f"--config.{s}" for s in TINY] if is_training else []
        if words[:2] == ["prepare", "demo"]:
            extra = ["--sentences", "1"]
        try:
            main([*words, *extra])
            self.status = 0
        except SystemExit as stopped:
            self.status = int(stopped.code or 0)

    def _python(self, words: list[str]) -> None:
        if words[0] == "run.py":
            return self._jdann(words[1:])
        runpy.run_path(words[0], run_name="__main__")  # a script that the page has written
        self.status = 0
        return None

    def _echo(self, words: list[str]) -> None:
        assert words == ["$?"]
        print(self.status)
        self.status = 0

    def _cat(self, words: list[str]) -> None:
        print("".join(Path(word).read_text() for word in words))

    def _head(self, words: list[str]) -> None:
        print(
            "\n".join(
                Path(words[-1])
                .read_text()
                .splitlines()[: int(words[0].removeprefix("-")) if len(words) > 1 else 10]
            )
        )

    def _ls(self, words: list[str]) -> None:
        print(
            "  ".join(
                sorted(
                    path.name
                    for word in words
                    for path in Path(word).iterdir()
                    if not path.name.startswith(".")
                )
            )
        )

    def _docker(self, words: list[str]) -> None:
        """Not run, because few machines have it; `tests/web/test_deploy.py` checks the image."""

    def _curl(self, words: list[str]) -> None:
        if self.port is None or shutil.which("curl") is None:
            pytest.skip("needs curl and the extra `serve`")
        url = [word.replace(":8000", f":{self.port}") for word in words]
        print(
            subprocess.run(["curl", "-s", *url], capture_output=True, text=True, check=True).stdout
        )


def follow(page: Path, session: Session, **namespace) -> int:
    """Runs all commands and snippets of a page in order, and returns how many there are.

    A command may fail only if the page shows its status.
    """
    count = 0
    for block in blocks(page):
        if block.language == "python":
            execute(block, namespace)
            count += 1
            continue
        typed = list(commands(block)) if block.language in ("bash", "console") else []
        count += len(typed)
        for command, after in itertools.zip_longest(typed, typed[1:]):
            session.run(command)
            if after is None or not after.text.startswith("echo"):
                assert session.status == 0, (
                    f"{command.name}: {command.text}: exit status {session.status}"
                )
    return count


def execute(block: Block, namespace: dict) -> None:
    """Runs a snippet, or saves it if it names a file."""
    if name := written_as(block):
        Path(name).write_text(block.text)
        return
    exec(compile("\n" * block.line + block.text, str(block.page), "exec"), namespace)


def snippets(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.language == "python"]


@pytest.fixture
def session(tmp_path, monkeypatch, data_dir, capfd) -> Session:
    """A shell in its own folder; the demo corpus has one sentence per emotion and speaker."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for function in (demo.ensure, demo.folder):
        defaults = {**function.__kwdefaults__, "sentences": 1}
        monkeypatch.setattr(function, "__kwdefaults__", defaults)
    Path("configs").symlink_to(ROOT / "configs")
    return Session(capfd)


def write_corpora(names: tuple[str, ...], tones: tuple[Path, Path]) -> None:
    """Writes manifests with the names that a page uses: source and target in turn."""
    for name, manifest in zip(names, tones * len(names), strict=False):
        rows = [
            (manifest.parent / r["file"], r["emotion"], r["speaker"], r["language"])
            for r in read(manifest)
        ]
        write_manifest(Path(name), rows)


def write_clips(folder: Path, names: tuple[str, ...], seconds: float = 1.5) -> None:
    folder.mkdir(exist_ok=True)
    t = np.arange(int(seconds * 16000)) / 16000
    for i, name in enumerate(names):
        sound = sum(np.sin(2 * np.pi * k * (140 + 30 * i) * t) / k for k in range(1, 6))
        soundfile.write(folder / name, 0.1 * sound * (1 + 0.5 * np.sin(2 * np.pi * 4 * t)), 16000)


def write_what_predict_names() -> None:
    clips = tuple(f"2{i}1.flac" for i in range(5))
    write_clips(Path("clips"), clips)
    rows = [(name, "wangzhe", f"call {17 + i}") for i, name in enumerate((*clips[:3], "lost.flac"))]
    write_manifest(Path("clips/calls.csv"), rows, ("file", "speaker", "note"))
    write_clips(Path(), ("clip.wav", "a.wav", "b.flac"))
    write_clips(Path(), ("meeting.wav",), 8.461)
    write_clips(Path("folder"), ("one.wav", "two.wav"))


@pytest.mark.slow
def test_report(session, finished_run):
    Path("runs").mkdir()
    for name in ("en2zh", "a", "b"):
        shutil.copytree(finished_run, f"runs/{name}")
    Path("runs/unfinished").mkdir()
    shutil.copy(finished_run / "config.json", "runs/unfinished")
    follow(ROOT / "docs/report.md", session)
    assert Path("comparison.html").stat().st_size > 1e5


def test_evaluate(session, finished_run, tones):
    """The run has no labels yet; after each command a listener fills in what it has suggested."""
    run = Path(shutil.copytree(finished_run, "runs/mine"))
    rows = [row | {"emotion": ""} for row in read(run / "predictions.csv")]
    write_manifest(run / "predictions.csv", [list(r.values()) for r in rows], tuple(rows[0]))
    truth = {Path(row["file"]).name: row["emotion"] for row in read(tones[1])}
    page = ROOT / "docs/evaluate.md"
    typed = [c for block in blocks(page) if block.language == "bash" for c in commands(block)]
    assert len(typed) == 3
    for command in typed:
        session.run(command)
        assert session.status == 0, f"{command.text}: {session.messages}"
        suggested = [
            row | {"emotion": truth[Path(row["file"]).name]} for row in read(Path("to_label.csv"))
        ]
        write_manifest(
            Path("to_label.csv"), [list(r.values()) for r in suggested], tuple(suggested[0])
        )
    assert len(read(Path("more.csv"))) == 20  # all that is left of sixty


def test_serve(session, server):
    write_clips(Path(), ("clip.wav", "happy.wav", "sad.wav"), 3.303)
    Path("notes.txt").write_text("not audio")
    shutil.copy(ROOT / "README.md", "README.md")
    session.port = server.port
    assert follow(ROOT / "docs/serve.md", session) > 0


def readme_names() -> dict:
    """The variables that the README's snippet uses without defining them."""
    audio = np.random.default_rng(0).normal(size=16000).astype(np.float32)
    return {
        "audio": audio,
        "representation": audio[:8],
        "strength": 0.3,
        "discriminator_loss": lambda x: (x**2).sum(),
    }


def test_python_of_the_readme(session):
    namespace = readme_names()
    *_, parts = snippets(ROOT / "README.md")  # tests/test_api.py runs what comes before
    execute(parts, namespace)
    assert (
        namespace["mel"].shape == (128, 63) and namespace["gradient_reversal"] is gradient_reversal
    )


@pytest.mark.slow
def test_python_of_predict(session, finished_run):
    write_what_predict_names()
    shutil.copytree(finished_run, "runs/best")
    session.run(Command(ROOT / "docs/predict.md", 0, "jdann export runs/best en2zh.jdann"))
    samples = soundfile.read("clip.wav", dtype="float32")[0]
    files = ["a.wav", "b.flac"]
    namespace = {"samples": samples, "files": files, "files_of_one_speaker": files}
    first, exported = snippets(ROOT / "docs/predict.md")
    execute(first, namespace)
    expected = Recogniser.load("runs/best").probabilities(["clip.wav"])
    batch = {"samples": samples[None], "length": np.array([len(samples)], np.int32)}
    execute(exported, batch)
    np.testing.assert_allclose(batch["probabilities"], expected, atol=1e-5)


def test_python_of_sweep(session):
    for block in snippets(ROOT / "docs/sweep.md"):
        namespace = {"config": base_config()}
        execute(block, namespace)
        assert namespace["config"].tune.space


@pytest.mark.slow
def test_predict(session, tones):
    write_corpora(("ravdess.csv", "casia.csv"), tones)
    session._jdann(["--config", "best", "--config.source=ravdess.csv", "--config.target=casia.csv"])
    write_what_predict_names()
    page = ROOT / "docs/predict.md"
    shown = [block for block in blocks(page) if block.language in ("bash", "console")]
    typed = [command for block in shown for command in commands(block)]
    assert typed
    for command in typed:
        session.run(command)


@pytest.mark.slow
def test_recordings(session, tones, finished_run):
    write_corpora(("ravdess.csv",), tones)
    shutil.copytree(finished_run, "runs/best")
    Path("calls").mkdir()
    for i in range(2):
        soundfile.write(f"calls/{i}.wav", conversation([(2.0, 110 + 100 * i, 1.0)] * 8), 16000)
    follow(ROOT / "docs/recordings.md", session)
    assert len(read(Path("work/timeline.csv"))) == len(read(Path("answers/timeline.csv"))) == 16


@pytest.mark.slow
def test_sweep(session, tones):
    write_corpora(("ravdess.csv", "casia.csv"), tones)
    assert follow(ROOT / "docs/sweep.md", session, config=base_config()) > 0


@pytest.mark.slow
def test_tutorial(session):
    assert follow(ROOT / "docs/tutorial.md", session) > 0


@pytest.mark.slow
def test_readme(session, tmp_path):
    # The snippet trains with the default, which leaves out clips without speech.
    voices = write_voices(tmp_path / "voices", 3, 4), write_voices(tmp_path / "others", 3, 4)
    names = ("english.csv", "other.csv", "a.csv", "b.csv", "ravdess.csv", "casia.csv", "my.csv")
    write_corpora((*names, "big.csv"), voices)
    shutil.copytree(voices[1].parent, "calls")
    write_what_predict_names()
    page = ROOT / "README.md"
    follow(page, session, **readme_names())
    spans = re.findall(r"`((?:jdann|python run\.py) [^`]+)`", page.read_text())
    shown = [Command(page, 0, text) for text in spans if len(text.split()) > 2]
    assert len(shown) >= 10
    for command in shown:
        # tests/cluster/test_ray.py uses Ray.
        if not command.text.endswith("--on ray") and not command.text.startswith(
            # The clips in calls/ are too short for recordings; `test_recordings` has longer ones.
            ("jdann corpora esd", "jdann predict runs/mine clip.wav --", "jdann recordings")
        ):
            overwrite = " --overwrite" if "run.py" in command.text else ""
            session.run(command._replace(text=command.text + overwrite))
            assert session.status == 0, f"{command.text}: {session.messages}"
