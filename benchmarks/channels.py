"""What a bad channel of the target costs, and what sending the source through it gains.

    python benchmarks/channels.py ravdess.csv casia.csv savee.csv emodb.csv
    python benchmarks/channels.py ravdess.csv casia.csv --tiny    # one pair; meaningless

Each manifest needs the columns speaker and emotion. Only the target is degraded, by NumPy, SciPy
and the codecs of libsndfile (`channel_degradations.py`). The first row has the unweighted average
recall of each ordered pair with a clean target, the others what each channel loses of it: first
with `--config.features.channel=none`, then with "auto". Only the labels by co-training are
computed, in closed form; no network is trained. Speaker ids are known. Target labels are used for
scoring only. `--pairs` and `--clips` measure a part.
"""

import argparse
import zlib
from collections import Counter
from collections.abc import Callable
from functools import cache
from itertools import permutations
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from channel_degradations import DEGRADATIONS, RATE_HZ
from command_line import make_parser
from labelling import FOLD_DRAWS, make_label_function
from labelling_parts import FIVE_EMOTIONS, Part
from markdown_table import header, row

from jdann import audio, corpora
from jdann.configuration import load_config
from jdann.corpora.index import Corpus, Utterance
from jdann.data.pairs import Domain, FeatureSettings, load_domain
from jdann.experiments.channels import match_channel
from jdann.experiments.settings import features_folder, make_feature_settings
from jdann.files import default_data_dir
from jdann.parameters import pick

CLEAN = "clean"


def degraded(corpus: Corpus, name: str) -> Corpus:
    """The corpus with each clip degraded; the same clip is always degraded alike."""
    original = {utterance.file: utterance for utterance in corpus.utterances}

    def read(utterance: Utterance) -> tuple[np.ndarray, int]:
        whole = original[utterance.file]
        samples = audio.mono(*audio.read(whole.path, whole.start_s, whole.end_s), RATE_HZ)
        return DEGRADATIONS[name](samples, np.random.default_rng(zlib.crc32(whole.file.encode())))

    return corpus._replace(
        utterances=tuple(utterance._replace(path="") for utterance in corpus.utterances),
        read=read,
        identity=f"{corpora.fingerprint(corpus)} {name}",
    )


def thinned(corpus: Corpus, clips: int | None) -> Corpus:
    """The corpus with at most `clips` utterances of each speaker and emotion; None: with all."""
    kept, count = [], Counter()
    for utterance in corpus.utterances:
        count[utterance.speaker, utterance.emotion] += 1
        if clips is None or count[utterance.speaker, utterance.emotion] <= clips:
            kept.append(utterance)
    return corpus._replace(utterances=tuple(kept))


def make_part(domain: Domain) -> Part:
    """The utterances of a domain with their statistics."""
    return Part(np.concatenate(list(domain.features.read())), domain.features.utterances)


def uar(source: Part, target: Part, relevance: float) -> float:
    """Unweighted average recall of the labels that co-training gives the target.

    Emotions that only one of the two has are left out. It is the mean over draws of the folds.
    """
    shared = {u.emotion for u in source.utterances} & {u.emotion for u in target.utterances}
    source, target = (part.where(lambda u: u.emotion in shared) for part in (source, target))
    source_labels, target_labels = (
        np.array([FIVE_EMOTIONS.index(u.emotion or "") for u in part.utterances], np.int32)
        for part in (source, target)
    )
    scores = label_function()(
        jax.vmap(jax.random.key)(jnp.arange(FOLD_DRAWS, dtype=jnp.uint32)),
        source.z_scores("speaker", relevance),
        jax.nn.one_hot(source_labels, len(FIVE_EMOTIONS)),
        target.z_scores("speaker", relevance),
        None,
        target.rows_of_speakers("speaker"),
    )
    labels = np.asarray(scores).argmax(-1)  # [draws, utterances]
    recalls = [(labels[:, target_labels == k] == k).mean() for k in np.unique(target_labels)]
    return float(np.mean(recalls))


@cache
def label_function() -> Callable:
    """The labels by co-training with its defaults; compiled once for each size of the corpora."""
    return make_label_function(FIVE_EMOTIONS, {})


def measure(
    source: Domain, target: Domain, settings: FeatureSettings, folder: Path
) -> tuple[float, float]:
    """The unweighted average recall without and with the remedy."""
    matched = match_channel(source, target, settings, folder, "auto")
    without = uar(make_part(source), make_part(target), settings.relevance)
    if matched is source:
        return without, without
    return without, uar(make_part(matched), make_part(target), settings.relevance)


def parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("manifests", type=Path, nargs="+")
    parser.add_argument("--data-dir", type=Path, default=None, help="where features are cached")
    parser.add_argument(
        "--clips",
        type=int,
        default=None,
        help="at most so many of each speaker and emotion, to save time; by default all",
    )
    parser.add_argument(
        "--pairs", nargs="+", default=None, help="such as ravdess:casia; by default all"
    )
    parser.add_argument(
        "--channels", nargs="+", default=list(DEGRADATIONS), choices=list(DEGRADATIONS)
    )
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    folder = features_folder(arguments.data_dir or default_data_dir())
    settings = make_feature_settings(load_config("best"))._replace(emotions=FIVE_EMOTIONS)
    names = [path.stem for path in arguments.manifests]
    loaded = {
        path.stem: thinned(corpora.load_all(str(path), FIVE_EMOTIONS), arguments.clips)
        for path in arguments.manifests
    }
    domains = {name: load_domain(corpus, settings, folder) for name, corpus in loaded.items()}
    every, channels = {f"{s}:{t}": (s, t) for s, t in permutations(names, 2)}, arguments.channels
    pairs = [pick(every, name, "--pairs") for name in arguments.pairs or every]
    if arguments.tiny:
        pairs, channels = pairs[:1], channels[:1]
    targets = list(dict.fromkeys(target for _, target in pairs))
    columns = ("channel of the target", *(f"{s} → {t}" for s, t in pairs), "mean")
    print(header(columns, ("---", *["---:"] * (len(columns) - 1))), flush=True)
    clean = {(s, t): measure(domains[s], domains[t], settings, folder) for s, t in pairs}
    print(
        row("none", *(f"{uars[0]:.3f}, {uars[1]:.3f}" for uars in [*clean.values()]), ""),
        flush=True,
    )
    for channel in channels:
        bad = {t: load_domain(degraded(loaded[t], channel), settings, folder) for t in targets}
        losses = [
            np.subtract(clean[s, t][0], measure(domains[s], bad[t], settings, folder))
            for s, t in pairs
        ]
        print(row(channel, *map(cell, [*losses, np.mean(losses, 0)])), flush=True)


def cell(losses: np.ndarray) -> str:
    """The loss without and with the remedy."""
    return f"{losses[0]:+.3f}, {losses[1]:+.3f}"


if __name__ == "__main__":
    main()
