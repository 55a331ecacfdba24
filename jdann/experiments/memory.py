"""Domains of arrays in memory: waveforms, or a user's own vectors without any audio."""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jdann import files
from jdann.corpora import EMOTIONS, Naming
from jdann.corpora.index import Corpus, Utterance
from jdann.corpora.naming import AS_USUAL
from jdann.data.pairs import Domain, FeatureSettings, make_domain
from jdann.data.target_labels import match_labels
from jdann.errors import InputError
from jdann.features.feature_set import FeatureSet
from jdann.features.recipe import RECIPES


@dataclasses.dataclass(frozen=True)
class Waveforms:
    """Utterances in memory.

    Fields:
      samples: n arrays [samples] or [samples, channels], floating point in -1 to 1 or integers.
      sample_rate_hz: sample rate of all utterances.
      emotions: n names of emotions, None or NaN where unlabelled; None: no labels at all.
      speakers: n names, None or NaN where unknown; None: no speakers are known. No other missing
        field lowers accuracy as much.
      name: name of the corpus in tables.
    """

    samples: Sequence[np.ndarray]
    sample_rate_hz: int
    emotions: Sequence[str | None] | None = None
    speakers: Sequence[str | None] | None = None
    name: str = "waveforms"


@dataclasses.dataclass(frozen=True)
class Vectors:
    """Examples in memory, one vector each: no audio is needed.

    Fields:
      values: [n, d] finite numbers.
      labels: n classes of any type, None or NaN where unlabelled; None: no labels at all.
      groups: n groups within which features are normalised, such as people, devices or sites; None
        or NaN where unknown; None: one group.
      name: name of the vectors in tables.
    """

    values: np.ndarray
    labels: Sequence[object] | None = None
    groups: Sequence[object] | None = None
    name: str = "vectors"


def corpus_of_waveforms(
    waveforms: Waveforms, emotions: Sequence[str], naming: Naming = AS_USUAL
) -> Corpus:
    """A corpus whose audio is in memory, restricted to `emotions`.

    `naming` tells what the labels mean.

    Raises:
      InputError: a column has another length, or a label is not a known emotion.
    """
    name, count = waveforms.name, len(waveforms.samples)
    labels = _texts(waveforms.emotions, count, f"{name}: {count} waveforms", "emotions")
    speakers = _texts(waveforms.speakers, count, f"{name}: {count} waveforms", "speakers")
    kept, excluded = {}, Counter()
    for i, (label, speaker) in enumerate(zip(labels, speakers, strict=True)):
        emotion = None if label is None else naming.emotion(label)
        if label is not None and emotion is None:
            known = ", ".join(EMOTIONS)
            raise InputError(f"{name}: {label!r} is not a known emotion; expected one of {known}")
        if emotion is not None and emotion not in emotions:
            excluded[emotion] += 1
            continue
        kept[Utterance(f"{name}/{i}", emotion=emotion, speaker=speaker)] = i
    digest = hashlib.blake2b(digest_size=16)
    for samples in waveforms.samples:
        samples = np.asarray(samples)
        # Shape and type count too: the same bytes can be other clips, or other channels.
        digest.update(f"{samples.shape}|{samples.dtype.str}|".encode())
        digest.update(np.ascontiguousarray(samples).tobytes())
    return Corpus(
        name=name,
        description=f"{count} waveforms",
        synthetic=False,
        utterances=tuple(kept),
        excluded_emotions=tuple(sorted(excluded.items())),
        notes=("no speaker ids",) if waveforms.speakers is None else (),
        read=lambda u: (np.asarray(waveforms.samples[kept[u]]), waveforms.sample_rate_hz),
        identity=f"{waveforms.sample_rate_hz}-{digest.hexdigest()}",
    )


def domain_of_vectors(vectors: Vectors, settings: FeatureSettings, cache: Path) -> Domain:
    """A domain whose features are a user's own vectors.

    Args:
      vectors: the examples.
      settings: feature settings of the run; its `emotions` are the classes.
      cache: folder to which the vectors are written; the file stays there.

    Raises:
      InputError: the values are not [n, d] finite numbers, or a column has another length.
    """
    values = np.asarray(vectors.values, np.float32)
    if values.ndim != 2 or not values.size or not np.isfinite(values).all():
        raise InputError(
            f"{vectors.name}: values of shape {values.shape}; expected finite numbers [n, d]"
        )
    count, size = values.shape
    subject = f"{vectors.name}: {count} vectors"
    labels = _texts(vectors.labels, count, subject, "labels")
    groups = _texts(vectors.groups, count, subject, "groups")
    utterances = tuple(
        Utterance(f"{vectors.name}/{i}", emotion=label, speaker=group)
        for i, (label, group) in enumerate(zip(labels, groups, strict=True))
    )
    digest = hashlib.blake2b(values.tobytes(), digest_size=16).hexdigest()
    path = cache / f"vectors-{digest}.f32"
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_bytes(path, values.tobytes())
    features = FeatureSet(
        utterances=utterances,
        path=path,
        bins=size,
        start=np.arange(count, dtype=np.int64),
        length=np.ones(count, np.int32),
        duration_s=np.zeros(count, np.float32),
        cut=0,
        skipped=(),
    )
    corpus = Corpus(vectors.name, f"{count} vectors", False, utterances)
    return make_domain(corpus, features, RECIPES["vectors"](vector_size=size).bins, True, settings)


def target_labels_of(
    target: Waveforms | Vectors,
    labels: Sequence[object],
    domain: Domain,
    emotions: Sequence[str],
    naming: Naming = AS_USUAL,
) -> np.ndarray:
    """The labels to train on that a user gives for a target in memory.

    Args:
      target: the target, n waveforms or vectors.
      labels: n names of emotions or classes, None or NaN for an utterance without a label.
      domain: made of the target.
      emotions: the emotions or classes of the run.
      naming: what names of emotions mean.

    Returns:
      As `jdann.data.target_labels.match_labels`.

    Raises:
      InputError: there are not n labels, or a label is not known.
    """
    count = len(domain.emotion) if isinstance(target, Vectors) else len(target.samples)
    texts = _texts(labels, count, f"{target.name}: {count} utterances", "target_labels")
    known = emotions if isinstance(target, Vectors) else EMOTIONS
    clips = []
    for i, text in enumerate(texts):
        emotion = text if isinstance(target, Vectors) or text is None else naming.emotion(text)
        if text is not None and emotion not in known:
            raise InputError(
                f"target_labels: {text!r} is not known; expected one of {', '.join(known)}"
            )
        clips.append((f"target_labels[{i}]", Utterance(f"{target.name}/{i}", emotion=emotion)))
    return match_labels(clips, "target_labels", domain.features.utterances, emotions)


def classes_of(vectors: Vectors) -> tuple[str, ...]:
    """The classes among the labels, sorted.

    Raises:
      InputError: there are fewer than two.
    """
    labels = () if vectors.labels is None else vectors.labels
    classes = sorted({str(label) for label in labels if not _is_missing(label)})
    if len(classes) < 2:
        raise InputError(
            f"{vectors.name}: the source has labels of {len(classes)} classes; expected at least 2"
        )
    return tuple(classes)


def _texts(
    values: Sequence[object] | None, count: int, subject: str, column: str
) -> list[str | None]:
    """Returns a column as text; None where a value is missing."""
    if values is None:
        return [None] * count
    if len(values) != count:
        raise InputError(f"{subject} but {len(values)} {column}; expected {count} {column}")
    return [None if _is_missing(value) else str(value) for value in values]


def _is_missing(value: object) -> bool:
    """Whether a value is None, NaN, or pandas' NaT or NA."""
    if value is None:
        return True
    try:
        return bool(value != value)  # NaN and NaT are not equal to themselves
    except TypeError:  # pandas.NA has no truth value, nor has anything compared with it
        return True
