"""How often speech is called unlike that which a model has adapted to.

    python benchmarks/unfamiliar.py ravdess.csv casia.csv savee.csv emodb.csv
    python benchmarks/unfamiliar.py ravdess.csv casia.csv --tiny    # one pair; meaningless

For each ordered pair of corpora, `jdann.selection.familiarity` learns from the source and from half
of the target's speakers, drawn twice: with their ids, and without them. Clips of the target's other
speakers are false alarms if they are called unfamiliar. The other kinds should be called so: other
corpora, and clips of the target that are changed.
"""

import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from channel_degradations import DEGRADATIONS, RATE_HZ
from command_line import make_parser
from labelling_parts import FIVE_EMOTIONS, Part
from machine import processor_name, python_and_packages
from markdown_table import header, row
from recorded_calls import music
from scipy import signal

from jdann import audio, corpora
from jdann.configuration import load_config
from jdann.corpora.index import Corpus, Utterance
from jdann.data.pairs import FeatureSettings, load_domain
from jdann.experiments.settings import features_folder, make_feature_settings
from jdann.files import default_data_dir
from jdann.selection.familiarity import Speech, fit_familiarity, is_unfamiliar

CLIPS = 60  # of each corpus and kind of change
HALVES = 2  # draws of the known half of the target's speakers
FALSE_ALARMS = "new speakers: false alarms"
KNOWN_KINDS = ("speakers that were adapted to", FALSE_ALARMS, "the source")
OTHERS = "other corpora"

# (a clip's samples, another clip's samples, a random generator) -> changed samples
Change = Callable[[np.ndarray, Callable[[], np.ndarray], np.random.Generator], np.ndarray]


class Sounds(NamedTuple):
    """The clips of a corpus, as they are and changed."""

    clips: Part
    changed: Mapping[str, np.ndarray]  # statistics [n, values] of each kind


def _level(samples: np.ndarray) -> float:
    return float(np.sqrt(np.square(samples).mean())) + 1e-9


def _mixed(samples: np.ndarray, others: Sequence[np.ndarray]) -> np.ndarray:
    """The sum of clips of the same level."""
    repeated = [np.resize(clip, len(samples)) / _level(clip) for clip in others]
    return 0.05 * (samples / _level(samples) + np.sum(repeated, axis=0))


def whisper(
    samples: np.ndarray, other_clip: Callable[[], np.ndarray], rng: np.random.Generator
) -> np.ndarray:
    """Speech without a voice: noise with the spectral envelope of the clip."""
    del other_clip
    _, _, spectrum = signal.stft(samples, RATE_HZ, nperseg=400)
    envelope = signal.savgol_filter(np.abs(spectrum), 15, 2, axis=0).clip(0)
    phase = np.exp(2j * np.pi * rng.random(spectrum.shape))
    return signal.istft(envelope * phase, RATE_HZ, nperseg=400)[1][: len(samples)]


def _degraded(name: str) -> Change:
    return lambda samples, other_clip, rng: DEGRADATIONS[name](samples.astype(np.float32), rng)[0]


CHANGES: Mapping[str, Change] = {
    "pitch and formants a third higher and faster, like a child": lambda x, other_clip, rng: (
        signal.resample_poly(x, 100, 135)
    ),
    "eight people at once": lambda x, other_clip, rng: _mixed(x, [other_clip() for _ in range(7)]),
    "two people at once": lambda x, other_clip, rng: _mixed(x, [other_clip()]),
    "played backwards": lambda x, other_clip, rng: x[::-1],
    "whispered": whisper,
    "with music of the same level": lambda x, other_clip, rng: _mixed(x, [music(len(x), rng)]),
    **{name: _degraded(name) for name in ("telephone", "white noise, 10 dB", "white noise, 0 dB")},
}


def samples_of(utterance: Utterance) -> np.ndarray:
    """The samples of an utterance at RATE_HZ."""
    decoded = audio.read(utterance.path, utterance.start_s, utterance.end_s)
    return audio.mono(*decoded, RATE_HZ)


def change(corpus: Corpus, name: str, count: int) -> Corpus:
    """Some clips of the corpus, changed; the same clip is always changed alike."""
    chosen = np.random.default_rng(0).permutation(len(corpus.utterances))[:count]
    original = {corpus.utterances[i].file: corpus.utterances[i] for i in chosen}

    def read(utterance: Utterance) -> tuple[np.ndarray, int]:
        rng = np.random.default_rng(zlib.crc32(f"{utterance.file} {name}".encode()))

        def other_clip() -> np.ndarray:
            return samples_of(corpus.utterances[rng.integers(len(corpus.utterances))])

        samples = CHANGES[name](samples_of(original[utterance.file]), other_clip, rng)
        return np.asarray(samples / max(1.0, np.abs(samples).max()), np.float32), RATE_HZ

    return corpus._replace(
        utterances=tuple(utterance._replace(path="") for utterance in original.values()),
        read=read,
        identity=f"{corpora.fingerprint(corpus)} {name} {count}",
    )


def load_sounds(manifest: Path, settings: FeatureSettings, folder: Path, tiny: bool) -> Sounds:
    """The statistics of a corpus, and of some of its clips after each change."""

    def load(corpus: Corpus) -> Part:
        domain = load_domain(corpus, settings, folder)
        return Part(np.concatenate(list(domain.features.read())), domain.features.utterances)

    corpus = corpora.load_all(str(manifest), FIVE_EMOTIONS)
    names = [*CHANGES][:2] if tiny else [*CHANGES]
    count = 4 if tiny else CLIPS
    return Sounds(load(corpus), {name: load(change(corpus, name, count)).values for name in names})


def speech(part: Part, known: bool = True) -> Speech:
    """The clips with the numbers of their speakers, or without."""
    _, number = np.unique([u.speaker or "" for u in part.utterances], return_inverse=True)
    return Speech(part.values, number if known else np.full(len(number), -1))


def measure(source: str, target: str, sounds: Mapping[str, Sounds], known: bool, draw: int) -> dict:
    """The part of each kind of clips that is called unfamiliar."""
    clips = sounds[target].clips
    names = sorted({u.speaker or "" for u in clips.utterances})
    half = set(np.random.default_rng(draw).permutation(names)[: (len(names) + 1) // 2].tolist())
    adapted = clips.where(lambda u: u.speaker in half)
    others = clips.where(lambda u: u.speaker not in half)
    fitted = fit_familiarity(speech(sounds[source].clips), speech(adapted, known))
    kinds = dict(zip(KNOWN_KINDS, (adapted, others, sounds[source].clips), strict=True))
    rates = {name: is_unfamiliar(fitted, part.values).mean() for name, part in kinds.items()}
    elsewhere = [s.clips.values for name, s in sounds.items() if name not in (source, target)]
    if elsewhere:
        rates[OTHERS] = np.mean([is_unfamiliar(fitted, values).mean() for values in elsewhere])
    changed = sounds[target].changed.items()
    return rates | {name: is_unfamiliar(fitted, values).mean() for name, values in changed}


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("manifests", type=Path, nargs="+")
    parser.add_argument("--data-dir", type=Path, default=None, help="where features are cached")
    arguments = parser.parse_args()
    folder = features_folder(arguments.data_dir or default_data_dir())
    settings = make_feature_settings(load_config("best"))._replace(emotions=FIVE_EMOTIONS)
    print(f"{processor_name()}; {python_and_packages(('jdann', 'jax'))}\n", flush=True)
    sounds = {
        path.stem: load_sounds(path, settings, folder, arguments.tiny)
        for path in arguments.manifests
    }
    rates: dict[str, dict[bool, list[float]]] = defaultdict(lambda: defaultdict(list))
    alarms: dict[str, dict[bool, list[float]]] = defaultdict(lambda: defaultdict(list))
    for source in sounds:
        for target in sounds:
            for known in (True, False):
                for draw in range(HALVES if source != target else 0):
                    measured = measure(source, target, sounds, known, draw)
                    for kind, rate in measured.items():
                        rates[kind][known].append(float(rate))
                    alarms[target][known].append(float(measured[FALSE_ALARMS]))
    print_rates("called unfamiliar", rates)
    print("\nFalse alarms by target:\n")
    print_rates("target", alarms)


def print_rates(title: str, rates: Mapping[str, Mapping[bool, Sequence[float]]]) -> None:
    """A table with a row for each kind, and a column with and without speaker ids."""
    print(header((title, "speaker ids known", "withheld"), ["---", "---:", "---:"]))
    for kind, by_ids in rates.items():
        print(row(kind, *(cell(by_ids[known]) for known in (True, False))))


def cell(rates: Sequence[float]) -> str:
    """The mean, and the smallest and largest value over pairs and draws."""
    return f"{np.mean(rates):.0%} ({min(rates):.0%} to {max(rates):.0%})"


if __name__ == "__main__":
    main()
