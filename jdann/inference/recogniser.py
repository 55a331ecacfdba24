"""A trained recogniser in use: audio in, the probability of each emotion out.

    r = Recogniser.load("runs/en2zh")
    r("clip.wav")  # {"neutral": 0.12, "happy": 0.61, ...}
    r.timeline("meeting.wav", window_s=3, hop_s=1)

A recogniser never changes: `only`, `adapt` and `at_temperature` return new ones that share its compiled programs. Any
number of threads may use one.
"""

import dataclasses
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import FrozenConfigDict

from jdann import audio, configuration
from jdann.corpora.folder import list_audio
from jdann.data import normalise
from jdann.errors import InputError
from jdann.inference import model
from jdann.inference.model import Normaliser
from jdann.inference.program import Programs

BUCKET_S = 1.0  # clips are padded to a multiple of this, so that few shapes are compiled
log = logging.getLogger("jdann")


class Part(NamedTuple):
    """A part of a file as a clip."""

    path: str | Path
    start_s: float = 0.0
    end_s: float | None = None  # None: to the file's end


Clip = str | Path | np.ndarray | Part


class Timeline(NamedTuple):
    """Emotions over time."""

    start_s: np.ndarray  # [windows] float64
    end_s: np.ndarray  # [windows] float64; the last window may be shorter
    probabilities: np.ndarray  # [windows, classes] float32; NaN where nothing was heard


@dataclasses.dataclass(frozen=True, eq=False)
class Recogniser:
    """An ensemble of one member a seed (and fold), with the normalisation and the temperature that it is used with.

    Make one by `Recogniser.load`.
    """

    card: dict[
        str, Any
    ]  # labels, config, versions, names of source and target, method, encoder, seeds, calibration
    labels: tuple[str, ...]
    temperature: float  # logits are divided by it
    normaliser: Normaliser  # of features
    columns: np.ndarray  # [classes] int, which of the model's logits are those of `labels`
    config: Any  # the run's
    programs: Programs

    @classmethod
    def load(
        cls,
        path: str | Path,
        method: str | None = None,
        encoder: str | None = None,
        direction: int = 0,
    ) -> "Recogniser":
        """Reads a recogniser; no corpus and no checkpoint is needed, and nothing that is read is executed.

        Args:
          path: the work directory of a finished run, or one of the folders in its `recogniser/`.
          method: which one of the run's; None: the last that adapts to the target.
          encoder: None: the last one of the run's config.
          direction: 1: the way back, of a run in both directions.

        Raises:
          InputError: there is none, or it is damaged.
        """
        folder = model.find(Path(path), method, encoder, direction)
        loaded = model.load(folder)
        card = loaded.card
        names = card["source"]["name"], card["target"]["name"]
        log.info("%s: %s with %s, %s -> %s", folder, card["method"], card["encoder"], *names)
        return cls.of(loaded)

    @classmethod
    def of(cls, loaded: model.Model) -> "Recogniser":
        """A recogniser of a model in memory."""
        card = loaded.card
        config = FrozenConfigDict(configuration.tuples(card["config"]))
        labels = tuple(card["labels"])
        programs = Programs(config, card["encoder"], loaded.variables)
        return cls(
            card,
            labels,
            float(card["temperature"]),
            loaded.normaliser,
            np.arange(len(labels)),
            config,
            programs,
        )

    @property
    def sample_rate_hz(self) -> int:
        """What audio is resampled to."""
        return self.config.audio.sample_rate_hz

    def __call__(
        self, x: Clip | Sequence[Clip], rate: int | None = None
    ) -> dict[str, float] | list[dict[str, float]]:
        """The probability of each of `labels`.

        Args:
          x: a file; samples, [samples] or [samples, channels], floating point in -1 to 1 or signed integers; a folder, of
            which all audio files are taken, in the order of `audio_files`; a `Part` of a file; or a list of such clips.
          rate: of samples, Hz.

        Returns:
          A dict for a clip, a list of dicts for a list or folder.

        Raises:
          InputError: a clip cannot be used; the message names it.
        """
        many = (isinstance(x, (list, tuple)) and not isinstance(x, Part)) or (
            isinstance(x, (str, Path)) and Path(x).is_dir()
        )
        rows = self.probabilities(x if many else [x], rate)  # pyright: ignore[reportArgumentType]
        named = [dict(zip(self.labels, map(float, row), strict=True)) for row in rows]
        return named if many else named[0]

    def label(self, clip: Clip, rate: int | None = None, at_least: float = 0.0) -> str | None:
        """The most probable emotion of one clip; None, to abstain, where its probability is below `at_least`."""
        row = self.probabilities([clip], rate)[0]
        return self.labels[int(row.argmax())] if row.max() >= at_least else None

    def probabilities(
        self, clips: Sequence[Clip] | str | Path, rate: int | None = None
    ) -> np.ndarray:
        """Probabilities float32 [clips, classes], the mean over members; see `__call__` for what a clip is."""
        rows = np.zeros((len(clips := _listed(clips)), len(self.labels)), np.float32)
        for i, row in self.each(clips, rate):
            if isinstance(row, str):
                raise InputError(f"{_name(clips[i], i)}: {row}; leave it out, or mend it")
            rows[i] = row
        return rows

    def each(
        self, clips: Iterable[Clip], rate: int | None = None
    ) -> Iterator[tuple[int, np.ndarray | str]]:
        """Probabilities [classes] of one clip after the other, or why it cannot be used.

        Args:
          clips: as many as you like; few of them are held at a time.
          rate: of samples, Hz.

        Yields:
          The place of a clip in `clips`, not always in order, and its row or the reason.
        """
        for i, found in self._each_outputs(clips, rate):
            yield i, found if isinstance(found, str) else self._probability(found[0])

    def representations(
        self, clips: Sequence[Clip] | str | Path, rate: int | None = None
    ) -> np.ndarray:
        """What the encoder makes of each clip, before the classifier: float32 [clips, members, d]."""
        rows: dict[int, np.ndarray] = {}
        for i, found in self._each_outputs(clips := _listed(clips), rate):
            if isinstance(found, str):
                raise InputError(f"{_name(clips[i], i)}: {found}; leave it out, or mend it")
            rows[i] = found[1]
        return np.stack([rows[i] for i in range(len(rows))])

    def timeline(
        self,
        x: str | Path | np.ndarray,
        window_s: float = 3.0,
        hop_s: float = 1.0,
        rate: int | None = None,
    ) -> Timeline:
        """Emotions over time, of hours of audio in bounded memory: each window is treated as a clip of its own.

        Args:
          x: a file or samples, as for `__call__`.
          window_s: length of a window, s, at most the config's `audio.max_duration_s`.
          hop_s: from one window's beginning to the next one's, s.
          rate: of samples, Hz.

        Returns:
          The Timeline; windows in which nothing is heard have the probability NaN.

        Raises:
          InputError: the audio cannot be used, or the lengths make no sense.
        """
        starts, ends, rows = [], [], []
        for start_s, end_s, row in self.windows(x, window_s, hop_s, rate):
            starts.append(start_s)
            ends.append(end_s)
            rows.append(row)
        return Timeline(
            np.array(starts),
            np.array(ends),
            np.array(rows, np.float32).reshape(-1, len(self.labels)),
        )

    def windows(
        self,
        x: str | Path | np.ndarray,
        window_s: float = 3.0,
        hop_s: float = 1.0,
        rate: int | None = None,
    ) -> Iterator[tuple[float, float, np.ndarray]]:
        """`timeline` as it is found: start and end in s, and probabilities [classes]."""
        longest_s = self.config.audio.max_duration_s
        if not audio.SHORTEST_S <= window_s <= longest_s:
            raise InputError(
                f"window_s is {window_s}; expected {audio.SHORTEST_S:g} to {longest_s:g} s, as in training"
            )
        if not hop_s > 0:
            raise InputError(f"hop_s is {hop_s}; expected more than 0 s")
        settings = audio.AudioSettings(**self.config.audio)._replace(offset_s=0.0)
        waiting: list[tuple[float, float, np.ndarray | None]] = []
        size = self._bucket(int(window_s * self.sample_rate_hz))
        try:
            for start_s, samples, rate_hz in audio.windows(x, window_s, hop_s, rate):
                try:
                    clip = audio.prepare(samples, rate_hz, settings).samples
                except audio.AudioError:  # silence, or less than a syllable
                    clip = None
                waiting.append((start_s, start_s + len(samples) / rate_hz, clip))
                if len(waiting) == self.programs.batch:
                    yield from self._of_windows(waiting, size)
                    waiting = []
        except audio.AudioError as error:
            raise InputError(f"{_name(x, 0)}: {error}") from error
        yield from self._of_windows(waiting, size)

    def only(self, *labels: str) -> "Recogniser":
        """A recogniser that knows these emotions alone, the others' logits being left out.

        Raises:
          InputError: fewer than two, or one that it was not trained on.
        """
        unknown = [label for label in labels if label not in self.labels]
        if unknown:
            raise InputError(
                f"{unknown[0]}: not an emotion of this recogniser; choose among {', '.join(self.labels)}"
            )
        if len(set(labels)) != len(labels) or len(labels) < 2:
            given = ", ".join(labels) or "none"
            raise InputError(
                f"classes {given}: expected two or more different ones of {', '.join(self.labels)}"
            )
        columns = self.columns[[self.labels.index(label) for label in labels]]
        return dataclasses.replace(self, labels=tuple(labels), columns=columns)

    def at_temperature(self, temperature: float) -> "Recogniser":
        """A recogniser whose logits are divided by `temperature`, above 0; 1: as trained, not calibrated."""
        if not temperature > 0:
            raise InputError(f"temperature is {temperature}; expected more than 0")
        return dataclasses.replace(self, temperature=float(temperature))

    def adapt(
        self, clips: Sequence[Clip] | str | Path, rate: int | None = None, relevance: float = 5.0
    ) -> "Recogniser":
        """A recogniser for one speaker, or one recording condition, whose audio statistics those of `clips` are.

        Features are then normalised as the run normalised each speaker of its target. No labels are needed, and the
        clips may be the ones to be recognised; the more emotions they hold the better. Mean and variance are those of
        n clips with the weight n / (n + relevance), else the target's, because few clips of one emotion say more of
        the emotion than of the speaker (relevance: Reynolds et al. 2000, "Speaker verification using adapted Gaussian
        mixture models", equation 14).

        Args:
          clips: of one speaker.
          rate: of samples, Hz.
          relevance: clips, 0 or more; 0: the clips' own statistics alone.

        Raises:
          InputError: a clip cannot be used, or the run's normalisation knows no speakers.
        """
        by = self.config.features.normalise
        if by not in ("speaker", "voice", "corpus"):
            raise InputError(
                f"this recogniser normalises by {by}, which no speaker changes; train with features.normalise=speaker"
            )
        values = []
        for i, clip in enumerate(clips := _listed(clips)):
            try:
                samples = self._samples(clip, rate)
            except audio.AudioError as error:
                raise InputError(f"{_name(clip, i)}: {error}; leave it out, or mend it") from error
            padded = np.pad(samples, (0, self._bucket(len(samples)) - len(samples)))
            features, frames = self.programs.features(
                padded[None], np.array([len(samples)], np.int32)
            )
            values.append(
                features[0].T if features.shape[2] == 1 else features[0, : frames[0]]
            )  # [frames or 1, values]
        if not values:
            raise InputError("no clips to adapt to; give one or more of one speaker")
        own = normalise.moments(values, ["speaker"] * len(values))
        mean, std, voice = self.normaliser
        prior = normalise.Moments(mean.astype(np.float64), std.astype(np.float64) ** 2)
        blended = normalise.map_estimate(own, prior, len(values) / (len(values) + relevance))
        mean, std, _ = normalise.statistics(blended, ())
        return dataclasses.replace(self, normaliser=Normaliser(mean, std, voice))

    def _probability(self, logits: np.ndarray) -> np.ndarray:
        """[classes] from [members, all classes]."""
        scaled = logits[:, self.columns].astype(np.float64) / self.temperature
        exponential = np.exp(scaled - scaled.max(-1, keepdims=True))
        return (exponential / exponential.sum(-1, keepdims=True)).mean(0).astype(np.float32)

    def _each_outputs(
        self, clips: Iterable[Clip], rate: int | None
    ) -> Iterator[tuple[int, tuple[np.ndarray, np.ndarray] | str]]:
        """Logits [members, classes] and representation [members, d] of each clip, or a reason."""
        waiting: dict[int, list[tuple[int, np.ndarray]]] = {}
        for i, clip in enumerate(clips):
            try:
                samples = self._samples(clip, rate)
            except audio.AudioError as error:
                yield i, str(error)
                continue
            size = self._bucket(len(samples))
            waiting.setdefault(size, []).append((i, samples))
            if len(waiting[size]) == self.programs.batch:
                yield from self._run(waiting.pop(size), size)
        for size, some in waiting.items():
            yield from self._run(some, size)

    def _of_windows(
        self, waiting: list[tuple[float, float, np.ndarray | None]], size: int
    ) -> Iterator[tuple[float, float, np.ndarray]]:
        heard = [(i, samples) for i, (_, _, samples) in enumerate(waiting) if samples is not None]
        rows = {i: self._probability(logits) for i, (logits, _) in self._run(heard, size)}
        unheard = np.full(len(self.labels), np.nan, np.float32)
        for i, (start_s, end_s, _) in enumerate(waiting):
            yield start_s, end_s, rows.get(i, unheard)

    def _run(
        self, some: list[tuple[int, np.ndarray]], size: int
    ) -> Iterator[tuple[int, tuple[np.ndarray, np.ndarray]]]:
        """Runs clips: few of them one by one, more in calls that are filled up."""
        step = self.programs.batch if len(some) > self.programs.batch // 4 else 1
        for begin in range(0, len(some), step):
            part = some[begin : begin + step]
            samples, length = np.zeros((step, size), np.float32), np.ones(step, np.int32)
            for row, (_, clip) in enumerate(part):
                samples[row, : len(clip)] = clip
                length[row] = len(clip)
            logits, representation = self.programs.outputs(tuple(self.normaliser), samples, length)
            for row, (i, _) in enumerate(part):
                yield i, (logits[:, row], representation[:, row])

    def _bucket(self, samples: int) -> int:
        bucket = round(BUCKET_S * self.sample_rate_hz)
        return -(-samples // bucket) * bucket

    def _samples(self, clip: Clip, rate: int | None) -> np.ndarray:
        """[samples] of a clip, decoded and prepared as in training."""
        if isinstance(clip, np.ndarray):
            if rate is None:
                raise InputError(
                    "samples came without their rate; give rate=, e.g. r(samples, rate=16000)"
                )
            if clip.ndim not in (1, 2) or not clip.size:
                raise audio.AudioError(
                    f"samples of shape {clip.shape}; expected [samples] or [samples, channels]"
                )
            return audio.prepare(clip, rate, audio.AudioSettings(**self.config.audio)).samples
        if not isinstance(clip, (str, Path, Part)):
            raise InputError(
                f"a clip of type {type(clip).__name__}; expected a path or a NumPy array"
            )
        part = clip if isinstance(clip, Part) else Part(clip)
        samples, rate_hz = audio.read(part.path, part.start_s, part.end_s)
        prepared = audio.prepare(samples, rate_hz, audio.AudioSettings(**self.config.audio))
        if prepared.cut:
            heard_s = self.config.audio.max_duration_s
            log.warning(
                "%s: longer than %g s, and the rest is not heard; a timeline hears it all",
                _name(clip, 0),
                heard_s,
            )
        return prepared.samples


def audio_files(folder: str | Path) -> list[Path]:
    """The audio files below a folder, sorted.

    Raises:
      InputError: there are none.
    """
    return [Path(folder) / name for name in list_audio(Path(folder))[0]]


def _listed(clips: Sequence[Clip] | str | Path) -> Sequence[Clip]:
    if isinstance(clips, Part):
        return [clips]
    if isinstance(clips, (str, Path)):
        return audio_files(clips) if Path(clips).is_dir() else [clips]
    return clips


def _name(clip: Clip, i: int) -> str:
    clip = clip.path if isinstance(clip, Part) else clip
    return os.fspath(clip) if isinstance(clip, (str, Path)) else f"clip {i}"
