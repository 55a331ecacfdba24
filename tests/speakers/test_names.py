"""Speakers in the names of files: schemes of published corpora, and names without speakers."""

import zlib

import numpy as np
import pytest

from jdann.corpora.index import Utterance
from jdann.errors import InputError
from jdann.speakers import similar_voices
from jdann.speakers.missing_ids import name_speakers
from jdann.speakers.names import match_speakers, read_speakers
from jdann.speakers.voice_shares import Voices

EMOTIONS = ("angry", "happy", "neutral", "sad")
CODES = dict(zip(EMOTIONS, "WFNT", strict=True))
SENTENCES, TAKES = 5, 2
LETTERS = ("DC", "JE", "CD", "KL", "AB", "MO")  # CD is a person, cd1 is not
GENDER = "fmfmfm"


def corpus(speakers: int) -> tuple[list[tuple[int, str, int, int]], Voices]:
    """The (speaker, emotion, sentence, take) of each file, and voices as real corpora have them.

    The pitch's base differs between speakers and emotions, the third formant between speakers
    alone, and the ranges of pitch and loudness between emotions and sentences.
    """
    random = np.random.default_rng(0)
    files = [
        (speaker, emotion, sentence, take)
        for speaker in range(speakers)
        for emotion in EMOTIONS
        for sentence in range(SENTENCES)
        for take in range(TAKES)
    ]
    speaker, emotion, sentence = (
        np.array([row[0] for row in files]),
        np.array([EMOTIONS.index(row[1]) for row in files]),
        np.array([row[2] for row in files]),
    )
    n = len(files)

    def effect(group: np.ndarray, size: float) -> np.ndarray:
        levels = np.linspace(-1, 1, group.max() + 1) if group.max() else np.zeros(1)
        return size * random.permutation(levels)[group]

    pitch = effect(speaker, 2.0) + effect(emotion, 1.0) + random.normal(size=n)
    formant = effect(speaker, 2.0) + 0.7 * random.normal(size=n)
    expression = effect(emotion, 1.0) + effect(sentence, 0.7) + random.normal(size=n)
    return files, Voices(pitch, formant, expression[:, None])


SCHEMES = {  # the path of a file
    "RAVDESS": lambda s, e, t, k: f"03-01-0{EMOTIONS.index(e)}-01-0{t}-0{k}-{s + 1:02d}.wav",
    "RAVDESS in folders": lambda s, e, t, k: (
        f"Actor_{s + 1:02d}/03-01-0{EMOTIONS.index(e)}-01-0{t}-0{k}-{s + 1:02d}.wav"
    ),
    "SAVEE": lambda s, e, t, k: f"{LETTERS[s]}_{e[0]}{t * TAKES + k:02d}.wav",
    "SAVEE in folders": lambda s, e, t, k: f"{LETTERS[s]}/{e[0]}{t * TAKES + k:02d}.wav",
    "EmoDB": lambda s, e, t, k: f"{s + 8:02d}a{t:02d}{CODES[e]}{'ab'[k]}.wav",
    "CREMA-D": lambda s, e, t, k: f"{1001 + s}_S{t}{k}_{e[:3].upper()}_XX.wav",
    "TESS": lambda s, e, t, k: f"{'OY'[s % 2]}A{'FG'[s // 2 % 2]}{s // 4}_word{t}{k}_{e}.wav",
    "ESD": lambda s, e, t, k: f"{s + 1:04d}/{e}/{s + 1:04d}_{t * TAKES + k:06d}.wav",
    "CASIA": lambda s, e, t, k: f"{LETTERS[s]}liu/{e}/{200 + t * TAKES + k}.wav",
    "EMOVO": lambda s, e, t, k: (
        f"{GENDER[s]}{s // 2 + 1}/{e[:3]}-{GENDER[s]}{s // 2 + 1}-b{t}{k}.wav"
    ),
    "EMOVO, flat": lambda s, e, t, k: f"{e[:3]}-{GENDER[s]}{s // 2 + 1}-b{t}{k}.wav",
    "nEMO": lambda s, e, t, k: f"{LETTERS[s]}{s}_{e}_{t * TAKES + k}.wav",
    "AESDD": lambda s, e, t, k: f"{e}/{e[0]}{t:02d}{k} ({s + 1}).wav",
    "ShEMO": lambda s, e, t, k: f"{GENDER[s].upper()}{s + 1:02d}{e[0].upper()}{t}{k}.wav",
    "BAUM": lambda s, e, t, k: f"S{s + 1:03d}_{t}{k}_{e}.flac",
    "JL": lambda s, e, t, k: f"{['female', 'male'][s % 2]}{s // 2 + 1}_{e}_{t}a_{k}.wav",
    "words": lambda s, e, t, k: f"speaker {s + 1} - {e} - line {t} take {k}.mp3",
    "last": lambda s, e, t, k: f"{e}_{t}_{k}_spk{s + 1}.wav",
    "game": lambda s, e, t, k: f"act1/vo_{LETTERS[s].lower()}_{t}{k}_{e[0]}.ogg",
    "names": lambda s, e, t, k: (
        f"{['Anna', 'Ben', 'Chen', 'Dora', 'Emil', 'Fay'][s]}/clip{EMOTIONS.index(e)}{t}{k}.wav"
    ),
    "Mandarin": lambda s, e, t, k: f"{'赵钱孙李周吴'[s]}/{e}/{t}{k}.wav",
    "train and test": lambda s, e, t, k: f"{['train', 'test'][k]}/{LETTERS[s]}_{e}_{t}.wav",
    "calls": lambda s, e, t, k: f"2026-03-1{t}/agent-{s + 1}/call_{EMOTIONS.index(e)}{k}.wav",
}


def number(*row) -> int:
    """A number that tells nothing."""
    return zlib.crc32(repr(row).encode()) % 10**8


WITHOUT = {  # nothing here tells the speaker
    "numbers": lambda *row: f"{number(row):08d}.wav",
    "emotions": lambda s, e, t, k: f"{e}/{t}_{k}_{number(s, e, t, k)}.wav",
    "codes of emotions": lambda s, e, t, k: f"x_{CODES[e]}_{t}_{k}_{number(s, e, t, k)}.wav",
    "sentences": lambda s, e, t, k: f"s{t}/{number(s, e, t, k)}.wav",
    "gender": lambda s, e, t, k: f"{GENDER[s]}/{number(s, e, t, k)}.wav",
    "gender in words": lambda s, e, t, k: (
        f"{['female', 'male'][s % 2]}_{t}_{e}_{number(s, e, t, k)}.wav"
    ),
    "initials of discs": lambda s, e, t, k: f"cd{t}/{number(s, e, t, k)}.wav",
    "folds": lambda s, e, t, k: f"fold{t % 3}/{number(s, e, t, k)}.wav",
    "speakers in folds": lambda s, e, t, k: f"fold{s % 3}/{number(s, e, t, k)}.wav",
    "train and test": lambda s, e, t, k: (
        f"{['train', 'test'][s % 2]}/{e}_{t}_{number(s, e, t, k)}.wav"
    ),
    "dates": lambda s, e, t, k: f"2026-0{t + 1}-{10 + k}_{number(s, e, t, k)}.wav",
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_speaker_of_each_scheme_is_found(scheme):
    rows, voices = corpus(6)
    files = [SCHEMES[scheme](*row) for row in rows]
    assert len(set(files)) == len(files)
    named = read_speakers(files, voices)
    assert named is not None
    pairs = set(zip(named.speaker, (row[0] for row in rows), strict=True))
    assert len(pairs) == 6, named.evidence  # each name is one speaker, and each speaker one name
    assert "6 speakers" in named.evidence


@pytest.mark.parametrize("scheme", WITHOUT)
def test_nothing_else_is_taken_for_a_speaker(scheme):
    rows, voices = corpus(6)
    assert read_speakers([WITHOUT[scheme](*row) for row in rows], voices) is None


@pytest.mark.parametrize("scheme", SCHEMES)
def test_one_speaker_stays_one(scheme):
    rows, voices = corpus(1)
    assert read_speakers([SCHEMES[scheme](*row) for row in rows], voices) is None


def test_names_without_voices_behind_them_are_not_believed():
    rows, voices = corpus(6)
    files = np.random.default_rng(1).permutation([SCHEMES["SAVEE"](*row) for row in rows])
    assert read_speakers(files.tolist(), voices) is None


def test_real_names_hold_the_speakers_of_real_corpora(corpora_dir):
    pytest.importorskip("sklearn")
    for name, scheme in (("ravdess", r"-(\d\d)\.flac"), ("casia", r"casia/(\w+)/")):
        text = (corpora_dir / f"{name}.csv").read_text(encoding="utf-8").splitlines()[1:]
        rows = [line.split(",") for line in text]
        named = match_speakers([row[0] for row in rows], scheme)
        assert len(set(zip(named.speaker, (row[2] for row in rows), strict=True))) == len(
            {row[2] for row in rows}
        )


@pytest.mark.parametrize(
    "pattern, message",
    [
        ("sp[", "is not a regular expression"),
        (r"speaker(\d)", "matches no file"),
        (r"(wav)", "finds one speaker"),
        (r"(.*)\.wav", "a different speaker in each file"),
    ],
)
def test_patterns_of_no_use_are_one_sentence(pattern, message):
    files = [f"{name}_{i:02d}.wav" for name in LETTERS for i in range(4)]
    with pytest.raises(InputError, match=message) as error:
        match_speakers(files, pattern)
    assert "\n" not in str(error.value) and "config.speaker_pattern" in str(error.value)
    named = match_speakers([*files, "noise.wav"], r"^([A-Z]{2})_")
    assert named.speaker[-1] is None and "does not match 1 file" in named.evidence


def features(voices: Voices) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """Vectors whose positions are the voices."""
    bins = ("pitch/p05", "f3_frequency/p50", "pitch/range_20_80", "loudness/range_20_80")
    columns = (
        20 + 6 * voices.pitch,
        2500 * 2 ** (0.9 * voices.formant / 12),
        voices.expression[:, 0],
        voices.expression[:, 0],
    )
    return list(np.stack(columns, 1).astype(np.float32)[:, None]), bins


def test_given_ids_are_kept_and_unknown_ones_are_named():
    rows, voices = corpus(6)
    vectors, bins = features(voices)
    blank = [Utterance(file=SCHEMES["SAVEE"](*row)) for row in rows]

    def name(utterances, way="auto", pattern=""):
        positions = similar_voices.voice_positions(vectors, bins)
        return name_speakers(utterances, positions, lambda: vectors, bins, way=way, pattern=pattern)

    named = name(blank)
    assert [u.speaker for u in named.utterances] == [LETTERS[row[0]] for row in rows]
    assert name(blank, "voice").utterances == tuple(blank)
    one_person = tuple(u._replace(speaker="me") for u in blank)
    assert name(one_person) == (one_person, ())
    by_pattern = name(blank, "voice", r"^(.)")
    assert {u.speaker for u in by_pattern.utterances} == {"D", "J", "C", "K", "A", "M"}
    hidden = [Utterance(file=f"{i}.wav") for i in range(len(rows))]
    assert name(hidden) == (tuple(hidden), ())
    with pytest.raises(InputError, match="config.speakers is 'names'"):
        name(hidden, "names")


def test_corpora_are_read_one_by_one():
    """A speaker 1 of one corpus is another person than the speaker 1 of the next."""
    rows, voices = corpus(6)
    vectors, bins = features(voices)
    both = [
        Utterance(file=SCHEMES[scheme](*row), corpus=scheme)
        for scheme in ("words", "last")
        for row in rows
    ]
    known = [Utterance(file="x.wav", corpus="known", speaker="known/1")] * len(both) * 2
    repeated = vectors * 6
    positions = similar_voices.voice_positions(repeated, bins)
    named = name_speakers(
        [*known, *both], positions, lambda: repeated, bins, way="auto", pattern=""
    )
    assert named.utterances[: len(known)] == tuple(known) and len(named.notes) == 2
    assert len({u.speaker for u in named.utterances}) == 13
    assert {u.speaker.split("/")[0] for u in named.utterances} == {"known", "words", "last"}


def test_names_need_a_recipe_with_formants():
    files = [Utterance(file=f"{name}_{i}.wav") for name in LETTERS for i in range(5)]
    bins = ("log_f0", "voicing")
    options = {"way": "names", "pattern": ""}
    with pytest.raises(InputError, match="recipe has no formants"):
        name_speakers(files, np.zeros((30, 1)), list, bins, **options)
