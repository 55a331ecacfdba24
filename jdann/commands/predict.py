"""`jdann predict`."""

from argparse import Namespace

from jdann.commands.reading import data_dir
from jdann.commands.recogniser import load_recogniser
from jdann.inference import predict


def execute(arguments: Namespace) -> int:
    """Recognises files; see `jdann.inference.predict.run` for the exit status."""
    options = predict.Options(
        arguments.timeline,
        arguments.window_s,
        arguments.hop_s,
        arguments.abstain,
        arguments.adapt or arguments.one_speaker or bool(arguments.speaker_pattern),
        arguments.one_speaker,
        arguments.speaker_pattern,
        arguments.speakers_per_recording,
        data_dir(arguments),
        arguments.sets,
    )
    return predict.run(
        lambda: load_recogniser(arguments),
        arguments.files,
        options,
        arguments.csv,
        arguments.json,
    )
