"""English to Mandarin: ESD where it has been prepared, else the demo corpus.

    python run.py --config configs/en2zh.py

Two other corpora, same recipe:

    python run.py --config configs/en2zh.py --config.source=a.csv --config.target=b.csv

The other direction too: --config.both_directions=true
"""

from ml_collections import ConfigDict

from jdann.configuration import base_config


def get_config() -> ConfigDict:
    config = base_config()
    config.source = "auto:en"
    config.target = "auto:zh"
    return config
