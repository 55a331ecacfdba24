"""The parser of the command line, and the commands that it knows."""

import argparse
from collections.abc import Callable
from typing import NoReturn

from jdann import __version__
from jdann.arguments.corpora import (
    corpora_arguments,
    encoders_arguments,
    prepare_arguments,
    recordings_arguments,
)
from jdann.arguments.models import (
    evaluate_arguments,
    export_arguments,
    predict_arguments,
    report_arguments,
    serve_arguments,
)
from jdann.arguments.training import (
    launch_arguments,
    sweep_arguments,
    train_arguments,
    tune_arguments,
)
from jdann.errors import InputError

_ANY_KEY = "Any key of configs/base.py is set by --config.KEY=VALUE."
# name: what it does, and what adds its arguments
COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "train": ("Trains a recogniser for an unlabelled language", train_arguments),
    "prepare": (
        "Prepares ESD or the demo corpus, or computes the features of corpora",
        prepare_arguments,
    ),
    "corpora": ("Lists what corpora hold", corpora_arguments),
    "encoders": ("Lists pretrained speech encoders, or describes one", encoders_arguments),
    "evaluate": (
        "Scores a finished run again, on a few labelled clips, or on another corpus",
        evaluate_arguments,
    ),
    "sweep": ("Trains every combination of hyper-parameters in one program", sweep_arguments),
    "tune": ("Searches hyper-parameters without target labels, by Optuna", tune_arguments),
    "launch": ("Starts a command several times: here, on Slurm or on Ray", launch_arguments),
    "report": ("Makes one self-contained page of a run, or of several", report_arguments),
    "predict": ("Recognises the emotions of audio files", predict_arguments),
    "recordings": ("Answers long recordings, such as calls, per speaker", recordings_arguments),
    "export": ("Writes a recogniser as one portable file", export_arguments),
    "serve": ("Serves a recogniser as a web page and a JSON endpoint", serve_arguments),
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
