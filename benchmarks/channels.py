"""What a bad channel of the target costs, and what sending the source through it gains.

    python benchmarks/channels.py ravdess.csv casia.csv savee.csv emodb.csv
    python benchmarks/channels.py ravdess.csv casia.csv --tiny    # one pair; meaningless

Each manifest needs the columns speaker and emotion. Only the target is degraded, by NumPy, SciPy
and the codecs of libsndfile (`channel_degradations.py`). For each ordered pair of corpora and each
channel, the table has the loss of unweighted average recall beside the clean target: first with
`--config.features.channel=none`, then with "auto". The loss is the mean over the sources. Only the
labels by co-training are computed, in closed form; no network is trained. Speaker ids are known.
Target labels are used for scoring only.
"""

import argparse
import zlib
from collections import Counter
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from channel_degradations import DEGRADATIONS, RATE_HZ
from command_line import make_parser
from labelling import uar_of_labels
from labelling_parts import FIVE_EMOTIONS, Part, Task
from markdown_table import header, row

from jdann import audio, corpora
from jdann.configuration import load_config
from jdann.corpora.index import Corpus, Utterance
from jdann.data.pairs import Domain, load_domain
from jdann.experiments.channels import match_channel
from jdann.experiments.settings import features_folder, make_feature_settings
from jdann.files import default_data_dir

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


def uar(source: Domain, target: Domain, relevance: float) -> float:
    """Unweighted average recall of the labels that co-training gives the target."""
    parts = [
        Part(np.concatenate(list(domain.features.read())), domain.features.utterances)
        for domain in (source, target)
    ]
    present = [{utterance.emotion for utterance in part.utterances} for part in parts]
    shared = present[0] & present[1]
    source_part, target_part = (part.where(lambda u: u.emotion in shared) for part in parts)
    task = Task("", source_part, target_part, FIVE_EMOTIONS)
    return uar_of_labels(task, changes={}, by=("speaker", "speaker"), relevance=relevance)


def measure(
    domains: dict[str, Domain],
    targets: dict[str, Domain],
    pairs: Sequence[tuple[str, str]],
    settings: Any,
    cache: Path,
) -> dict[tuple[str, str], tuple[float, float]]:
    """For each pair: without and with the remedy."""
    scores = {}
    for source, target in pairs:
        matched = match_channel(domains[source], targets[target], settings, cache, "auto")
        scores[source, target] = tuple(
            uar(domain, targets[target], settings.relevance)
            for domain in (domains[source], matched)
        )
    return scores


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
    cache = features_folder(arguments.data_dir or default_data_dir())
    settings = make_feature_settings(load_config("best"))._replace(emotions=FIVE_EMOTIONS)
    names = [path.stem for path in arguments.manifests]
    loaded = {path.stem: corpora.load_all(str(path), FIVE_EMOTIONS) for path in arguments.manifests}
    domains = {name: load_domain(corpus, settings, cache) for name, corpus in loaded.items()}
    pairs, channels = list(permutations(names, 2)), arguments.channels
    if arguments.pairs:
        pairs = [
            (source, target) for source, target in pairs if f"{source}:{target}" in arguments.pairs
        ]
    if arguments.tiny:
        pairs, channels = pairs[:1], channels[:1]
    targets = list(dict.fromkeys(target for _, target in pairs))
    clean = measure(domains, domains, pairs, settings, cache)

    columns = ("channel of the target", *targets, "mean of the pairs", "worst pair")
    print(header(columns, ("---", *["---:"] * (len(columns) - 1))), flush=True)
    reached = [[clean[pair] for pair in pairs if pair[1] == target] for target in targets]
    cells = [f"{np.mean(scores, 0)[0]:.3f}, {np.mean(scores, 0)[1]:.3f}" for scores in reached]
    whole = np.array(list(clean.values()))
    print(row(CLEAN, *cells, f"{whole[:, 0].mean():.3f}, {whole[:, 1].mean():.3f}", ""))
    for channel in channels:
        bad = {
            name: load_domain(degraded(loaded[name], channel), settings, cache) for name in targets
        }
        scores = measure(domains, bad, pairs, settings, cache)
        loss = {pair: np.subtract(clean[pair][0], scores[pair]) for pair in pairs}
        cells = [
            cell(np.mean([loss[pair] for pair in pairs if pair[1] == target], 0))
            for target in targets
        ]
        every = np.array(list(loss.values()))  # [pairs, 2]
        print(row(channel, *cells, cell(every.mean(0)), cell(every.max(0))), flush=True)


def cell(losses: np.ndarray) -> str:
    """The loss without and with the remedy."""
    return f"{losses[0]:+.3f}, {losses[1]:+.3f}"


if __name__ == "__main__":
    main()
