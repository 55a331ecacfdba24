"""Arguments that several commands take."""

import argparse
from pathlib import Path


def data_dir_argument(parser: argparse.ArgumentParser) -> None:
    """The folder of prepared corpora and cached features."""
    parser.add_argument(
        "--data-dir",
        type=Path,
        help="folder of prepared corpora and cached features; default: $TFDS_DATA_DIR or "
        "~/tensorflow_datasets",
    )


def run_arguments(parser: argparse.ArgumentParser, config: str, workdir: str) -> None:
    """Arguments of the commands that take a config."""
    parser.add_argument(
        "--config",
        default=config,
        help=f"a config file, or the name of one that comes with jdann; default: {config}",
    )
    parser.add_argument("--workdir", type=Path, help=f"where results go; default: {workdir}")
    data_dir_argument(parser)


def resume_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do with a run that is in the work directory already."""
    parser.add_argument(
        "--resume", action="store_true", help="continue the run in the work directory"
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace the run in the work directory, which is kept there in the folder `replaced` "
        "until the new one is finished",
    )


def processes_arguments(parser: argparse.ArgumentParser) -> None:
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


def shard_arguments(group: argparse._MutuallyExclusiveGroup) -> None:
    """Where the work is divided: into parts of a job array, or on a Ray cluster."""
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


def layout_argument(
    parser: argparse.ArgumentParser, corpora: str, default: str | None, more: str = ""
) -> None:
    """How the names of files are read; `corpora` says of which, for the help."""
    parser.add_argument(
        "--layout",
        default=default,
        metavar="NAME",
        help=f"how the names of files in the folder of {corpora} are read: auto, plain, or a "
        f"corpus such as ravdess{more}",
    )


def model_arguments(parser: argparse.ArgumentParser) -> None:
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


def speakers_argument(parser: argparse.ArgumentParser, default: int | None) -> None:
    """How many people speak in each recording."""
    parser.add_argument(
        "--speakers-per-recording",
        type=int,
        default=default,
        metavar="N",
        help="people in each recording at most: they are told apart by channel or by voice; "
        + ("with --timeline" if default is None else f"default: {default}"),
    )
