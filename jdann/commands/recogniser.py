"""The recogniser that predict, export and serve are given."""

from argparse import Namespace

from jdann.commands.reading import expanded
from jdann.inference.recogniser import Recogniser


def load_recogniser(arguments: Namespace) -> Recogniser:
    """The recogniser that the arguments name, restricted to their classes."""
    path = expanded(arguments.model)
    recogniser = Recogniser.load(path, arguments.method, arguments.encoder, arguments.direction)
    if not arguments.classes:
        return recogniser
    return recogniser.only(*(name.strip() for name in arguments.classes.split(",")))
