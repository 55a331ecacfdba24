"""Tuning of the published system: optimiser, learning rate and regularisation of its 1-D CNN.

    pip install "jdann[tune]"
    jdann tune --config tune_poster
    jdann train --config runs/tune_poster/best.json

It makes 50 trials of two seeds in both directions. They are judged by `class_ami`, which needs no
target label. A criterion on the entropy of predictions would reward mere confidence here, because
label smoothing is tuned.
"""

from typing import Any

from ml_collections import ConfigDict

from jdann.configuration import load_config


def get_config() -> ConfigDict:
    config: Any = ConfigDict(load_config("poster").to_dict())
    config.methods = ("dann",)
    config.encoder.name = "conv1d"
    config.seeds = 2
    config.evaluate_every = 2
    config.tune.space = (
        ("optimiser.name", "choice", "adamw", "adam", "sgd"),
        ("optimiser.learning_rate", "log", 1e-4, 1e-2),
        ("optimiser.weight_decay", "log", 1e-5, 1e-1),
        ("encoder.dropout", "uniform", 0.0, 0.6),
        ("label_smoothing", "uniform", 0.0, 0.2),
    )
    config.tune.criterion = "class_ami"
    config.tune.trials = 50
    return config
