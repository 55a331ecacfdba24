"""`jdann report`."""

from argparse import Namespace

from jdann.commands.reading import data_dir, expanded
from jdann.report import page


def execute(arguments: Namespace) -> int:
    """Writes one self-contained page of a run, or of several side by side."""
    folders = [expanded(path) for path in arguments.workdir]
    page.main(folders, data_dir(arguments), expanded(arguments.output))
    return 0
