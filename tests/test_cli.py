"""The command line: what it prints before any work, and what it refuses in one line."""

import builtins
import importlib
import subprocess
import sys

import pytest

import jdann
from jdann.arguments.parser import COMMANDS
from jdann.cli import main
from jdann.errors import InputError


def run(words, capsys) -> tuple[int, str, str]:
    """Exit status, standard output and standard error."""
    status = 0
    try:
        main(words)
    except SystemExit as stop:
        status = int(stop.code or 0)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_without_a_command_it_says_what_it_can_do(words, capsys):
    status, out, _ = run(words, capsys)
    assert status == 0 and all(name in out for name in COMMANDS)


@pytest.mark.parametrize("command", ["sweep", "tune"])
def test_costly_commands_without_arguments_print_their_help(command, capsys):
    status, out, _ = run([command], capsys)
    assert status == 0 and out.startswith(f"usage: jdann {command}") and "--workdir" in out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help(command, capsys):
    status, out, _ = run([command, "--help"], capsys)
    assert status == 0 and COMMANDS[command][0] in " ".join(out.split())


@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_the_version(flag, capsys):
    assert run([flag], capsys)[:2] == (0, jdann.__version__ + "\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "did you mean train?"),
        (["predict"], "the following arguments are required: model, files"),
        (["corpora", "--dataa", "x"], "unknown argument --dataa"),
        (["export", "runs/a", "x.jdann", "--data-dir", "x"], "unknown argument --data-dir"),
        (["serve", "runs/a", "--data-dir", "x"], "unknown argument --data-dir"),
        (["train", "--confg", "best"], "--confg: unknown option"),
        (["--config.epochs=1", "--nothing"], "--nothing: unknown option"),
        (["prepare", "esc"], "'esc' names no corpus"),
    ],
)
def test_a_wrong_word_is_named_in_one_line(words, message, capsys):
    status, out, err = run(words, capsys)
    assert status == 2 and out == ""
    assert message in err and err.startswith("jdann: ") and err.count("\n") == 1


def test_python_m_jdann_is_the_same_program():
    done = subprocess.run(
        [sys.executable, "-m", "jdann", "-V"], capture_output=True, text=True, check=True
    )
    assert done.stdout == jdann.__version__ + "\n"


@pytest.mark.parametrize(
    ("absent", "error", "message"),
    [
        ("starlette", InputError, "jdann serve needs starlette, which is not installed"),
        ("jdann.web.nothing", ModuleNotFoundError, "No module named 'jdann.web.nothing'"),
    ],
)
def test_only_a_module_from_outside_is_a_missing_extra(absent, error, message, monkeypatch):
    importing = builtins.__import__

    def fail(name, *arguments):
        if name == "jdann.web":
            raise ModuleNotFoundError(f"No module named {absent!r}", name=absent)
        return importing(name, *arguments)

    monkeypatch.delitem(sys.modules, "jdann.commands.serve", raising=False)
    monkeypatch.setattr(builtins, "__import__", fail)
    with pytest.raises(error, match=message):
        importlib.import_module("jdann.commands.serve")


def test_submodules_are_there_after_a_plain_import():
    names = ("features", "methods", "models", "training", "selection", "corpora", "inference")
    code = "import jdann\n" + "\n".join(f"assert jdann.{name}.__name__" for name in names)
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = jdann.nothing
