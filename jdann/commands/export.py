"""`jdann export`."""

from argparse import Namespace

from jdann.commands.reading import expanded
from jdann.commands.recogniser import load_recogniser
from jdann.inference import export


def execute(arguments: Namespace) -> int:
    """Writes a recogniser as one file."""
    recogniser = load_recogniser(arguments)
    print(export.write(recogniser, expanded(arguments.out), overwrite=arguments.overwrite))
    return 0
