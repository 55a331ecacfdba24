"""`jdann evaluate`."""

from argparse import Namespace

from jdann.commands.printing import print_results
from jdann.commands.reading import data_dir, expanded
from jdann.experiments.evaluate import evaluate


def execute(arguments: Namespace) -> int:
    """Scores a finished run again, or on another corpus."""
    workdir = expanded(arguments.workdir)
    print_results(evaluate(workdir, data_dir(arguments), arguments.target))
    return 0
