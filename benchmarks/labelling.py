"""The labels that co-training gives a target, over many pairs of domains made from two corpora.

    python benchmarks/labelling.py ravdess.csv casia.csv
    python benchmarks/labelling.py ravdess.csv casia.csv --unknown  # ways to normalise where the target's speakers are unknown
    python benchmarks/labelling.py ravdess.csv casia.csv --few  # where a speaker has few utterances: config.features.relevance

A default that suits one pair of corpora, whole and balanced, may harm another. So each variant of `config.co_training` is judged
over parts of the corpora too: targets of uneven classes or without one of them, of one speaker or a few, six emotions or four, from
women to men and back within a language. Only the labels are made, in closed form, no network is trained. Target labels score
and make the parts, and do nothing else.
"""

import argparse
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jdann import corpora
from jdann.audio import AudioSettings
from jdann.configuration import load_config
from jdann.corpora.index import Utterance
from jdann.data import normalise
from jdann.features.recipe import make_recipe
from jdann.features.store import extract
from jdann.files import default_data_dir
from jdann.methods import make_method
from jdann.speakers import similar_voices

FIVE = ("neutral", "happy", "angry", "sad", "surprise")
BINS = make_recipe("statistics", load_config("best").features, 16000).bins
VARIANTS: dict[str, dict[str, object]] = {
    "default": {},
    "prior uniform": {"prior": "uniform"},
    "all labels kept": {"kept_fraction": 1.0},
    "3 rounds": {"rounds": 3},
    "first view": {"rounds": 0},
    "source alone": {"rounds": 0, "rounds_first": 0},
}


RELEVANCES = (10.0, 5.0, 2.0, 1.0, 0.0)
UNKNOWN = {  # how source and target are normalised
    "speakers known": ("speaker", "speaker"),
    "both by voice": ("voice", "voice"),
    "source by speaker, target by voice": ("speaker", "voice"),
    "both as one corpus": ("corpus", "corpus"),
    "source by speaker, target as one corpus": ("speaker", "corpus"),
}


class Part(NamedTuple):
    """Some utterances of a corpus."""

    values: np.ndarray  # [n, statistics]
    of: tuple[Utterance, ...]

    def where(self, wanted: Callable[[Utterance], bool]) -> "Part":
        rows = [i for i, u in enumerate(self.of) if wanted(u)]
        return Part(self.values[rows], tuple(self.of[i] for i in rows))

    def z_scores(self, by: str, relevance: float) -> jnp.ndarray:
        group, _ = normalise.grouping(
            by, [u.speaker for u in self.of], has_pitch=True, is_vector=True
        )
        vectors = self.values[:, None]  # an utterance is one frame
        of_voices = None
        if by in ("speaker", "voice"):
            of_voices = normalise.VoicePositions(
                similar_voices.voice_positions(vectors, BINS),
                np.full(len(group), by == "speaker"),
                relevance,
            )
        fitted = normalise.fit_speakers(lambda: vectors, group, of_voices)
        return jnp.asarray(
            np.concatenate(list(normalise.apply(fitted, vectors, group))), jnp.float32
        )


def tasks(first: Part, second: Part) -> Iterator[tuple[str, Part, Part, tuple[str, ...]]]:
    """Name, source, target and emotions of every pair of domains."""
    six, five = (*FIVE, "fearful"), FIVE
    for source, target in ((first, second), (second, first)):
        name = f"{source.of[0].corpus} to {target.of[0].corpus}"
        yield name, source, target, five
        yield f"{name}, six emotions", source, target, six
        for shares in ((4, 2, 1, 1, 1), (1, 1, 4, 1, 2), (8, 1, 1, 4, 1)):
            yield (
                f"{name}, target {':'.join(map(str, shares))}",
                source,
                uneven(target, shares),
                five,
            )
        yield (
            f"{name}, no surprise in the target",
            source,
            target.where(lambda u: u.emotion != "surprise"),
            five,
        )
        speakers = sorted({u.speaker or "" for u in target.of})
        few = speakers[:: max(4, len(speakers) // 6)] if len(speakers) > 4 else speakers[::2]
        yield (
            f"{name}, {len(few)} target speakers",
            source,
            target.where(lambda u, few=few: u.speaker in few),
            five,
        )
    for part in (first, second):
        women, men = (
            part.where(lambda u, gender=gender: u.gender == gender) for gender in ("female", "male")
        )
        yield f"{part.of[0].corpus}, women to men", women, men, five
        yield f"{part.of[0].corpus}, men to women", men, women, five


def few(first: Part, second: Part) -> Iterator[tuple[str, Part, Part, tuple[str, ...]]]:
    """The same, with so many utterances of each speaker of the target, or of the source."""
    for source, target, counts in ((first, second, (4, 8, 16, 32)), (second, first, (2, 4, 8, 16))):
        name = f"{source.of[0].corpus} to {target.of[0].corpus}"
        yield name, source, target, FIVE
        for count in counts:
            for draw in range(3):
                yield (
                    f"{name}, {count} of each target speaker, draw {draw + 1}",
                    source,
                    drawn(target, count, draw),
                    FIVE,
                )
        for count in counts[:2]:
            yield f"{name}, {count} of each source speaker", drawn(source, count, 0), target, FIVE


def drawn(part: Part, count: int, draw: int) -> Part:
    """So many utterances of each speaker, of the five emotions, by lot."""
    random, by_speaker = np.random.default_rng(draw), defaultdict(list)
    for i, u in enumerate(part.of):
        if u.emotion in FIVE:
            by_speaker[u.speaker].append(i)
    rows = sorted(i for of in by_speaker.values() for i in random.permutation(of)[:count])
    return Part(part.values[rows], tuple(part.of[i] for i in rows))


def uneven(part: Part, shares: tuple[int, ...]) -> Part:
    """A part whose classes have these shares."""
    random = np.random.default_rng(zlib.crc32(str(shares).encode()))
    by_class = [[i for i, u in enumerate(part.of) if u.emotion == emotion] for emotion in FIVE]
    unit = min(len(rows) / share for rows, share in zip(by_class, shares, strict=True))
    kept = {
        rows[i]
        for rows, share in zip(by_class, shares, strict=True)
        for i in random.permutation(len(rows))[: int(unit * share)]
    }
    ordered = sorted(kept)
    return Part(part.values[ordered], tuple(part.of[i] for i in ordered))


def uar(
    source: Part,
    target: Part,
    emotions: tuple[str, ...],
    *,
    changes: dict[str, object],
    by: tuple[str, str],
    relevance: float,
) -> float:
    """Unweighted average recall of the labels, the mean over two draws of the folds."""
    config = ConfigDict(load_config("best").to_dict())
    config.emotions = emotions
    config.co_training.update(changes)
    label = make_method("co_training", config).label
    assert label is not None
    known, truth = (
        np.array([emotions.index(u.emotion or "") for u in part.of], np.int32)
        for part in (source, target)
    )
    made = jax.jit(lambda keys, *domains: jax.lax.map(lambda key: label(key, *domains), keys))
    keys = jax.vmap(jax.random.key)(jnp.arange(2, dtype=jnp.uint32))
    labels = np.asarray(
        made(
            keys,
            source.z_scores(by[0], relevance),
            jnp.asarray(known),
            target.z_scores(by[1], relevance),
        )
    ).argmax(-1)
    return float(np.mean([(labels[:, truth == k] == k).mean() for k in np.unique(truth)]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--data-dir", type=Path, default=None, help="where features are cached")
    parser.add_argument("--unknown", action="store_true")
    parser.add_argument("--few", action="store_true")
    parser.add_argument("--relevance", type=float, default=load_config("best").features.relevance)
    given = parser.parse_args()
    usual = partial(uar, changes={}, by=("speaker", "speaker"), relevance=given.relevance)
    columns: dict[str, Callable[..., float]] = {
        name: partial(usual, changes=changes) for name, changes in VARIANTS.items()
    }
    if given.unknown:
        columns = {name: partial(usual, by=by) for name, by in UNKNOWN.items()}
    if given.few:
        columns = {"voice": partial(usual, by=("voice", "voice"))}
        columns |= {
            f"relevance {relevance:g}": partial(usual, relevance=relevance)
            for relevance in RELEVANCES
        }
    config, parts = load_config("best"), []
    data_dir = given.data_dir or default_data_dir()
    for path in (given.first, given.second):
        corpus = corpora.load_all(str(path), (*FIVE, "fearful"), data_dir)
        features = extract(
            corpus,
            recipe_name=config.features.recipe,
            settings=config.features,
            audio_settings=AudioSettings(**config.audio),
            cache=data_dir / "jdann" / "features",
        )
        parts.append(Part(np.concatenate(list(features.read())), features.utterances))
    print(f"| task | source, target | {' | '.join(columns)} |")
    print(f"|---|---|{'---:|' * len(columns)}", flush=True)
    everything = []
    for name, *domains, emotions in (few if given.few else tasks)(*parts):
        source, target = (
            part.where(lambda u, among=emotions: u.emotion in among) for part in domains
        )
        row = [of(source, target, emotions) for of in columns.values()]
        everything.append(row)
        print(
            f"| {name} | {len(source.of)}, {len(target.of)} | {' | '.join(f'{x:.3f}' for x in row)} |",
            flush=True,
        )
    print(f"| mean | | {' | '.join(f'{x:.3f}' for x in np.mean(everything, 0))} |")
    loss = np.array(everything) - np.array(everything)[:, [-1]]
    print(f"| worst gain over the last column | | {' | '.join(f'{x:+.3f}' for x in loss.min(0))} |")


if __name__ == "__main__":
    main()
