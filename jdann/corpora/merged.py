"""Several corpora as one source."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from jdann.corpora.index import Corpus, Skipped
from jdann.corpora.resolve import load
from jdann.errors import InputError


def load_all(
    specs: str | Sequence[str], emotions: Sequence[str], data_dir: Path | None = None
) -> Corpus:
    """The corpus, or the corpora together, that a config's `source` or `target` names.

    Args:
      specs: what `load` takes; several as a sequence, or joined by commas.
      emotions: as for `load`.
      data_dir: as for `load`.

    Returns:
      One corpus. Of several, each utterance's `corpus` is the name of its own one, and speakers are named "corpus/speaker":
      equal names in different corpora are different people.

    Raises:
      InputError: as of `load`, or a corpus is named twice.
    """
    if isinstance(specs, str):
        specs = [specs] if Path(specs).exists() else [spec.strip() for spec in specs.split(",")]
    if len(specs) == 1:
        return load(specs[0], emotions, data_dir)
    parts = [load(spec, emotions, data_dir) for spec in specs]
    names = [part.name for part in parts]
    if len(set(names)) < len(names):  # two manifests of one name in different folders
        names = list(specs)
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"config.source names {twice[0]} twice; name each corpus once")
    readers = {name: part.read for name, part in zip(names, parts, strict=True)}
    utterances = [
        u._replace(corpus=name, speaker=None if u.speaker is None else f"{name}/{u.speaker}")
        for name, part in zip(names, parts, strict=True)
        for u in part.utterances
    ]
    outside = Counter()
    for part in parts:
        outside.update(dict(part.outside))
    return Corpus(
        name="+".join(names),
        description=" and ".join(part.description for part in parts),
        synthetic=any(part.synthetic for part in parts),
        utterances=tuple(utterances),
        skipped=tuple(
            Skipped(f"{n}: {s.file}", s.reason)
            for n, p in zip(names, parts, strict=True)
            for s in p.skipped
        ),
        outside=tuple(sorted(outside.items())),
        notes=tuple(
            f"{name}: {note}"
            for name, part in zip(names, parts, strict=True)
            for note in part.notes
        ),
        read=lambda u: readers[u.corpus](u),  # pyright: ignore
        identity="|".join(part.identity for part in parts),
    )
