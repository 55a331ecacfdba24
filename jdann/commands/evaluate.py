"""`jdann evaluate`."""

from argparse import Namespace
from pathlib import Path

from jdann.commands.printing import print_results
from jdann.commands.reading import data_dir, expanded
from jdann.corpora.naming import AUTO
from jdann.errors import InputError
from jdann.experiments.evaluate import evaluate
from jdann.experiments.evaluate_labels import evaluate_labels
from jdann.experiments.finished_run import Choice
from jdann.experiments.suggest_labels import suggest_labels

_SUGGESTIONS = Path("to_label.csv")


def execute(arguments: Namespace) -> int:
    """Scores a finished run again, on labelled clips or another corpus, or suggests clips."""
    path, labels = expanded(arguments.workdir), expanded(arguments.labels)
    choice = Choice(arguments.method, arguments.encoder, arguments.direction)
    for_labels = labels is not None or arguments.suggest is not None
    if for_labels and arguments.target is not None:
        raise InputError("--target: scores a whole corpus; leave out the labels and --suggest")
    if arguments.layout is not None and arguments.target is None:
        raise InputError(
            "--layout: tells how names in the folder of --target are read; add --target FOLDER"
        )
    layout = arguments.layout or AUTO
    if not for_labels and choice != Choice():
        raise InputError(
            "--method, --encoder, --direction: need a csv of labelled clips, or --suggest"
        )
    if arguments.output is not None and arguments.suggest is None:
        raise InputError("--output: names the csv that --suggest N writes; add --suggest")
    if arguments.suggest is not None:
        output = expanded(arguments.output) or _SUGGESTIONS
        count = suggest_labels(path, labels, data_dir(arguments), choice, arguments.suggest, output)
        print(
            f"{output}: {count} clips to label; write what you hear into the column emotion, then "
            f"jdann evaluate {path} {output}"
        )
        return 0
    if labels is not None:
        print_results(evaluate_labels(path, labels, data_dir(arguments), choice))
    else:
        print_results(evaluate(path, data_dir(arguments), arguments.target, layout))
    return 0
