"""`jdann prepare`."""

from argparse import Namespace
from pathlib import Path

from jdann.commands.reading import data_dir, expanded
from jdann.corpora import demo
from jdann.corpora.prepared import prepare_esd
from jdann.errors import InputError


def execute(arguments: Namespace) -> int:
    """Prepares ESD from its folder, or synthesises the demo corpus."""
    data_folder = data_dir(arguments)
    if arguments.corpus == "demo":
        path = demo.ensure(data_folder, sentences=arguments.sentences, force=arguments.force)
        print(f"The demo corpus is in {path}")
        return 0
    if arguments.folder is None:
        raise InputError(
            "jdann prepare esd: expected the folder of ESD, as in jdann prepare esd /data/ESD"
        )
    _prepare_esd(expanded(arguments.folder), data_folder, arguments.force)
    return 0


def _prepare_esd(source: Path, data_folder: Path, force: bool) -> None:
    prepared = prepare_esd(source, data_folder, force=force)
    state = "was prepared before" if prepared.existed_before else "is prepared"
    print(
        f"ESD {state}: {prepared.utterances:,} utterances of {prepared.speakers} speakers, "
        f"{prepared.hours:.2f} h, in {prepared.path}"
    )
    for skipped in prepared.skipped:
        print(f"left out: {skipped.file}: {skipped.reason}")
    for note in prepared.notes:
        print(f"note: {note}")
