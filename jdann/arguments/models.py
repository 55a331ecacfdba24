"""Arguments of the commands that use or describe a finished run."""

import argparse
from pathlib import Path

from jdann.arguments.shared import (
    data_dir_argument,
    layout_argument,
    model_arguments,
    shard_arguments,
    speakers_argument,
)


def evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `jdann evaluate`."""
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
    layout_argument(parser, "--target", default=None)
    parser.add_argument(
        "--suggest", type=int, metavar="N", help="write a csv of N clips that should be labelled"
    )
    parser.add_argument("--output", type=Path, help="the csv of --suggest; default: to_label.csv")
    parser.add_argument("--method", help="with labels or --suggest; default: every method")
    parser.add_argument("--encoder", help="with labels or --suggest; default: every encoder")
    parser.add_argument(
        "--direction", type=int, default=0, help="1: the way back, with labels or --suggest"
    )
    data_dir_argument(parser)


def report_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `jdann report`."""
    parser.add_argument("workdir", nargs="+", type=Path, help="one or more, as in runs/*")
    parser.add_argument(
        "--output",
        type=Path,
        help="the file; default: report.html in the work directory, or beside several",
    )
    data_dir_argument(parser)


def predict_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `jdann predict`."""
    model_arguments(parser)
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
    shard_arguments(parser.add_mutually_exclusive_group())
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
    speakers_argument(parser, default=None)
    data_dir_argument(parser)


def export_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `jdann export`."""
    model_arguments(parser)
    parser.add_argument("out", type=Path, help="the file to write, e.g. en2zh.jdann")
    parser.add_argument("--overwrite", action="store_true", help="replace the file")


def serve_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `jdann serve`."""
    model_arguments(parser)
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
