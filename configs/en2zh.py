"""English to Mandarin: what each step gains, on ESD if it is prepared, else on the demo corpus.

    python run.py --config configs/en2zh.py

The table compares four methods, from the simplest to the best: an SVM; a network on the same
features, trained on the source only; the DANN; and co-training, which is the recipe of
`configs/best.py`. The last line says which method to use. With two other corpora:

    python run.py --config configs/en2zh.py --config.source=a.csv --config.target=b.csv

`--config.both_directions=true` also runs Mandarin to English. With
`--config.target=demo:zh-unnamed` the target has no speaker ids.
"""

from ml_collections import ConfigDict

from jdann.configuration import base_config


def get_config() -> ConfigDict:
    config = base_config()
    config.source = "auto:en"
    config.target = "auto:zh"
    config.methods = ("source_only", "dann", "co_training")
    # As in `best.py`: keep the recorded loudness, because it tells much about emotion.
    config.audio.level_db = 0.0
    config.features.recipe = "statistics"
    config.encoder.name = "mlp"
    return config
