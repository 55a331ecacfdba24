"""`jdann recordings`."""

from argparse import Namespace
from collections import Counter
from pathlib import Path
from typing import Any

from jdann.commands.reading import data_dir, expanded, overrides
from jdann.configuration import load_config
from jdann.errors import InputError
from jdann.experiments import train
from jdann.experiments.recordings import TIMELINE, write_timeline, write_utterances
from jdann.inference.recogniser import Recogniser
from jdann.inference.recordings import find_utterances

_RUN = "run"  # the work directory of the training, in the output folder


def execute(arguments: Namespace) -> int:
    """Recognises long recordings by an existing recogniser, or by one that is trained for them.

    Returns:
      The exit status: 0, or 1 if some recordings were left out.
    """
    if (arguments.source is None) == (arguments.model is None):
        raise InputError(
            "jdann recordings: give either --source, a labelled corpus to train on, or --model, "
            "the work directory of a finished run"
        )
    output, model = expanded(arguments.output), expanded(arguments.model)
    is_written = (output / TIMELINE).exists()
    if is_written and not (arguments.overwrite or arguments.resume):
        raise InputError(f"{output}: holds a timeline; give another --output, or --overwrite")
    pairs = overrides(arguments.overrides)
    config: Any = None
    target = str((output / "utterances.csv").absolute())
    if model is None:
        config = load_config(
            arguments.config, [("source", arguments.source), ("target", target), *pairs]
        )
        recogniser, longest_s = None, config.audio.max_duration_s
    else:
        if pairs:
            raise InputError("jdann recordings: --config.KEY=VALUE is for a training by --source")
        recogniser, adapt = Recogniser.load(model), "all"
        longest_s = recogniser.audio_settings.max_duration_s
    recording_set = find_utterances(
        arguments.recordings, longest_s, arguments.speakers_per_recording, data_dir(arguments)
    )
    write_utterances(recording_set, output)
    if recogniser is None:
        train.run(
            config,
            output / _RUN,
            data_dir(arguments),
            resume=arguments.resume,
            overwrite=arguments.overwrite,
        )
        recogniser, adapt = Recogniser.load(output / _RUN), "normalisation"
    rows = write_timeline(recording_set, recogniser, output, adapt)
    _report(rows, output)
    return 1 if recording_set.skipped else 0


def _report(rows: list[dict[str, str]], output: Path) -> None:
    """Prints how often each speaker shows each emotion."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    for row in rows:
        counts.setdefault((row["recording"], row["speaker"]), Counter())[row["emotion"]] += 1
    for (recording, speaker), emotions in counts.items():
        text = ", ".join(f"{name or 'none'} {count}" for name, count in emotions.most_common())
        print(f"{recording}, speaker {speaker}: {emotions.total()} utterances: {text}")
    print(f"{len(rows)} utterances are in {output / TIMELINE}", flush=True)
