"""The command line, `jdann COMMAND`; `jdann --help` lists them. `run.py` is the same program.

This module knows the arguments of each command and imports nothing that is slow. What a command
does stands in `jdann/commands/`, one module per command.
"""

import argparse
import errno
import importlib
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import NoReturn

from jdann import __version__, interruption, jax_cache
from jdann.errors import DivergenceError, InputError
from jdann.parameters import pick
from jdann.progress import silenced
from jdann.terminal import VisibleFormatter, visible

log = logging.getLogger("jdann")
_NEEDS_ARGUMENTS = ("sweep", "tune")  # without any they print their help instead of starting work
_TAKES_OVERRIDES = ("train", "sweep", "tune", "recordings", "prepare")
_ANY_KEY = "Any key of configs/base.py is set by --config.KEY=VALUE."


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


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are `InputError`, one line like all others."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{self.prog}: {message}; see {self.prog} --help")


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = _Parser(
        prog="jdann",
        description="Trains a speech emotion recogniser for a language without labels.",
        epilog="jdann COMMAND --help says more. jdann --config NAME is jdann train --config NAME.",
        allow_abbrev=False,
    )
    parser.add_argument("-V", "--version", action="version", version=__version__)
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, parser_class=_Parser
    )
    for name, (summary, add_arguments) in COMMANDS.items():
        command = commands.add_parser(
            name, help=summary, description=f"{summary}. {_MORE.get(name, '')}", allow_abbrev=False
        )
        command.add_argument(
            "-q", "--quiet", action="store_true", help="print only warnings and results"
        )
        command.add_argument(
            "-v", "--verbose", action="store_true", help="print the time of each message"
        )
        add_arguments(command)
    return parser


def _data_dir_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data-dir",
        type=Path,
        help="folder of prepared corpora and cached features; default: $TFDS_DATA_DIR or "
        "~/tensorflow_datasets",
    )


def _run_arguments(parser: argparse.ArgumentParser, config: str, workdir: str) -> None:
    """Arguments of the commands that take a config."""
    parser.add_argument(
        "--config",
        default=config,
        help=f"a config file, or the name of one that comes with jdann; default: {config}",
    )
    parser.add_argument("--workdir", type=Path, help=f"where results go; default: {workdir}")
    _data_dir_argument(parser)


def _resume_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--resume", action="store_true", help="continue the run in the work directory"
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace the run in the work directory, which is kept there in the folder `replaced` "
        "until the new one is finished",
    )


def _processes_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the commands that several processes may run together."""
    parser.add_argument(
        "--coordinator",
        metavar="HOST:PORT",
        help="of process 0, if several processes train together; Slurm, Kubernetes and Open MPI "
        "tell it by themselves",
    )
    parser.add_argument(
        "--processes", type=int, metavar="N", help="how many train together; 1: this one alone"
    )
    parser.add_argument(
        "--process-id", type=int, metavar="I", help="of this process, from 0 to N - 1"
    )
    parser.add_argument(
        "--wait-s",
        type=int,
        default=300,
        metavar="S",
        help="how long to wait for the other processes, s; default: 300",
    )


def _train_arguments(parser: argparse.ArgumentParser) -> None:
    _run_arguments(parser, "en2zh", "runs/<config name>")
    _resume_arguments(parser)
    _processes_arguments(parser)


def _prepare_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "corpus",
        nargs="+",
        help="esd and its folder, in any known layout; or demo; or corpora whose features are "
        "computed, each a folder, a .csv or a name such as esd:en",
    )
    parser.add_argument(
        "--config",
        default="best",
        help="features: the config that will train on them; default: best",
    )
    where = parser.add_mutually_exclusive_group()
    _shard_arguments(where)
    where.add_argument(
        "--merge",
        type=int,
        metavar="N",
        help="features: merge N finished shards; the last shard does that by itself",
    )
    parser.add_argument(
        "--sentences",
        type=int,
        help="demo: sentences of each speaker and emotion, 1 to 350; default: 10",
    )
    parser.add_argument("--force", action="store_true", help="esd, demo: prepare again and replace")
    _data_dir_argument(parser)


def _shard_arguments(group: argparse._MutuallyExclusiveGroup) -> None:
    group.add_argument(
        "--shard",
        metavar="I/N",
        help="only the I-th of N parts, e.g. 2/16, for job arrays on a shared folder",
    )
    group.add_argument(
        "--on",
        metavar="ray[:ADDRESS]",
        help="all parts on a Ray cluster: that of this machine, or the one at ADDRESS",
    )


def _corpora_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "corpus", nargs="*", help="esd:en, demo:zh, a folder or a .csv; default: all prepared ones"
    )
    _layout_argument(parser, "each corpus", default="auto", more="; several, joined by commas")
    parser.add_argument(
        "--labels",
        default="",
        metavar="WORD=EMOTION,...",
        help="words of your own for emotions, or a table with the columns word,emotion",
    )
    _data_dir_argument(parser)


def _encoders_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "encoder",
        nargs="?",
        help="one of them, or any folder or id of the Hub; default: all that are known",
    )
    _data_dir_argument(parser)


def _layout_argument(
    parser: argparse.ArgumentParser, corpora: str, default: str | None, more: str = ""
) -> None:
    parser.add_argument(
        "--layout",
        default=default,
        metavar="NAME",
        help=f"how the names of files in the folder of {corpora} are read: auto, plain, or a "
        f"corpus such as ravdess{more}",
    )


def _evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "workdir",
        type=Path,
        help="the work directory of a finished run; with labels also a folder in its recogniser/",
    )
    parser.add_argument(
        "labels",
        nargs="?",
        type=Path,
        help="a csv of a few labelled clips of the target, with the columns file and emotion",
    )
    parser.add_argument(
        "--target", help="a corpus to score on instead of the run's own: a name, a folder or a .csv"
    )
    _layout_argument(parser, "--target", default=None)
    parser.add_argument(
        "--suggest", type=int, metavar="N", help="write a csv of N clips that should be labelled"
    )
    parser.add_argument("--output", type=Path, help="the csv of --suggest; default: to_label.csv")
    parser.add_argument("--method", help="with labels or --suggest; default: every method")
    parser.add_argument("--encoder", help="with labels or --suggest; default: every encoder")
    parser.add_argument(
        "--direction", type=int, default=0, help="1: the way back, with labels or --suggest"
    )
    _data_dir_argument(parser)


def _sweep_arguments(parser: argparse.ArgumentParser) -> None:
    _run_arguments(parser, "base", "runs/<config name>-sweep")
    parser.add_argument("--strengths", help="config.sweep.strength, e.g. 0,0.3,1")
    parser.add_argument("--learning-rates", help="config.sweep.learning_rate, e.g. 3e-4,1e-3,3e-3")
    parser.add_argument("--weight-decays", help="config.sweep.weight_decay, e.g. 0,1e-2")
    _resume_arguments(parser)
    _processes_arguments(parser)


def _tune_arguments(parser: argparse.ArgumentParser) -> None:
    _run_arguments(parser, "tune_poster", "runs/<config name>")
    parser.add_argument(
        "--storage",
        help="where workers on several machines meet: a file that ends in .journal in a shared "
        "folder, or a database, e.g. postgresql://...; default: tune.db in the work directory",
    )
    parser.add_argument("--study", default="jdann", help="the study's name in the storage")
    parser.add_argument(
        "--workers", type=int, default=1, help="processes that try side by side on one storage"
    )


def _launch_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "jdann launch --on WHERE [options] -- COMMAND ..."
    parser.add_argument(
        "--on",
        required=True,
        metavar="WHERE",
        help="local:N, N processes on this machine; slurm; ray, the cluster of this "
        "machine; or ray:ADDRESS",
    )
    parser.add_argument(
        "--tasks",
        type=int,
        default=1,
        metavar="N",
        help="slurm, ray: start the command N times; {i} in it becomes 1 to N, and {n} N",
    )
    parser.add_argument(
        "--slurm",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option of sbatch, e.g. nodes=2, ntasks-per-node=4 or time=120; repeatable",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("runs/launched"),
        help="slurm: where logs go, in a folder that all nodes see; default: runs/launched",
    )
    parser.add_argument("--cpus", type=float, default=1.0, help="ray: CPUs per task; default: 1")
    parser.add_argument("--gpus", type=float, default=0.0, help="ray: GPUs per task; default: 0")


def _report_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workdir", nargs="+", type=Path, help="one or more, as in runs/*")
    parser.add_argument(
        "--output",
        type=Path,
        help="the file; default: report.html in the work directory, or beside several",
    )
    _data_dir_argument(parser)


def _model_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the commands that take a trained recogniser."""
    parser.add_argument(
        "model",
        type=Path,
        help="the work directory of a finished run, or a folder in its recogniser/",
    )
    parser.add_argument(
        "--method", help="which one of the run's; default: the last that adapts to the target"
    )
    parser.add_argument("--encoder", help="default: the last one of the run's config")
    parser.add_argument(
        "--direction", type=int, default=0, help="1: the way back, of a run in both directions"
    )
    parser.add_argument("--classes", help="emotions to choose among, e.g. happy,sad; default: all")


def _predict_arguments(parser: argparse.ArgumentParser) -> None:
    _model_arguments(parser)
    parser.add_argument(
        "files",
        nargs="+",
        help="files, folders, patterns in quotes, or csv files with a column named file",
    )
    parser.add_argument(
        "--csv", type=Path, help="write the rows to this file; columns of an input csv are kept"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="write the rows to a file in this folder, or to one file for each shard; a clip that "
        "is left out is a row with the reason",
    )
    parser.add_argument("--format", help="of the files in --out: csv or parquet; default: csv")
    _shard_arguments(parser.add_mutually_exclusive_group())
    parser.add_argument(
        "--timeline", action="store_true", help="one row per window, of files of any length"
    )
    parser.add_argument("--window-s", type=float, default=3.0, help="length of a window, s")
    parser.add_argument(
        "--hop-s", type=float, default=1.0, help="from the start of one window to the next, s"
    )
    parser.add_argument(
        "--abstain",
        type=float,
        default=0.0,
        help="name no emotion where none is at least this probable, 0 to 1",
    )
    parser.add_argument(
        "--sets",
        type=float,
        metavar="LEVEL",
        help="also list the most probable emotions, as many as are needed for this total "
        "probability (above 0, at most 1); jdann evaluate MODEL LABELS.csv suggests a level",
    )
    parser.add_argument(
        "--adapt",
        action="store_true",
        help="adapt to each speaker, by the files' own audio: the column speaker of the csv, else "
        "what the names of the files tell",
    )
    parser.add_argument(
        "--one-speaker", action="store_true", help="adapt to all files as those of one person"
    )
    parser.add_argument(
        "--speaker-pattern",
        default="",
        metavar="REGEX",
        help="adapt to the speakers that a regular expression finds in the names, e.g. '(sp\\d+)_'",
    )
    _speakers_argument(parser, default=None)
    _data_dir_argument(parser)


def _recordings_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "recordings", nargs="+", help="long recordings, such as calls, or folders of them"
    )
    parser.add_argument(
        "--source", help="a labelled corpus: train on it, adapted to the recordings"
    )
    parser.add_argument(
        "--model", type=Path, help="the work directory of a finished run: use it instead"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder of the results")
    _speakers_argument(parser, default=2)
    parser.add_argument(
        "--config", default="best", help="how to train, as for jdann train; default: best"
    )
    _data_dir_argument(parser)
    _resume_arguments(parser)


def _speakers_argument(parser: argparse.ArgumentParser, default: int | None) -> None:
    parser.add_argument(
        "--speakers-per-recording",
        type=int,
        default=default,
        metavar="N",
        help="people in each recording at most: they are told apart by channel or by voice; "
        + ("with --timeline" if default is None else f"default: {default}"),
    )


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    _model_arguments(parser)
    parser.add_argument("out", type=Path, help="the file to write, e.g. en2zh.jdann")
    parser.add_argument("--overwrite", action="store_true", help="replace the file")


def _serve_arguments(parser: argparse.ArgumentParser) -> None:
    _model_arguments(parser)
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; default: this machine only"
    )
    parser.add_argument("--port", type=int, default=8000, help="0: any free one; default: 8000")
    parser.add_argument("--max-mb", type=float, default=20.0, help="largest upload, MB")
    parser.add_argument("--max-s", type=float, default=300.0, help="longest clip, s")
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="a file with a token, without which nobody gets an answer; default: $JDANN_TOKEN",
    )
    parser.add_argument(
        "--cors",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="a web site whose pages may ask, e.g. https://example.org, or * for all; repeatable",
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name by which visitors reach the server, e.g. through a proxy; repeatable; "
        "default: with --host 127.0.0.1 only the names of this machine, else any",
    )
    parser.add_argument(
        "--trusted-proxy",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="a proxy whose X-Forwarded-For names the client, e.g. 127.0.0.1; repeatable",
    )
    parser.add_argument(
        "--access-log",
        default="",
        metavar="FILE",
        help="add a line of JSON for each request to this file; -: standard output",
    )


# name: what it does, and what adds its arguments
COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "train": ("Trains a recogniser for an unlabelled language", _train_arguments),
    "prepare": (
        "Prepares ESD or the demo corpus, or computes the features of corpora",
        _prepare_arguments,
    ),
    "corpora": ("Lists what corpora hold", _corpora_arguments),
    "encoders": ("Lists pretrained speech encoders, or describes one", _encoders_arguments),
    "evaluate": (
        "Scores a finished run again, on a few labelled clips, or on another corpus",
        _evaluate_arguments,
    ),
    "sweep": ("Trains every combination of hyper-parameters in one program", _sweep_arguments),
    "tune": ("Searches hyper-parameters without target labels, by Optuna", _tune_arguments),
    "launch": ("Starts a command several times: here, on Slurm or on Ray", _launch_arguments),
    "report": ("Makes one self-contained page of a run, or of several", _report_arguments),
    "predict": ("Recognises the emotions of audio files", _predict_arguments),
    "recordings": ("Answers long recordings, such as calls, per speaker", _recordings_arguments),
    "export": ("Writes a recogniser as one portable file", _export_arguments),
    "serve": ("Serves a recogniser as a web page and a JSON endpoint", _serve_arguments),
}
_MORE = {
    "train": f"For example: jdann train --config best --config.source=a.csv --config.target=b.csv. "
    f"{_ANY_KEY}",
    "sweep": f"Values are separated by commas. {_ANY_KEY}",
    "tune": f"It searches config.tune.space; running it again continues. {_ANY_KEY}",
    "launch": "For example: jdann launch --on local:4 -- train --config best.",
    "recordings": f"Speech is found, cut into utterances, and told apart by speaker. {_ANY_KEY}",
    "prepare": "For example: jdann prepare esd /data/ESD; jdann prepare demo; jdann prepare a.csv "
    f"--config best --shard 2/16. {_ANY_KEY}",
    "evaluate": "For example: jdann evaluate runs/mine --suggest 30, then write what you hear into "
    "to_label.csv, then jdann evaluate runs/mine to_label.csv.",
    "predict": "The exit status is 0 where all files could be used, 1 where some were left out, "
    "2 where none could be used.",
    "encoders": "For example: jdann encoders facebook/hubert-base-ls960. It fetches nothing.",
    "serve": "Audio stays in memory and is forgotten after the answer.",
}


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
