"""`jdann train`."""

from argparse import Namespace
from pathlib import Path

from jdann.commands.printing import print_results
from jdann.commands.reading import data_dir, expanded, overrides
from jdann.commands.several import joined
from jdann.configuration import load_config
from jdann.experiments.train import run
from jdann.report.advice import advise


def execute(arguments: Namespace) -> int:
    """Trains what the config names, and prints the scores and the next two commands."""
    with joined(arguments) as is_printing:
        config = load_config(arguments.config, overrides(arguments.overrides))
        workdir = expanded(arguments.workdir) or Path("runs") / Path(arguments.config).stem
        results = run(
            config,
            workdir,
            data_dir(arguments),
            resume=arguments.resume,
            overwrite=arguments.overwrite,
        )
        if not is_printing:
            return 0
        print_results(results)
        sentence = advise(results)
        if sentence is not None:
            print(sentence)
        print(f"Everything is in {workdir}. Next: jdann report {workdir}")
        print(f"                      or: jdann predict {workdir} CLIP.wav", flush=True)
        return 0
