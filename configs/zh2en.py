"""Mandarin to English: ESD where it has been prepared, else the demo corpus.

    python run.py --config configs/zh2en.py

Two other corpora, same recipe:

    python run.py --config configs/zh2en.py --config.source=a.csv --config.target=b.csv --workdir=runs/mine
"""

from ml_collections import ConfigDict

from jdann.configuration import base_config


def get_config() -> ConfigDict:
    config = base_config()
    config.source = "auto:zh"
    config.target = "auto:en"
    return config
