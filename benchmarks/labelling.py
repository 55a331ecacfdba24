"""The labels that co-training gives a target, for many pairs of domains made from two corpora.

    python benchmarks/labelling.py ravdess.csv casia.csv
    python benchmarks/labelling.py ravdess.csv casia.csv --unknown
    python benchmarks/labelling.py ravdess.csv casia.csv --few
    python benchmarks/labelling.py ravdess.csv casia.csv --tiny    # one task; meaningless

`--unknown` compares ways to normalise if the target's speakers are unknown. `--few` compares values
of config.features.relevance if a speaker has few utterances.

A default that suits one pair of whole and balanced corpora may harm another. So each variant of
`config.co_training` is measured on parts of the corpora too: targets with uneven classes or without
one of them, one or few speakers, six emotions or four, and from women to men and back within a
language. Only the labels are computed, in closed form; no network is trained. Target labels are
used only for scoring and for making the parts.
"""

import argparse
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jdann import corpora
from jdann.audio import AudioSettings
from jdann.configuration import load_config, method_settings
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
    utterances: tuple[Utterance, ...]

    def where(self, wanted: Callable[[Utterance], bool]) -> "Part":
        """The utterances for which `wanted` is true."""
        rows = [i for i, u in enumerate(self.utterances) if wanted(u)]
        return Part(self.values[rows], tuple(self.utterances[i] for i in rows))

    def z_scores(self, by: str, relevance: float) -> jnp.ndarray:
        """The statistics [n, statistics], normalised by speaker, voice or corpus."""
        speakers = [u.speaker for u in self.utterances]
        group, _ = normalise.grouping(by, speakers, has_pitch=True, is_vector=True)
        vectors = self.values[:, None]  # an utterance is one frame
        voices = None
        if by in ("speaker", "voice"):
            voices = normalise.VoicePositions(
                similar_voices.voice_positions(vectors, BINS),
                np.full(len(group), by == "speaker"),
                relevance,
            )
        fitted = normalise.fit_speakers(lambda: vectors, group, voices)
        return jnp.asarray(
            np.concatenate(list(normalise.apply(fitted, vectors, group))), jnp.float32
        )


def tasks(first: Part, second: Part) -> Iterator[tuple[str, Part, Part, tuple[str, ...]]]:
    """Name, source, target and emotions of every pair of domains."""
    six, five = (*FIVE, "fearful"), FIVE
    for source, target in ((first, second), (second, first)):
        name = f"{source.utterances[0].corpus} to {target.utterances[0].corpus}"
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
        speakers = sorted({u.speaker or "" for u in target.utterances})
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
        yield f"{part.utterances[0].corpus}, women to men", women, men, five
        yield f"{part.utterances[0].corpus}, men to women", men, women, five


def few(first: Part, second: Part) -> Iterator[tuple[str, Part, Part, tuple[str, ...]]]:
    """Pairs in which each speaker of the target, or of the source, has few utterances."""
    for source, target, counts in ((first, second, (4, 8, 16, 32)), (second, first, (2, 4, 8, 16))):
        name = f"{source.utterances[0].corpus} to {target.utterances[0].corpus}"
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
    """`count` utterances of each speaker, drawn at random from the five emotions."""
    random, by_speaker = np.random.default_rng(draw), defaultdict(list)
    for i, u in enumerate(part.utterances):
        if u.emotion in FIVE:
            by_speaker[u.speaker].append(i)
    rows = sorted(i for group in by_speaker.values() for i in random.permutation(group)[:count])
    return Part(part.values[rows], tuple(part.utterances[i] for i in rows))


def uneven(part: Part, shares: tuple[int, ...]) -> Part:
    """A random part whose classes have these shares."""
    random = np.random.default_rng(zlib.crc32(str(shares).encode()))
    by_class = [
        [i for i, u in enumerate(part.utterances) if u.emotion == emotion] for emotion in FIVE
    ]
    unit = min(len(rows) / share for rows, share in zip(by_class, shares, strict=True))
    kept = {
        rows[i]
        for rows, share in zip(by_class, shares, strict=True)
        for i in random.permutation(len(rows))[: int(unit * share)]
    }
    ordered = sorted(kept)
    return Part(part.values[ordered], tuple(part.utterances[i] for i in ordered))


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
    label = make_method("co_training", method_settings(config)).initial_labels
    assert label is not None
    source_labels, target_labels = (
        np.array([emotions.index(u.emotion or "") for u in part.utterances], np.int32)
        for part in (source, target)
    )
    make_labels = jax.jit(
        lambda keys, *domains: jax.lax.map(lambda key: label(key, *domains), keys)
    )
    keys = jax.vmap(jax.random.key)(jnp.arange(2, dtype=jnp.uint32))
    labels = np.asarray(
        make_labels(
            keys,
            source.z_scores(by[0], relevance),
            jax.nn.one_hot(source_labels, len(emotions)),
            target.z_scores(by[1], relevance),
        )
    ).argmax(-1)
    return float(
        np.mean([(labels[:, target_labels == k] == k).mean() for k in np.unique(target_labels)])
    )


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
    parser.add_argument(
        "--tiny", action="store_true", help="a check in seconds; figures mean nothing"
    )
    arguments = parser.parse_args()
    usual = partial(uar, changes={}, by=("speaker", "speaker"), relevance=arguments.relevance)
    columns: dict[str, Callable[..., float]] = {
        name: partial(usual, changes=changes) for name, changes in VARIANTS.items()
    }
    if arguments.unknown:
        columns = {name: partial(usual, by=by) for name, by in UNKNOWN.items()}
    if arguments.few:
        columns = {"voice": partial(usual, by=("voice", "voice"))}
        columns |= {
            f"relevance {relevance:g}": partial(usual, relevance=relevance)
            for relevance in RELEVANCES
        }
    if arguments.tiny:
        columns = dict(list(columns.items())[-2:])
    config, parts = load_config("best"), []
    data_dir = arguments.data_dir or default_data_dir()
    for path in (arguments.first, arguments.second):
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
    rows_of_uar = []
    pairs = (few if arguments.few else tasks)(*parts)
    for name, *domains, emotions in islice(pairs, 1) if arguments.tiny else pairs:
        source, target = (
            part.where(lambda u, among=emotions: u.emotion in among) for part in domains
        )
        row = [measure(source, target, emotions) for measure in columns.values()]
        rows_of_uar.append(row)
        print(
            f"| {name} | {len(source.utterances)}, {len(target.utterances)} "
            f"| {' | '.join(f'{x:.3f}' for x in row)} |",
            flush=True,
        )
    print(f"| mean | | {' | '.join(f'{x:.3f}' for x in np.mean(rows_of_uar, 0))} |")
    loss = np.array(rows_of_uar) - np.array(rows_of_uar)[:, [-1]]
    print(f"| worst gain over the last column | | {' | '.join(f'{x:+.3f}' for x in loss.min(0))} |")


if __name__ == "__main__":
    main()
