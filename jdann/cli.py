"""The command line, `jdann COMMAND`; `jdann --help` lists them. `run.py` is the same program.

This module imports nothing that is slow. The arguments of the commands stand in `jdann/arguments/`,
and what each command does in `jdann/commands/`.
"""

import argparse
import errno
import importlib
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import nullcontext
from typing import NoReturn

from jdann import interruption, jax_cache
from jdann.arguments.parser import COMMANDS, make_parser
from jdann.errors import DivergenceError, InputError
from jdann.parameters import pick
from jdann.progress import silenced
from jdann.terminal import VisibleFormatter, visible

log = logging.getLogger("jdann")
_NEEDS_ARGUMENTS = ("sweep", "tune")  # without any they print their help instead of starting work
_TAKES_OVERRIDES = ("train", "sweep", "tune", "recordings", "prepare")


def run_program() -> NoReturn:
    """Runs the command line as a program of its own, which SIGINT and SIGTERM end in one line.

    After either of them the process ends at once: threads of libraries may still compute or write,
    and Python's shutdown beneath them can crash.
    """
    interruption.watch(_interruption_message(sys.argv[1:]))
    interruption.end_with_parent()
    jax_cache.remove_damaged()
    status: str | int | None = 0
    try:
        main()
    except SystemExit as end:
        status = end.code
    except Exception:
        traceback.print_exc()
        status = 1
    interruption.end_program(status)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits.

    The status is 0 where all went well, 1 for a training that failed, 2 for what the user can mend,
    130 after an interrupt, and 143 after SIGTERM.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    _set_up_log(logging.INFO)
    try:
        _set_up_jax()
        status = _run(words)
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, BrokenPipeError):  # the reader of the output, such as `head`, has gone
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return
        message, status = _message_and_status(error, words)
        if message is None:
            raise
        print(visible(f"jdann: {' '.join(message.split())}"), file=sys.stderr)
    if status:
        sys.exit(status)


def _message_and_status(error: BaseException, words: list[str]) -> tuple[str | None, int]:
    """What to say about an error, and the exit status; None: the error is a fault of jdann."""
    interrupted = interruption.status_of(error)
    if interrupted:
        return _interruption_message(words), interrupted
    if isinstance(error, DivergenceError):
        return str(error), 1
    return str(error) if isinstance(error, InputError) else _disk_message(error), 2


def _interruption_message(words: list[str]) -> str:
    return "stopped" if words[:1] == ["serve"] else "interrupted; continue a training by --resume"


def _run(words: list[str]) -> int:
    """Parses a command line and executes its command."""
    parser = make_parser()
    if not words:
        parser.print_help()
        return 0
    if words[0].startswith("-") and words[0] not in ("-h", "--help", "-V", "--version"):
        words = ["train", *words]  # `run.py --config ...` trains
    arguments = _parse(parser, words)
    level = logging.WARNING if arguments.quiet else logging.INFO
    _set_up_log(level, timestamps=arguments.verbose)
    command = importlib.import_module(f"jdann.commands.{arguments.command}")
    with silenced() if arguments.quiet else nullcontext(), interruption.orderly():
        return command.execute(arguments)


def _parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """The arguments of a command line that begins with a command or an option.

    Raises:
      InputError: there is no such command, or it has no such arguments.
    """
    words, started = _split_launch(words)
    if not words[0].startswith("-"):
        pick(COMMANDS, words[0], "the command")
        if words[0] in _NEEDS_ARGUMENTS and len(words) == 1:
            words = [*words, "--help"]
    arguments, unknown = parser.parse_known_args(_join_overrides(words))
    if arguments.command == "launch":
        _parse_started(parser, arguments, started)
    if arguments.command in _TAKES_OVERRIDES:
        arguments.overrides = unknown
    elif unknown:
        raise InputError(
            f"jdann {arguments.command}: unknown argument {unknown[0]}; "
            f"see jdann {arguments.command} --help"
        )
    return arguments


def _split_launch(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words of `jdann launch` itself, and those of the command that it starts."""
    if words[0] != "launch" or "--" not in words:
        return list(words), []
    dashes = list(words).index("--")
    return list(words[:dashes]), list(words[dashes + 1 :])


def _parse_started(
    parser: argparse.ArgumentParser, arguments: argparse.Namespace, words: list[str]
) -> None:
    """Adds the command that `jdann launch` starts; it is wrong here already where it is wrong."""
    if not words:
        raise InputError(
            "jdann launch: write the command behind --, e.g. jdann launch --on local:4 -- train "
            "--config best"
        )
    pick({name: None for name in COMMANDS if name != "launch"}, words[0], "the command behind --")
    arguments.started_words = words
    first_copy = [word.replace("{i}", "1").replace("{n}", "1") for word in words]
    arguments.started = _parse(parser, first_copy)


def _join_overrides(words: Sequence[str]) -> list[str]:
    """Turns `--config.key value` into `--config.key=value`."""
    joined: list[str] = []
    rest = iter(words)
    for word in rest:
        if word.startswith("--config.") and "=" not in word:
            word = f"{word}={next(rest, '')}"
        joined.append(word)
    return joined


def _set_up_jax() -> None:
    """Keeps compiled programs in the user's cache, so that the next run finds them."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # Not at the top: jax takes a second, and `run_program` has to come first.
    import jax

    from jdann.program_cache import LEAST_COMPILE_S, default_cache_dir

    options = {
        "jax_compilation_cache_dir": str(default_cache_dir()),
        "jax_persistent_cache_min_compile_time_secs": LEAST_COMPILE_S,
    }
    for option, value in options.items():
        # The environment is for processes that this one starts. JAX has read it before.
        chosen = os.environ.setdefault(option.upper(), str(value))
        if chosen == str(value):
            jax.config.update(option, value)


def _set_up_log(level: int, timestamps: bool = False) -> None:
    """Sends the package's log to standard error, a plain line per message."""
    handler = logging.StreamHandler(sys.stderr)
    form = "%(asctime)s %(levelname)s %(message)s" if timestamps else "%(message)s"
    handler.setFormatter(VisibleFormatter(form))
    log.handlers[:] = [handler]
    log.setLevel(level)
    log.propagate = False


def _disk_message(error: BaseException) -> str | None:
    """What to say about a disk that is full or not writable; None: the error is another one."""
    if not isinstance(error, OSError):
        return None
    name = error.filename
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        place = f" ({name})" if name else ""
        return (
            f"the disk is full{place}: free some space, or choose another --workdir or --data-dir, "
            "then --resume"
        )
    if name is not None:
        return f"{name}: {error.strerror}; choose a --workdir and --data-dir that you may write to"
    return None
