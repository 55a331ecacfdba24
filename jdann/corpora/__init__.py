"""Corpora: find, check and list utterances; ESD is prepared once into ArrayRecord files."""

from jdann.corpora.index import Corpus, Skipped, Utterance
from jdann.corpora.labels import EMOTIONS, canonical
from jdann.corpora.merged import load_all
from jdann.corpora.naming import Naming, make_naming, namings_of_each
from jdann.corpora.resolve import load
from jdann.corpora.summary import Summary, describe, fingerprint

__all__ = [
    "EMOTIONS",
    "Corpus",
    "Naming",
    "Skipped",
    "Summary",
    "Utterance",
    "canonical",
    "describe",
    "fingerprint",
    "load",
    "load_all",
    "make_naming",
    "namings_of_each",
]
