"""The command line, `jdann COMMAND`; `jdann --help` lists them. `run.py` is the same program."""

import argparse
import errno
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import jax

from jdann.errors import DivergenceError, InputError

COMMANDS = (
    "train",
    "prepare",
    "corpora",
    "evaluate",
    "sweep",
    "tune",
    "report",
    "predict",
    "export",
    "serve",
)
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
            _stop(
                f"the disk is full{where}: free some space, or choose another --workdir or --data-dir, then --resume",
                2,
            )
        if error.filename is None:
            raise
        _stop(
            f"{error.filename}: {error.strerror}; choose a --workdir and --data-dir that you may write to",
            2,
        )
    except DivergenceError as error:
        _stop(str(error), 1)
    except Exception as error:
        if "No space left on device" in str(error):  # Orbax wraps it
            _stop(
                "the disk is full: free some space, or choose another --workdir, then --resume", 2
            )
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
    commands = {
        "train": _train,
        "prepare": _prepare,
        "corpora": _corpora,
        "evaluate": _evaluate,
        "sweep": _sweep,
        "tune": _tune,
        "report": _report,
        "predict": _predict,
        "export": _export,
        "serve": _serve,
        "help": _help,
    }
    commands[command](arguments)


def _parser(command: str, description: str) -> argparse.ArgumentParser:
    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise InputError(f"jdann {command}: {message}; see jdann {command} --help")

    parser = Parser(prog=f"jdann {command}", description=description, allow_abbrev=False)
    parser.add_argument(
        "--data-dir",
        type=Path,
        help="of prepared corpora and cached features; default: $TFDS_DATA_DIR or ~/tensorflow_datasets",
    )
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
    parser.add_argument(
        "--config", default="en2zh", help="a config file, or the name of one that comes with jdann"
    )
    parser.add_argument(
        "--workdir", type=Path, help="where results go; default: runs/<config name>"
    )
    parser.add_argument(
        "--resume", action="store_true", help="continue the run in the work directory"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the run in the work directory"
    )
    given, overrides = parser.parse_known_args(_join_overrides(arguments))
    from jdann.configuration import load_config

    config = load_config(given.config, _overrides(overrides))
    path = _expanded(given.workdir) if given.workdir else Path("runs") / Path(given.config).stem
    from jdann.experiments.train import run

    results = run(
        config, path, _data_dir(given.data_dir), resume=given.resume, overwrite=given.overwrite
    )
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
            raise InputError(
                f"{argument}: unknown option; keys of the config are set by --config.KEY=VALUE"
            )
        key, _, value = argument.removeprefix("--config.").partition("=")
        pairs.append((key, value))
    return pairs


def _prepare(arguments: list[str]) -> None:
    parser = _parser("prepare", "Prepares a corpus once: ESD from its folder, or the demo corpus.")
    parser.add_argument("corpus", choices=("esd", "demo"))
    parser.add_argument(
        "folder",
        nargs="?",
        type=Path,
        help="esd: the folder that holds 0001 to 0020, in any known layout",
    )
    parser.add_argument(
        "--sentences",
        type=int,
        default=10,
        help="demo: sentences of each speaker and emotion, 1 to 350",
    )
    parser.add_argument(
        "--force", action="store_true", help="prepare again, replacing what is there"
    )
    given = parser.parse_args(arguments)
    data_dir = _data_dir(given.data_dir)
    if given.corpus == "demo":
        from jdann.corpora import demo

        print(demo.ensure(data_dir, sentences=given.sentences, force=given.force))
        return
    if given.folder is None:
        raise InputError(
            "jdann prepare esd: expected the folder of ESD, as in jdann prepare esd /data/ESD"
        )
    from jdann.corpora.prepared import prepare_esd

    made = prepare_esd(given.folder.expanduser(), data_dir, force=given.force)
    did = "was prepared before" if made.already else "is prepared"
    print(
        f"ESD {did}: {made.utterances:,} utterances of {made.speakers} speakers, {made.hours:.2f} h, in {made.path}"
    )
    for skipped in made.skipped:
        print(f"left out: {skipped.file}: {skipped.reason}")
    for note in made.notes:
        print(f"note: {note}")


def _corpora(arguments: list[str]) -> None:
    parser = _parser(
        "corpora", "Lists corpora: counts per emotion, speaker and language, and hours."
    )
    parser.add_argument(
        "corpus", nargs="*", help="esd:en, demo:zh, a folder or a .csv; default: those at hand"
    )
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
        print(
            f"No corpus is prepared in {data_dir}. `jdann prepare esd FOLDER` and `jdann prepare demo` do that; any folder"
        )
        print("or manifest can be listed: `jdann corpora FOLDER list.csv`")
        return
    summaries = [corpora.describe(corpora.load(name, corpora.EMOTIONS, data_dir)) for name in names]
    _print(render_summaries(summaries))


def _evaluate(arguments: list[str]) -> None:
    parser = _parser(
        "evaluate", "Scores a finished run again, or its recogniser on another corpus."
    )
    parser.add_argument("workdir", type=Path)
    parser.add_argument(
        "--target", help="a corpus to score on instead of the run's own: a name, a folder or a .csv"
    )
    given = parser.parse_args(arguments)
    from jdann.experiments.evaluate import evaluate

    _print_table(evaluate(given.workdir, _data_dir(given.data_dir), given.target))


def _report(arguments: list[str]) -> None:
    parser = _parser(
        "report", "Makes one self-contained page of a run, or of several side by side."
    )
    parser.add_argument("workdir", nargs="+", type=Path, help="one or more, as in runs/*")
    parser.add_argument(
        "--output",
        type=Path,
        help="the file; default: report.html in the work directory, or beside several",
    )
    given = parser.parse_args(arguments)
    from jdann.report import page

    output = None if given.output is None else _expanded(given.output)
    page.main([_expanded(path) for path in given.workdir], _data_dir(given.data_dir), output)


def _model_parser(command: str, description: str) -> argparse.ArgumentParser:
    """A parser of commands that take a trained model."""
    parser = _parser(command, description)
    parser.add_argument(
        "model",
        type=Path,
        help="the work directory of a finished run, or a folder in its recogniser/",
    )
    parser.add_argument(
        "--method", help="which of the run's; default: the last that adapts to the target"
    )
    parser.add_argument("--encoder", help="default: the last of the run's config")
    parser.add_argument(
        "--direction", type=int, default=0, help="1: the way back, of a run in both directions"
    )
    parser.add_argument("--classes", help="emotions to choose among, e.g. happy,sad; default: all")
    return parser


def _recogniser(given: argparse.Namespace) -> Any:
    from jdann.inference.recogniser import Recogniser

    recogniser = Recogniser.load(
        _expanded(given.model), given.method, given.encoder, given.direction
    )
    return (
        recogniser.only(*(name.strip() for name in given.classes.split(",")))
        if given.classes
        else recogniser
    )


def _predict(arguments: list[str]) -> None:
    parser = _model_parser(
        "predict",
        "Recognises audio files. Exits with 0 where all could be used, 1 where some were left out, 2 where none could be used.",
    )
    parser.add_argument(
        "files",
        nargs="+",
        help="files, folders, patterns in quotes, or csv files with a column file",
    )
    parser.add_argument(
        "--csv", type=Path, help="write the rows there; the columns of an input csv are kept"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument(
        "--timeline", action="store_true", help="a row for each window, of files of any length"
    )
    parser.add_argument("--window-s", type=float, default=3.0, help="length of a window, s")
    parser.add_argument(
        "--hop-s", type=float, default=1.0, help="from one window's beginning to the next one's, s"
    )
    parser.add_argument(
        "--abstain",
        type=float,
        default=0.0,
        help="name no emotion where none is as probable as this, 0 to 1",
    )
    parser.add_argument(
        "--adapt",
        action="store_true",
        help="normalise by the files' own audio: those of each speaker, by the csv's column speaker",
    )
    given = parser.parse_args(arguments)
    from jdann.inference import predict

    options = predict.Options(
        given.timeline, given.window_s, given.hop_s, given.abstain, given.adapt
    )
    status = predict.run(lambda: _recogniser(given), given.files, options, given.csv, given.json)
    if status:
        sys.exit(status)


def _export(arguments: list[str]) -> None:
    parser = _model_parser(
        "export", "Writes a recogniser as one file: audio in, probabilities out, by StableHLO."
    )
    parser.add_argument("out", type=Path, help="the file to write, e.g. en2zh.jdann")
    parser.add_argument("--overwrite", action="store_true", help="replace the file")
    given = parser.parse_args(arguments)
    from jdann.inference import export

    print(export.write(_recogniser(given), _expanded(given.out), overwrite=given.overwrite))


def _serve(arguments: list[str]) -> None:
    parser = _model_parser(
        "serve",
        "Serves a page and a JSON endpoint; audio stays in memory and is forgotten after the answer.",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; default: this machine alone"
    )
    parser.add_argument("--port", type=int, default=8000, help="0: any free one")
    parser.add_argument("--max-mb", type=float, default=20.0, help="largest upload, MB")
    parser.add_argument("--max-s", type=float, default=300.0, help="longest clip, s")
    given = parser.parse_args(arguments)
    try:
        from jdann.web import server
    except ModuleNotFoundError as error:
        raise InputError(f"jdann serve needs {error.name}: pip install 'jdann[serve]'") from error

    limits = server.make_limits(given.max_mb, given.max_s)
    server.main(_recogniser(given), _expanded(given.model), given.host, given.port, limits)


def _sweep(arguments: list[str]) -> None:
    parser = _parser(
        "sweep",
        "Trains every seed at every combination of strength, learning rate and weight decay in one program; values are "
        "separated by commas. Any key of configs/base.py is set by --config.KEY=VALUE",
    )
    parser.add_argument(
        "--config", default="en2zh", help="a config file, or the name of one that comes with jdann"
    )
    parser.add_argument("--strengths", help="config.sweep.strength, e.g. 0,0.3,1")
    parser.add_argument("--learning-rates", help="config.sweep.learning_rate, e.g. 3e-4,1e-3,3e-3")
    parser.add_argument("--weight-decays", help="config.sweep.weight_decay, e.g. 0,1e-2")
    parser.add_argument(
        "--workdir", type=Path, help="where results go; default: runs/<config name>-sweep"
    )
    parser.add_argument(
        "--resume", action="store_true", help="continue the sweep in the work directory"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace what is in the work directory"
    )
    given, overrides = parser.parse_known_args(_join_overrides(arguments))
    values = {
        "strength": given.strengths,
        "learning_rate": given.learning_rates,
        "weight_decay": given.weight_decays,
    }
    from jdann.configuration import load_config

    pairs = [(f"sweep.{key}", value) for key, value in values.items() if value is not None]
    config = load_config(given.config, [*_overrides(overrides), *pairs])
    path = (
        _expanded(given.workdir)
        if given.workdir
        else Path("runs") / f"{Path(given.config).stem}-sweep"
    )
    from jdann.experiments.sweep import sweep
    from jdann.figures.sweep import render

    _print(
        render(
            sweep(
                config,
                path,
                _data_dir(given.data_dir),
                resume=given.resume,
                overwrite=given.overwrite,
            )
        )
    )
    best = ", ".join(file.name for file in sorted(path.glob("best-*.json"))) or "none"
    print(
        f"Everything is in {path}; what jdann train --config takes to train a chosen point alone: {best}",
        flush=True,
    )


def _tune(arguments: list[str]) -> None:
    parser = _parser(
        "tune",
        "Searches config.tune.space by Optuna for what a criterion without target labels prefers. Running it again continues. "
        "Any key of configs/base.py is set by --config.KEY=VALUE",
    )
    parser.add_argument(
        "--config",
        default="tune_poster",
        help="a config file, or the name of one that comes with jdann",
    )
    parser.add_argument(
        "--workdir", type=Path, help="where results go; default: runs/<config name>"
    )
    parser.add_argument(
        "--storage",
        help="an Optuna storage URL, e.g. postgresql://...; default: tune.db in the work directory",
    )
    parser.add_argument("--study", default="jdann", help="the study's name in the storage")
    parser.add_argument(
        "--workers", type=int, default=1, help="processes that try side by side, all on one storage"
    )
    given, overrides = parser.parse_known_args(_join_overrides(arguments))
    from jdann.configuration import load_config

    config = load_config(given.config, _overrides(overrides))
    path = _expanded(given.workdir) if given.workdir else Path("runs") / Path(given.config).stem
    from jdann.experiments.tune import tune
    from jdann.figures.tuning import render

    data_dir = _data_dir(given.data_dir)
    _print(
        render(
            tune(
                config,
                path,
                data_dir,
                storage=given.storage,
                study_name=given.study,
                workers=given.workers,
            )
        )
    )
    print(
        f"Everything is in {path}; jdann train --config {path / 'best.json'} trains the best",
        flush=True,
    )


def _help(arguments: list[str]) -> None:
    del arguments
    print("""jdann: train a speech emotion recogniser for a language in which nobody has labelled anything

  jdann corpora [CORPUS ...]                 what corpora hold: a folder, a csv, esd:en, demo:zh
  jdann prepare esd FOLDER | demo            once, before ESD or the demo corpus is used
  jdann [train] --config NAME [--config.KEY=VALUE ...] [--workdir DIR] [--resume | --overwrite]
  jdann evaluate WORKDIR [--target CORPUS]   scores a finished run again, or on another corpus
  jdann sweep --config NAME --strengths 0,0.3,1       a grid with several seeds, in one program
  jdann tune --config NAME [--workers N]     a search by Optuna, without target labels
  jdann predict WORKDIR FILE ... [--csv OUT] [--timeline]
  jdann report WORKDIR ... [--output FILE]   one page of a run, or of several side by side
  jdann serve WORKDIR [--port N]             a web page with a microphone, and a JSON endpoint
  jdann export WORKDIR FILE                  the recogniser as one file

Each command explains itself: jdann train --help. NAME is a config file, or base, best, en2zh, poster or tune_poster.
All keys of a config, with default and unit: jdann/configs/base.py, or configs/base.py in a checkout.""")


def _print_table(results: dict[str, Any]) -> None:
    from jdann.report.table import render

    _print(render(results))


def _print(renderable: Any) -> None:
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 160).print(renderable)


def _set_up() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "jdann" / "xla"
    defaults = {
        "jax_compilation_cache_dir": str(cache),
        "jax_persistent_cache_min_compile_time_secs": "0.2",
    }
    for option, value in defaults.items():  # compiled programs are found again by the next run
        chosen = os.environ.setdefault(
            option.upper(), value
        )  # for the processes that this one starts
        if chosen == value:  # JAX, which came with this package, has read its environment before
            jax.config.update(option, float(value) if option.endswith("secs") else value)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.handlers[:] = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False


def _stop(message: str, status: int) -> NoReturn:
    print(f"jdann: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(status)
