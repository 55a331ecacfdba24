"""The command line: `jdann [train]`, `prepare`, `corpora`, `evaluate`. `run.py` is the same program."""

import argparse
import errno
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from jdann.errors import DivergenceError, InputError

COMMANDS = ("train", "prepare", "corpora", "evaluate")
log = logging.getLogger("jdann")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits: 0 where all went well, 2 for what the user can mend, 1 for a training that failed."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    _set_up()
    try:
        _dispatch(arguments)
    except InputError as error:
        _stop(str(error), 2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        _stop("interrupted; continue a training by --resume", 130)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            where = f" ({error.filename})" if error.filename else ""
            _stop(f"the disk is full{where}: free some space, or choose another --workdir or --data-dir, then --resume", 2)
        if error.filename is None:
            raise
        _stop(f"{error.filename}: {error.strerror}; choose a --workdir and --data-dir that you may write to", 2)
    except DivergenceError as error:
        _stop(str(error), 1)
    except Exception as error:
        if "No space left on device" in str(error):  # Orbax wraps it
            _stop("the disk is full: free some space, or choose another --workdir, then --resume", 2)
        raise


def _dispatch(arguments: list[str]) -> None:
    if arguments and arguments[0] in COMMANDS:
        command, arguments = arguments[0], arguments[1:]
    elif arguments and not arguments[0].startswith("-"):
        raise InputError(f"{arguments[0]}: no such command; known are {', '.join(COMMANDS)}")
    elif arguments and arguments[0] in ("-h", "--help"):
        command = "help"
    elif arguments and arguments[0] == "--version":
        from jdann import __version__

        print(__version__)
        return
    else:
        command = "train"
    {"train": _train, "prepare": _prepare, "corpora": _corpora, "evaluate": _evaluate, "help": _help}[command](arguments)


def _parser(command: str, description: str) -> argparse.ArgumentParser:
    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise InputError(f"jdann {command}: {message}; see jdann {command} --help")

    parser = Parser(prog=f"jdann {command}", description=description, allow_abbrev=False)
    parser.add_argument("--data-dir", type=Path, help="where prepared corpora and cached features live; default: TFDS's own")
    return parser


def _data_dir(given: Path | None) -> Path:
    if given is not None:
        return _expanded(given)
    if "TFDS_DATA_DIR" in os.environ:
        return Path(os.environ["TFDS_DATA_DIR"]).expanduser()
    return Path("~/tensorflow_datasets").expanduser()  # what TFDS takes where nothing else is said


def _expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise InputError(f"{path}: {error}") from error


def _train(arguments: list[str]) -> None:
    parser = _parser(
        "train",
        "Trains a recogniser for an unlabelled language. Any key of configs/base.py is set by --config.KEY=VALUE, e.g. "
        "--config.source=a.csv --config.target=b.csv --config.seeds=5 --config.encoder.name=resnet50",
    )
    parser.add_argument("--config", default="en2zh", help="a config file, or the name of one that comes with jdann")
    parser.add_argument("--workdir", type=Path, help="where results go; default: runs/<config name>")
    parser.add_argument("--resume", action="store_true", help="continue the run in the work directory")
    parser.add_argument("--overwrite", action="store_true", help="replace the run in the work directory")
    given, overrides = parser.parse_known_args(_join_overrides(arguments))
    from jdann.configuration import load_config

    config = load_config(given.config, _overrides(overrides))
    path = _expanded(given.workdir) if given.workdir else Path("runs") / Path(given.config).stem
    from jdann.run import run

    results = run(config, path, _data_dir(given.data_dir), resume=given.resume, overwrite=given.overwrite)
    _print_table(results)
    print(f"Everything is in {path}", flush=True)


def _join_overrides(arguments: list[str]) -> list[str]:
    """Turns `--config.key value` into `--config.key=value`."""
    joined: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument.startswith("--config.") and "=" not in argument:
            argument = f"{argument}={next(rest, '')}"
        joined.append(argument)
    return joined


def _overrides(arguments: list[str]) -> list[tuple[str, str]]:
    pairs = []
    for argument in arguments:
        if not argument.startswith("--config."):
            raise InputError(f"{argument}: unknown option; keys of the config are set by --config.KEY=VALUE")
        key, _, value = argument.removeprefix("--config.").partition("=")
        pairs.append((key, value))
    return pairs


def _prepare(arguments: list[str]) -> None:
    parser = _parser("prepare", "Prepares a corpus once: ESD from its folder, or the demo corpus.")
    parser.add_argument("corpus", choices=("esd", "demo"))
    parser.add_argument("folder", nargs="?", type=Path, help="esd: the folder that holds 0001 to 0020, in any known layout")
    parser.add_argument("--sentences", type=int, default=10, help="demo: sentences of each speaker and emotion, 1 to 350")
    parser.add_argument("--force", action="store_true", help="prepare again, replacing what is there")
    given = parser.parse_args(arguments)
    data_dir = _data_dir(given.data_dir)
    if given.corpus == "demo":
        from jdann.corpora import demo

        print(demo.ensure(data_dir, sentences=given.sentences, force=given.force))
        return
    if given.folder is None:
        raise InputError("jdann prepare esd: expected the folder of ESD, as in jdann prepare esd /data/ESD")
    from jdann.corpora.prepared import prepare_esd

    made = prepare_esd(given.folder.expanduser(), data_dir, force=given.force)
    did = "was prepared before" if made.already else "is prepared"
    print(f"ESD {did}: {made.utterances:,} utterances of {made.speakers} speakers, {made.hours:.2f} h, in {made.path}")
    for skipped in made.skipped:
        print(f"left out: {skipped.file}: {skipped.reason}")
    for note in made.notes:
        print(f"note: {note}")


def _corpora(arguments: list[str]) -> None:
    parser = _parser("corpora", "Lists corpora: counts per emotion, speaker and language, and hours.")
    parser.add_argument("corpus", nargs="*", help="esd:en, demo:zh, a folder or a .csv; default: those at hand")
    given = parser.parse_args(arguments)
    from jdann import corpora
    from jdann.corpora import demo, prepared
    from jdann.report.table import render_summaries

    data_dir = _data_dir(given.data_dir)
    names = given.corpus
    if not names:
        names += ["esd:en", "esd:zh"] if prepared.is_prepared(data_dir) else []
        names += ["demo:en", "demo:zh"] if demo.folder(data_dir).exists() else []
    if not names:
        print(f"No corpus is prepared in {data_dir}. `jdann prepare esd FOLDER` and `jdann prepare demo` do that; any folder")
        print("or manifest can be listed: `jdann corpora FOLDER list.csv`")
        return
    summaries = [corpora.describe(corpora.load(name, corpora.EMOTIONS, data_dir)) for name in names]
    _print(render_summaries(summaries))


def _evaluate(arguments: list[str]) -> None:
    parser = _parser("evaluate", "Scores a finished run again, or its recogniser on another corpus.")
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--target", help="a corpus to score on instead of the run's own: a name, a folder or a .csv")
    given = parser.parse_args(arguments)
    from jdann.reevaluation import evaluate

    _print_table(evaluate(given.workdir, _data_dir(given.data_dir), given.target))


def _help(arguments: list[str]) -> None:
    del arguments
    print(__doc__)
    print("""
  jdann [train] --config configs/en2zh.py [--config.KEY=VALUE ...] [--workdir DIR] [--resume | --overwrite]
  jdann prepare esd FOLDER | demo           jdann corpora [CORPUS ...]           jdann evaluate WORKDIR [--target CORPUS]

Each command explains itself: jdann train --help""")


def _print_table(results: dict[str, Any]) -> None:
    from jdann.report.table import render

    _print(render(results))


def _print(renderable: Any) -> None:
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 160).print(renderable)


def _set_up() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "jdann" / "xla"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))  # compiled programs are found again by the next run
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.handlers[:] = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False


def _stop(message: str, status: int) -> NoReturn:
    print(f"jdann: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(status)
