"""`jdann tune`."""

from argparse import Namespace
from pathlib import Path

from jdann.commands.printing import print_table
from jdann.commands.reading import data_dir, expanded, overrides
from jdann.configuration import load_config
from jdann.experiments.tune import tune
from jdann.figures.tuning import render


def execute(arguments: Namespace) -> int:
    """Searches a config's space, and prints the best trial."""
    config = load_config(arguments.config, overrides(arguments.overrides))
    workdir = expanded(arguments.workdir) or Path("runs") / Path(arguments.config).stem
    results = tune(
        config,
        workdir,
        data_dir(arguments),
        storage=arguments.storage,
        study_name=arguments.study,
        workers=arguments.workers,
    )
    print_table(render(results))
    print(f"Everything is in {workdir}. Next: jdann train --config {workdir / 'best.json'}")
    return 0
