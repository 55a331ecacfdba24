"""The commands and snippets of README.md and docs/, and how to check them without running them."""

import ast
import glob
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from jdann.arguments.parser import COMMANDS
from jdann.cli import main
from tests.support.corpora import EMOTIONS

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
# Languages of fenced blocks; readers type the first three, the others only show something.
LANGUAGES = ("bash", "console", "python", "csv", "json", "text", "")
PROGRAMS = ("jdann", "python", "pip", "pre-commit", "curl", "apt-get", "tensorboard")
CONFIG = re.compile(r"--config\.[\w.]+(=.*)?")


class Block(NamedTuple):
    """A fenced block."""

    page: Path
    line: int  # number of the opening fence, from 1
    language: str
    text: str


class Command(NamedTuple):
    """One command of a block, and the lines shown as its output."""

    page: Path
    line: int
    text: str
    shown: tuple[str, ...] = ()

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text, comments=True)

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page."""
    inside: list[str] | None = None
    begun, language = 0, ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if not line.lstrip().startswith("```"):
            if inside is not None:
                inside.append(line)
        elif inside is None:
            inside, begun, language = [], number, line.strip().removeprefix("```")
        else:
            yield Block(page, begun, language, "\n".join(inside))
            inside = None
    assert inside is None, f"{page.name}:{begun}: the block is never closed"


def commands(block: Block) -> Iterator[Command]:
    """The commands of a block, in order; a line with && holds several."""
    lines = block.text.split("\n")
    at = 0
    while at < len(lines):
        begun, text = at, lines[at]
        at += 1
        prompt = block.language == "console"
        if not text.strip() or text.startswith("#") or (prompt and not text.startswith("$ ")):
            assert prompt or not text.startswith("$ "), (
                f"{block.page.name}:{block.line + at}: a prompt belongs in a console block"
            )
            continue
        text = text.removeprefix("$ ") if prompt else text
        while text.endswith("\\"):
            text = f"{text[:-1]} {lines[at].strip()}"
            at += 1
        shown = []
        while prompt and at < len(lines) and not lines[at].startswith("$ "):
            shown.append(lines[at])
            at += 1
        for part in text.split(" && "):
            yield Command(block.page, block.line + 1 + begun, part, tuple(shown))


def typed(page: Path) -> list[Command]:
    """All commands of a page's blocks."""
    return [c for b in blocks(page) if b.language in ("bash", "console") for c in commands(b)]


def spans(page: Path) -> Iterator[tuple[int, str]]:
    """Line number and text of each span of code in the prose."""
    fenced = False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced:
            yield from ((number, text) for text in re.findall(r"`([^`]+)`", line))


def skeleton(line: str) -> str:
    """A line of output without what differs between runs: numbers, emotions, doubts, widths."""
    line = re.sub(r"[-+]?(\d[\d,]*)?\.?\d+(e-?\d+)?", "#", line)
    line = re.sub(rf"\b({'|'.join(EMOTIONS)}|none)\b", "@", line)
    doubts = "unlike the speech that the model adapted to|@ is nearly as likely|null"
    line = re.sub(rf'"?({doubts})"?', "", line)
    line = re.sub(r"─+", "─", " ".join(line.split()))
    return re.sub(r"(@ #|#|@)(, \1)+", r"\1", line)


def written_as(block: Block) -> str | None:
    """The file name under which a reader saves a snippet; a comment in its first line names it."""
    named = re.match(r"# (\w+\.py)\n", block.text) if block.language == "python" else None
    return named[1] if named else None


class Reached(BaseException):
    """Raised when the command line is understood and the work would begin."""


EDGES = (  # the functions in which the work of each command begins
    "jdann.commands.train.run",
    "jdann.commands.sweep.sweep",
    "jdann.commands.tune.tune",
    "jdann.cluster.local_processes.run_side_by_side",
    "jdann.cluster.slurm_jobs.submit",
    "jdann.cluster.ray_tasks.run_on_ray",
    "jdann.commands.encoders.find_on_machine",
    "jdann.commands.evaluate.evaluate",
    "jdann.commands.recordings.find_utterances",
    "jdann.commands.evaluate.evaluate_labels",
    "jdann.commands.evaluate.suggest_labels",
    "jdann.web.server.claim_port",
    "jdann.inference.predict.run",
    "jdann.inference.recogniser.Recogniser.load",
    "jdann.report.page.main",
    "jdann.corpora.load",
    "jdann.corpora.demo.ensure",
    "jdann.commands.prepare.prepare_esd",
    "jdann.commands.prepare.prepare",
)


def understood(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Parses a jdann command with its config and overrides, and stops before the work begins.

    Raises:
      SystemExit: the command was refused.
    """

    def stop(*_: object, **__: object) -> None:
        raise Reached

    with monkeypatch.context() as patch:
        patch.setattr("jdann.cluster.processes.join", lambda *_: None)  # there are no others
        for edge in EDGES:
            patch.setattr(edge, stop)
        try:
            main(arguments)
        except Reached:
            return
    assert arguments[:1] in (["--help"], ["--version"]) or arguments == ["corpora"], (
        f"{arguments}: ended without reaching its work"
    )


def check(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks that a command has a known program, known options and existing files.

    Paths are relative to the working directory.

    Raises:
      AssertionError or SystemExit: the command is wrong.
    """
    for words in optional(command.words):
        program = Path(words[0]).name.replace("python3", "python")
        assert program in CHECKS, f"{command.name}: nothing checks {program}"
        CHECKS[program](words[1:], monkeypatch)


def optional(words: list[str]) -> list[list[str]]:
    """A command with an optional [part], once without it and once with it."""
    if not any(word.startswith("[") for word in words):
        return [words]
    first = next(i for i, word in enumerate(words) if word.startswith("["))
    return [words[:first], [word.strip("[]") for word in words]]


def expanded(words: list[str]) -> list[str]:
    """Words with shell patterns replaced by the matching files."""
    # Path.glob does not take absolute patterns, a shell does.
    return [path for word in words for path in (sorted(glob.glob(word)) or [word])]  # noqa: PTH207


def _jdann(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    understood(expanded(words), monkeypatch)


def _launched(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that another program starts elsewhere, as `srun` and `ssh` do."""
    _jdann(words[words.index("jdann") + 1 :], monkeypatch)


def _python(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    if words[0] == "run.py":
        return understood(expanded(words[1:]), monkeypatch)
    if words[:2] == ["-m", "pytest"]:
        return _pytest(words[2:])
    if words[:2] == ["-m", "venv"]:
        return None
    script = ROOT / words[0]
    if script.is_file():
        return known_options(script, words[1:])
    written = {name for page in PAGES for block in blocks(page) if (name := written_as(block))}
    assert words[0] in written, f"{words[0]}: no such script"
    return None


def known_options(script: Path, words: list[str]) -> None:
    """Checks that the script's parser has each option in `words`."""
    calls = [node for node in ast.walk(ast.parse(script.read_text())) if isinstance(node, ast.Call)]
    adding = [
        call
        for call in calls
        if isinstance(call.func, ast.Attribute) and call.func.attr == "add_argument"
    ]
    known = {arg.value for call in adding for arg in call.args if isinstance(arg, ast.Constant)}
    for word in words:
        assert not word.startswith("--") or word.partition("=")[0] in known, (
            f"{script.name} has no {word}"
        )
    positional = [word for word in words[:1] if not word.startswith("-")]
    assert not positional or any(str(k)[:1] != "-" for k in known), (
        f"{script.name} takes no {words[0]}"
    )


def _pytest(words: list[str]) -> None:
    markers = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"][
        "markers"
    ]
    for word, before in zip(words, ["", *words], strict=False):
        if before == "-m":
            assert set(word.replace("not ", "").split(" and ")) <= {
                m.split(":")[0] for m in markers
            }, word
        elif before == "-n":
            pytest.importorskip("xdist")
        elif not word.startswith("-"):
            assert (ROOT / word).exists(), f"{word}: no such test"
        else:
            assert word in ("-q", "-n", "-m", "-x", "-k"), word


def _pip(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    del monkeypatch
    assert words[0] == "install"
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    for word in words[1:]:
        named = re.fullmatch(r"(?:jdann|\.)(?:\[([\w,]+)\])?", word)
        assert named or word in ("-q", "-e"), f"pip install {word}: not a part of jdann"
        if named and named[1]:
            assert set(named[1].split(",")) <= set(extras), f"there is no extra {named[1]}"


def _nothing(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Accepts a program that is not part of jdann."""


CHECKS: dict[str, Callable[[list[str], pytest.MonkeyPatch], None]] = {
    "jdann": _jdann,
    "python": _python,
    "pip": _pip,
    **dict.fromkeys(("srun", "ssh"), _launched),
    **dict.fromkeys(("curl", "cat", "echo", "head", "ls", "mkdir", "docker"), _nothing),
}


def imports(block: Block) -> list[tuple[str, str | None]]:
    """The modules that a python block imports, each with the imported name or None.

    Raises:
      SyntaxError: the block does not compile.
    """
    tree = ast.parse(block.text, f"{block.page.name}:{block.line}")
    names: list[tuple[str, str | None]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [(node.module or "", alias.name) for alias in node.names]
    return names


def help_text(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The help of a jdann command."""
    assert command in COMMANDS, f"jdann {command}: no such command"
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main([command, "--help"])
    return capsys.readouterr().out
