"""English to Mandarin: what each step gains. ESD where it has been prepared, else the demo corpus.

    python run.py --config configs/en2zh.py

The table is a ladder: an SVM, the same features with a network (source only), the DANN, and
co-training, which is the recipe of `configs/best.py`. The last line says which one to use. Two
other corpora:

    python run.py --config configs/en2zh.py --config.source=a.csv --config.target=b.csv

The other direction too: --config.both_directions=true. The target without speaker ids:
--config.target=demo:zh-unnamed
"""

from ml_collections import ConfigDict

from jdann.configuration import base_config


def get_config() -> ConfigDict:
    config = base_config()
    config.source = "auto:en"
    config.target = "auto:zh"
    config.methods = ("source_only", "dann", "co_training")
    # As in `best.py`: loudness tells much about emotion.
    config.audio.level_db = 0.0
    config.features.recipe = "statistics"
    config.encoder.name = "mlp"
    return config
