"""`jdann sweep`."""

from argparse import Namespace
from pathlib import Path

from jdann.commands.printing import print_table
from jdann.commands.reading import data_dir, expanded, overrides
from jdann.commands.several import joined
from jdann.configuration import load_config
from jdann.experiments.sweep import sweep
from jdann.figures.sweep import render


def execute(arguments: Namespace) -> int:
    """Trains every seed at every combination of hyper-parameters, and prints what each reaches."""
    with joined(arguments) as is_printing:
        values = {
            "strength": arguments.strengths,
            "learning_rate": arguments.learning_rates,
            "weight_decay": arguments.weight_decays,
        }
        points = [(f"sweep.{key}", value) for key, value in values.items() if value is not None]
        config = load_config(arguments.config, [*overrides(arguments.overrides), *points])
        workdir = expanded(arguments.workdir)
        workdir = workdir or Path("runs") / f"{Path(arguments.config).stem}-sweep"
        results = sweep(
            config,
            workdir,
            data_dir(arguments),
            resume=arguments.resume,
            overwrite=arguments.overwrite,
        )
        if not is_printing:
            return 0
        print_table(render(results))
        best = sorted(workdir.glob("best-*.json"))
        print(f"Everything is in {workdir}. Configs of the chosen points: {len(best)}")
        for path in best:
            print(f"Next: jdann train --config {path}", flush=True)
        return 0
