"""A trained recogniser in use: audio in, the probability of each emotion out.

    r = Recogniser.load("runs/en2zh")
    r("clip.wav")  # {"neutral": 0.12, "happy": 0.61, ...}
    r.predict(["a.wav", "b.flac"])  # array(["happy", "sad"])
    r.timeline("meeting.wav", window_s=3, hop_s=1)

A recogniser never changes: `only`, `adapt` and `at_temperature` return new ones that share its
compiled programs. Any number of threads may use one. `jdann.inference.clips` lists what a clip may
be; the rate of an array is given as `rate`, `sr` or `sampling_rate`, in Hz.
"""

import dataclasses
import html
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from ml_collections import ConfigDict, FrozenConfigDict

from jdann import audio, configuration
from jdann.errors import InputError
from jdann.evaluation.metrics import mean_probabilities
from jdann.inference import pretrained, timeline
from jdann.inference.adaptation import RELEVANCE, adapt_to_speakers
from jdann.inference.answers import Answer, find_doubt
from jdann.inference.batches import ClipFeatures, ClipOutputs, all_outputs, clip_features
from jdann.inference.card import Temperature
from jdann.inference.clips import (
    Clip,
    Clips,
    Part,
    Prepared,
    Rate,
    RateNames,
    clip_name,
    is_single,
    list_clips,
    one_rate,
    prepare_clip,
    vector_clip,
)
from jdann.inference.model import (
    CARD,
    Adaptation,
    Model,
    Reference,
    find_model,
    load_model,
    save_model,
    with_classes,
)
from jdann.inference.program import Programs, Settings
from jdann.inference.timeline import Timeline
from jdann.parameters import parameter
from jdann.program_cache import keep_programs
from jdann.selection.familiarity import Familiarity, is_unfamiliar

__all__ = ["Clip", "Part", "Prepared", "Recogniser", "Timeline"]
log = logging.getLogger("jdann")


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Recogniser:
    """An ensemble with one member for each seed (and fold), its normalisation and temperature.

    Make one with `Recogniser.load`. It can be pickled.
    """

    # labels, config, versions, source and target, method, encoder, seeds, calibration
    card: dict[str, Any]
    labels: tuple[str, ...]
    temperature: float  # logits are divided by it
    adaptation: Adaptation  # to the target or, after `adapt`, to a speaker
    columns: np.ndarray  # [classes] int: the position of each label among the model's logits
    config: Any  # the config of the run, a FrozenConfigDict
    programs: Programs
    reference: Reference | None = None  # where co-training starts; None: only normalisation adapts
    familiarity: Familiarity | None = None  # None: nobody can tell what speech is unfamiliar

    @classmethod
    def load(
        cls,
        path: str | Path,
        method: str | None = None,
        encoder: str | None = None,
        direction: int = 0,
    ) -> "Recogniser":
        """Reads a recogniser. It needs no corpus and no checkpoint, and executes nothing it reads.

        From then on JAX keeps what this process compiles in `~/.cache/jdann/xla`, so that the next
        process starts faster; see `jdann.program_cache.keep_programs` for how to choose
        otherwise.

        Args:
          path: the work directory of a finished run, a folder in its `recogniser/`, or a folder
            that `save` wrote.
          method: None: the last method of the run that adapts to the target.
          encoder: None: the last encoder of the run's config.
          direction: 1: the second direction, of a run that trained in both.

        Raises:
          InputError: there is no such recogniser, or one of its files is damaged or was changed.
        """
        folder = find_model(Path(path), method, encoder, direction)
        recogniser = cls.of(load_model(folder), pretrained.files_in(folder))
        keep_programs()
        log.info("%s: %s", folder, recogniser._origin())
        return recogniser

    @classmethod
    def of(cls, model: Model, encoder_files: Path | None = None) -> "Recogniser":
        """The recogniser of a model in memory.

        Args:
          model: as `load_model` reads it.
          encoder_files: where the weights of its pretrained encoder are, if it has one; None: where
            the model's card says.
        """
        card = model.card
        labels = tuple(card["labels"])
        config: Any = FrozenConfigDict(configuration.tuples(card["config"]))
        encoder = ConfigDict(config.encoder)
        encoder.name = card["encoder"]
        features = config.features
        if encoder_files is not None:
            features = FrozenConfigDict(features.to_dict() | {"encoder": str(encoder_files)})
        settings = Settings(config.audio.sample_rate_hz, features, encoder)
        return cls(
            card=card,
            labels=labels,
            temperature=float(card["temperature"]),
            adaptation=model.adaptation,
            columns=np.arange(len(labels)),
            config=config,
            programs=Programs(settings, model.variables),
            reference=model.reference,
            familiarity=model.familiarity,
        )

    def save(
        self, path: str | Path, *, overwrite: bool = False, with_encoder: bool = False
    ) -> None:
        """Writes a folder that `load` reads, with the classes, adaptation and temperature in use.

        Args:
          path: the folder; it is made if it does not exist.
          overwrite: replace a recogniser that is already there.
          with_encoder: if the features are from a pretrained encoder, copy its files into the
            folder, so that another machine does not need to fetch them. Its licence must allow it.

        Raises:
          InputError: the folder holds a recogniser already, `path` is a file, or there is no
            pretrained encoder to copy.
        """
        folder = Path(path)
        if folder.is_file():
            raise InputError(f"{folder}: is a file; give the name of a folder")
        if (folder / CARD).exists() and not overwrite:
            raise InputError(f"{folder}: holds a recogniser; give another name or overwrite=True")
        card = self.card | {"labels": list(self.labels), "temperature": self.temperature}
        model = Model(
            self.programs.variables, self.adaptation, card, self.reference, self.familiarity
        )
        if with_encoder:
            pretrained.copy_files(self.programs.settings.features, folder)
        else:
            pretrained.remove_files(self.programs.settings.features, folder)
        save_model(folder, with_classes(model, self.columns))

    @property
    def audio_settings(self) -> audio.AudioSettings:
        """How audio is prepared, as in training."""
        return audio.AudioSettings(**self.config.audio)

    @property
    def no_speech(self) -> Answer:
        """The answer for a clip without speech: its probabilities are NaN."""
        return self._answer(None)

    @property
    def sample_rate_hz(self) -> int:
        """The rate to which audio is resampled."""
        return self.programs.settings.sample_rate_hz

    @property
    def classes_(self) -> np.ndarray:
        """The labels as an array [classes], in the order of `predict_proba`'s columns."""
        return np.array(self.labels)

    def __repr__(self) -> str:
        """Method, encoder, corpora and sizes in one line."""
        return f"Recogniser({self._origin()}, {self._sizes()})"

    def _repr_html_(self) -> str:
        """The same with the labels, for notebooks."""
        lines = (self._origin(), self._sizes(), ", ".join(self.labels))
        return "<b>Recogniser</b><br>" + "<br>".join(map(html.escape, lines))

    def _origin(self) -> str:
        card = self.card
        source, target = card["source"]["name"], card["target"]["name"]
        return f"{card['method']} with {card['encoder']}, {source} -> {target}"

    def _sizes(self) -> str:
        seeds = len(self.card.get("seeds", ())) or self.programs.members
        word = "seed" if seeds == 1 else "seeds"
        return f"{len(self.labels)} emotions, {seeds} {word}, {self.sample_rate_hz} Hz"

    def __call__(
        self, x: Clip | Sequence[Clip], rate: Rate = None, **names: Unpack[RateNames]
    ) -> dict[str, float] | list[dict[str, float] | None] | None:
        """The probability of each label.

        Args:
          x: a clip, a list of clips, or a folder: all of its audio files, sorted. Samples are
            [samples] or [samples, channels], floating point in -1 to 1 or signed integers.
          rate: of arrays, Hz; `sr` and `sampling_rate` mean the same.

        Returns:
          A dict for a single clip, and a list of dicts for a list or a folder. Instead of its
          dict, a clip without speech has None.

        Raises:
          InputError: a clip cannot be used; the message names it.
        """
        single = is_single(x)
        rows = self.probabilities([x] if single else x, rate, **names)  # pyright: ignore
        answers = [
            None if np.isnan(row).any() else dict(zip(self.labels, map(float, row), strict=True))
            for row in rows
        ]
        return answers[0] if single else answers

    def label(
        self, clip: Clip, rate: Rate = None, at_least: float = 0.0, **names: Unpack[RateNames]
    ) -> str | None:
        """The most probable emotion of one clip.

        None if it is less probable than `at_least`, or if the clip holds no speech.
        """
        row = self.probabilities([clip], rate, **names)[0]
        return self.labels[int(row.argmax())] if row.max() >= at_least else None  # NaN >= 0: False

    def predict(self, clips: Clips, rate: Rate = None, **names: Unpack[RateNames]) -> np.ndarray:
        """The most probable emotion of each clip, as an array [clips] of names.

        The name is empty where a clip holds no speech.
        """
        rows = self.probabilities(clips, rate, **names)
        return np.where(np.isnan(rows).any(1), "", self.classes_[rows.argmax(1)])

    def predict_proba(
        self, clips: Clips, rate: Rate = None, **names: Unpack[RateNames]
    ) -> np.ndarray:
        """`probabilities` under scikit-learn's name: float32 [clips, classes]."""
        return self.probabilities(clips, rate, **names)

    def score(
        self,
        clips: Clips,
        labels: Iterable[str | None],
        rate: Rate = None,
        **names: Unpack[RateNames],
    ) -> float:
        """The unweighted average recall (UAR), 0 to 1: the mean recall over the labels that occur.

        Args:
          clips: as for `probabilities`.
          labels: an emotion for each clip; clips whose label is None or NaN are ignored. A clip
            without speech counts as an error.
          rate: of arrays, Hz.

        Raises:
          InputError: a clip cannot be used, a label is unknown, or there are none or too few.
        """
        clips, labels = list_clips(clips), list(labels)
        if len(labels) != len(clips):
            raise InputError(f"{len(labels)} labels for {len(clips)} clips; give one for each clip")
        # NaN, a missing cell of a pandas column, is not equal to itself.
        indices = [i for i, label in enumerate(labels) if label is not None and label == label]
        truth = [str(labels[i]) for i in indices]
        unknown = [label for label in truth if label not in self.labels]
        if unknown or not truth:
            problem = f"label {unknown[0]!r}" if unknown else "no clip has a label"
            raise InputError(f"{problem}; expected {', '.join(self.labels)}, or None for no label")
        correct = self.predict([clips[i] for i in indices], rate, **names) == np.array(truth)
        recalls = [correct[np.array(truth) == label].mean() for label in sorted(set(truth))]
        return float(np.mean(recalls))

    def probabilities(
        self, clips: Clips, rate: Rate = None, **names: Unpack[RateNames]
    ) -> np.ndarray:
        """Probabilities float32 [clips, classes], the mean over members.

        The row of a clip without speech is NaN.

        Args:
          clips: a list or a folder of clips, a single clip, or an array [clips, samples].
          rate: of arrays, Hz.

        Raises:
          InputError: a clip cannot be used; the message names it.
        """
        rows = np.zeros((len(clips := list_clips(clips)), len(self.labels)), np.float32)
        for i, row in self.each(clips, rate, **names):
            rows[i] = _usable(row, clips, i)
        return rows

    def each(
        self, clips: Iterable[Clip], rate: Rate = None, **names: Unpack[RateNames]
    ) -> Iterator[tuple[int, np.ndarray | audio.Rejected]]:
        """Probabilities [classes] of one clip after the other, or why a clip cannot be used.

        Args:
          clips: any number of clips; up to a batch per padded length is in memory at a time.
          rate: of arrays, Hz.

        Yields:
          The position of a clip in `clips`, not always in order, and its row, which is NaN if the
          clip holds no speech; or a `Rejected` with the reason.
        """
        for i, answer in self.answers(clips, rate, **names):
            yield i, answer if isinstance(answer, audio.Rejected) else answer.probabilities

    def answers(
        self, clips: Iterable[Clip], rate: Rate = None, **names: Unpack[RateNames]
    ) -> Iterator[tuple[int, Answer | audio.Rejected]]:
        """As `each`, with the reason to doubt each answer."""
        prepared = self.prepare(clips, rate, **names)
        keep_features = self.familiarity is not None
        for i, outputs in all_outputs(self.programs, self.adaptation, prepared, keep_features):
            if not isinstance(outputs, audio.Rejected):
                yield i, self._answer(outputs)
            else:
                yield i, self._answer(None) if outputs.no_speech else outputs

    def representations(
        self, clips: Clips, rate: Rate = None, **names: Unpack[RateNames]
    ) -> np.ndarray:
        """The encoder's output for each clip: float32 [clips, members, d]; NaN without speech."""
        clips = list_clips(clips)
        shape = len(clips), self.programs.members, self.programs.width
        rows = np.zeros(shape, np.float32)
        prepared = self.prepare(clips, rate, **names)
        for i, outputs in all_outputs(self.programs, self.adaptation, prepared):
            is_usable = not (isinstance(outputs, audio.Rejected) and outputs.no_speech)
            rows[i] = _usable(outputs, clips, i).representation if is_usable else np.nan
        return rows

    def prepare(
        self,
        clips: Iterable[Clip],
        rate: Rate = None,
        speech_only: bool = True,
        **names: Unpack[RateNames],
    ) -> Iterator[Prepared | audio.Rejected]:
        """Decodes each clip once, for several uses: a `Prepared` is a clip for every method.

        Args:
          clips: any number of clips.
          rate: of arrays, Hz.
          speech_only: False: use all of each clip, because speech has been found in it already.

        Yields:
          The prepared clip, or a `Rejected` with the reason why it cannot be used.
        """
        rate = one_rate(rate, names)
        settings = self.audio_settings
        settings = settings._replace(speech_only=speech_only and settings.speech_only)
        vectors = self.config.features.recipe == "vectors"
        for i, clip in enumerate(clips):
            try:
                if vectors:
                    yield vector_clip(clip, self.config.features.vector_size)
                    continue
                yield prepare_clip(clip, rate, clip_name(clip, i), settings)
            except audio.AudioError as error:
                yield audio.rejected(error)

    def timeline(
        self,
        x: Clip,
        window_s: float = 3.0,
        hop_s: float = 1.0,
        rate: Rate = None,
        **names: Unpack[RateNames],
    ) -> Timeline:
        """Emotions over time: each window is recognised as a clip of its own.

        Args:
          x: a clip; a file may last hours, because only a part of it is in memory at a time.
          window_s: length of a window, s, at most the config's `audio.max_duration_s`.
          hop_s: from the beginning of one window to the beginning of the next, s.
          rate: of an array, Hz.

        Returns:
          The Timeline; a window without speech has the probability NaN.

        Raises:
          InputError: the audio, or one of the lengths, cannot be used.
        """
        windows = list(self.windows(x, window_s, hop_s, rate, **names))
        probabilities = np.array([row for _, _, row in windows], np.float32)
        return Timeline(
            np.array([start_s for start_s, _, _ in windows]),
            np.array([end_s for _, end_s, _ in windows]),
            probabilities.reshape(
                -1, len(self.labels)
            ),  # [windows, classes], if there are none too
        )

    def windows(
        self,
        x: Clip,
        window_s: float = 3.0,
        hop_s: float = 1.0,
        rate: Rate = None,
        **names: Unpack[RateNames],
    ) -> Iterator[tuple[float, float, np.ndarray]]:
        """The windows of a `timeline` one by one: start and end in s, probabilities [classes]."""
        for start_s, end_s, answer in self.window_answers(x, window_s, hop_s, rate, **names):
            yield start_s, end_s, answer.probabilities

    def window_answers(
        self,
        x: Clip,
        window_s: float = 3.0,
        hop_s: float = 1.0,
        rate: Rate = None,
        **names: Unpack[RateNames],
    ) -> Iterator[tuple[float, float, Answer]]:
        """As `windows`, with the reason to doubt each answer."""
        rate = one_rate(rate, names)
        windows = timeline.read_windows(x, window_s, hop_s, rate, self.audio_settings)
        keep_features = self.familiarity is not None
        for window, outputs in timeline.window_outputs(
            self.programs, self.adaptation, windows, window_s, keep_features
        ):
            yield window.start_s, window.end_s, self._answer(outputs)

    def only(self, *labels: str) -> "Recogniser":
        """A recogniser that chooses among these emotions only; other logits are left out.

        Raises:
          InputError: fewer than two labels, one twice, or one that it was not trained on.
        """
        known = ", ".join(self.labels)
        unknown = [label for label in labels if label not in self.labels]
        if unknown:
            raise InputError(
                f"{unknown[0]}: not an emotion of this recogniser; choose among {known}"
            )
        if len(set(labels)) != len(labels) or len(labels) < 2:
            names = ", ".join(labels) or "none"
            raise InputError(f"classes {names}: expected two or more different ones of {known}")
        columns = self.columns[[self.labels.index(label) for label in labels]]
        return dataclasses.replace(self, labels=tuple(labels), columns=columns)

    def at_temperature(self, temperature: float) -> "Recogniser":
        """A recogniser whose logits are divided by `temperature`; 1: not calibrated.

        Raises:
          InputError: the temperature is out of range.
        """
        problem = parameter("temperature", Temperature).problem(float(temperature))
        if problem is not None:
            raise InputError(f"temperature is {temperature}; expected {problem}")
        return dataclasses.replace(self, temperature=float(temperature))

    def adapt(
        self,
        clips: Clips,
        rate: Rate = None,
        relevance: float = RELEVANCE,
        normalise_only: bool = False,
        **names: Unpack[RateNames],
    ) -> "Recogniser":
        """A recogniser for one speaker, or for one recording condition.

        It normalises features by the speaker's clips, as the run did for each speaker of its
        target. Then co-training learns from the clips, if the run's features are statistics:
        `jdann.methods.one_speaker`. No labels are needed, and the clips may be those to be
        recognised. The more clips and the more emotions they hold, the better. With few clips,
        what is known of the target counts more.

        Args:
          clips: of one speaker; those without speech are left out.
          rate: of arrays, Hz.
          relevance: for the normalisation: a number of clips, 0 or more. With 0 only these clips
            count.
          normalise_only: no co-training; the network answers.

        Raises:
          InputError: a clip cannot be used, none holds speech, or the run did not normalise by
            speaker.
        """
        clips = list_clips(clips)
        prepared = enumerate(self.prepare(clips, rate, **names))
        features = [
            self.features(_usable(clip, clips, i))
            for i, clip in prepared
            if not (isinstance(clip, audio.Rejected) and clip.no_speech)
        ]
        return self.adapt_to_features([features], relevance, normalise_only)[0]

    @property
    def can_adapt(self) -> bool:
        """Whether the run normalised in a way that can be adapted to a speaker."""
        return self.config.features.normalise in ("speaker", "voice", "corpus")

    @property
    def co_trains(self) -> bool:
        """Whether `adapt` learns from the clips, so that several speakers help each other."""
        return self.reference is not None

    def features(self, clip: Prepared) -> ClipFeatures:
        """The features of a clip, for `adapt_to_features` and `classify`."""
        return clip_features(self.programs, clip.samples)

    def adapt_to_features(
        self,
        speakers: Sequence[Sequence[ClipFeatures]],
        relevance: float = RELEVANCE,
        normalise_only: bool = False,
    ) -> "list[Recogniser]":
        """A recogniser for each of several speakers, of whose clips `features` are given.

        Each speaker is normalised alone. Co-training learns from the clips of all of them.

        Args:
          speakers: the clips of each speaker, one or more.
          relevance: as for `adapt`.
          normalise_only: as for `adapt`.

        Raises:
          InputError: a speaker has no clips, or the run did not normalise by speaker.
        """
        if not self.can_adapt:
            raise InputError(
                f"this recogniser normalises by {self.config.features.normalise}, so it cannot "
                "adapt to a speaker; train with features.normalise=speaker"
            )
        if not speakers or not all(speakers):
            raise InputError("no clips with speech to adapt to; give one or more of one speaker")
        reference = None if normalise_only else self.reference
        if reference is not None:  # emotions that `only` has left out get no clips
            chosen = np.isin(np.arange(len(reference.present)), self.columns)
            reference = reference._replace(present=reference.present & chosen)
        adapted = adapt_to_speakers(self.programs, self.adaptation, reference, speakers, relevance)
        return [dataclasses.replace(self, adaptation=adaptation) for adaptation in adapted]

    def classify(self, features: ClipFeatures) -> Answer:
        """The answer for a clip whose `features` have been computed."""
        logits, representation = self.programs.classify(tuple(self.adaptation), *features)
        return self._answer(ClipOutputs(logits[:, 0], representation[:, 0], features.padded[0]))

    def _answer(self, outputs: ClipOutputs | None) -> Answer:
        """The answer to what the model gives a clip; None: the clip holds no speech.

        Raises:
          InputError: the model gives numbers that are not finite.
        """
        if outputs is None:
            return Answer(np.full(len(self.labels), np.nan, np.float32), "")
        chosen = outputs.logits[:, self.columns]
        if not np.isfinite(chosen).all():  # NaN would be read as a clip without speech
            raise InputError(
                "the model gives numbers that are not finite; expected probabilities, so copy "
                "both files of the model again"
            )
        probabilities = mean_probabilities(chosen, self.temperature).astype(np.float32)
        unfamiliar = False
        if self.familiarity is not None and outputs.features is not None:
            unfamiliar = bool(is_unfamiliar(self.familiarity, outputs.features[None])[0])
        return Answer(probabilities, find_doubt(self.labels, probabilities, unfamiliar))


def _usable(result: Any, clips: Sequence[Clip], i: int) -> Any:
    """The result of a clip; InputError if the clip was rejected."""
    if isinstance(result, audio.Rejected):
        raise InputError(f"{clip_name(clips[i], i)}: {result.reason}; leave it out, or mend it")
    return result
