"""Several corpora as one source."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jdann.corpora.index import Corpus, Skipped, Utterance
from jdann.corpora.naming import AS_USUAL, Naming, namings_of_each
from jdann.corpora.resolve import load
from jdann.errors import InputError


def load_all(
    specs: str | Sequence[str],
    emotions: Sequence[str],
    data_dir: Path | None = None,
    naming: Naming = AS_USUAL,
) -> Corpus:
    """Loads the corpus, or the corpora together, that a config's `source` or `target` names.

    Args:
      specs: one or several names that `load` takes; several as a sequence, or joined by commas.
      emotions: as for `load`.
      data_dir: as for `load`.
      naming: as for `load`; the layout is one for all corpora, or one for each, joined by commas.

    Returns:
      One corpus. If there are several, the `corpus` of each utterance is the name of its corpus.
      Speakers are then named "corpus/speaker", because equal names in different corpora are
      different people.

    Raises:
      InputError: `load` fails, a corpus is named twice, or there are not as many layouts as
        corpora.
    """
    if isinstance(specs, str):
        specs = [specs] if Path(specs).exists() else [spec.strip() for spec in specs.split(",")]
    namings = namings_of_each(naming, specs)
    if len(specs) == 1:
        return load(specs[0], emotions, data_dir, namings[0])
    parts = [
        load(spec, emotions, data_dir, of_spec)
        for spec, of_spec in zip(specs, namings, strict=True)
    ]
    names = [part.name for part in parts]
    if len(set(names)) < len(names):  # two manifests with one name, in different folders
        names = list(specs)
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise InputError(f"config.source names {repeated[0]} twice; name each corpus once")
    return _merge(dict(zip(names, parts, strict=True)))


def _merge(parts: dict[str, Corpus]) -> Corpus:
    """One corpus of several, which are given by their names."""
    excluded: Counter[str] = Counter()
    for part in parts.values():
        excluded.update(dict(part.excluded_emotions))

    def read(utterance: Utterance) -> tuple[np.ndarray, int]:
        part_read = parts[str(utterance.corpus)].read
        if part_read is None:
            raise TypeError(f"{utterance.corpus} contains no samples; decode {utterance.path}")
        return part_read(utterance)

    return Corpus(
        name="+".join(parts),
        description=" and ".join(part.description for part in parts.values()),
        synthetic=any(part.synthetic for part in parts.values()),
        utterances=tuple(
            _renamed(utterance, name)
            for name, part in parts.items()
            for utterance in part.utterances
        ),
        skipped=tuple(
            Skipped(f"{name}: {skipped.file}", skipped.reason)
            for name, part in parts.items()
            for skipped in part.skipped
        ),
        excluded_emotions=tuple(sorted(excluded.items())),
        notes=tuple(f"{name}: {note}" for name, part in parts.items() for note in part.notes),
        read=read,
        identity="|".join(part.identity for part in parts.values()),
    )


def _renamed(utterance: Utterance, corpus: str) -> Utterance:
    """The utterance with the name of its corpus, also in the name of its speaker."""
    speaker = None if utterance.speaker is None else f"{corpus}/{utterance.speaker}"
    return utterance._replace(corpus=corpus, speaker=speaker)
