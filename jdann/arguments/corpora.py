"""Arguments of the commands about corpora, recordings and pretrained encoders."""

import argparse
from pathlib import Path

from jdann.arguments.shared import (
    data_dir_argument,
    layout_argument,
    resume_arguments,
    shard_arguments,
    speakers_argument,
)


def prepare_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `jdann prepare`."""
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
    shard_arguments(where)
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
    data_dir_argument(parser)


def corpora_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `jdann corpora`."""
    parser.add_argument(
        "corpus", nargs="*", help="esd:en, demo:zh, a folder or a .csv; default: all prepared ones"
    )
    layout_argument(parser, "each corpus", default="auto", more="; several, joined by commas")
    parser.add_argument(
        "--labels",
        default="",
        metavar="WORD=EMOTION,...",
        help="words of your own for emotions, or a table with the columns word,emotion",
    )
    data_dir_argument(parser)


def encoders_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `jdann encoders`."""
    parser.add_argument(
        "encoder",
        nargs="?",
        help="one of them, or any folder or id of the Hub; default: all that are known",
    )
    data_dir_argument(parser)


def recordings_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `jdann recordings`."""
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
    speakers_argument(parser, default=2)
    parser.add_argument(
        "--config", default="best", help="how to train, as for jdann train; default: best"
    )
    data_dir_argument(parser)
    resume_arguments(parser)
