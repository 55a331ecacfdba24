"""What a clip may be, and how each kind becomes the samples that a recogniser hears.

A clip is a file (a path, its bytes, or a binary file object), a part of a file, or samples.
Samples are an array together with its rate, the `(rate, samples)` of a Gradio microphone, or the
dict of a Hugging Face audio column.
"""

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypedDict, TypeGuard

import numpy as np

from jdann import audio
from jdann.corpora.folder import list_audio
from jdann.errors import InputError
from jdann.features import speech_part

log = logging.getLogger("jdann")
_NUMBERS = (int, float, np.integer, np.floating)
_KINDS = (
    "a path, bytes, a binary file object, (rate, samples), "
    'a dict of "array" and "sampling_rate", or an array with rate='
)


class Part(NamedTuple):
    """A part of a file as a clip."""

    path: str | Path
    start_s: float = 0.0
    end_s: float | None = None  # None: to the file's end


class Prepared(NamedTuple):
    """A clip that is decoded, resampled, trimmed and levelled: `Recogniser.prepare` makes it."""

    samples: np.ndarray  # [samples] float32, mono, at the recogniser's rate


Clip = (
    str
    | Path
    | bytes
    | BinaryIO
    | np.ndarray
    | tuple[int, np.ndarray]
    | Mapping[str, Any]
    | Part
    | Prepared
)
Clips = Sequence[Clip] | str | Path  # a list of clips, a folder, or a single clip
Rate = int | None  # Hz


class RateNames(TypedDict, total=False):
    """Other names of the argument `rate`, as librosa and as Hugging Face spell it; in Hz."""

    sr: int | None
    sampling_rate: Rate


def one_rate(rate: Rate, names: RateNames) -> Rate:
    """The sample rate in Hz, whichever of its names it came under; None where it was not given.

    Raises:
      InputError: it is not a positive number, or two names give different rates.
      TypeError: a keyword is none of these names.
    """
    unknown = [name for name in names if name not in RateNames.__annotations__]
    if unknown:
        raise TypeError(f"unexpected keyword argument {unknown[0]!r}")
    rates: list[Any] = [value for value in (rate, *names.values()) if value is not None]
    for value in rates:
        if isinstance(value, bool) or not isinstance(value, _NUMBERS) or not value > 0:
            raise InputError(f"the sample rate is {value!r}; expected a number in Hz, e.g. 16000")
    if len(set(rates)) > 1:
        raise InputError(f"different sample rates for one clip, {rates}; give one of them")
    return rates[0] if rates else None


def is_single(clips: Any) -> bool:
    """Whether the value is one clip, not a list, a folder or a column of clips."""
    if isinstance(clips, (str, os.PathLike)):
        return not _is_folder(clips)
    if _is_array(clips):
        return not _holds_names(clips)
    if isinstance(clips, (Part, Prepared, bytes, bytearray, Mapping)) or hasattr(clips, "read"):
        return True
    return _is_rate_and_samples(clips) or not isinstance(clips, Iterable)


def list_clips(clips: Any) -> Sequence[Clip]:
    """The clips of a list, a folder or a column; a single clip becomes a list of one.

    An array with one axis is a single clip. With two axes, [clips, samples], each row is a clip.

    Raises:
      InputError: a folder without audio.
    """
    if _is_folder(clips):
        return audio_files(clips)
    if _is_array(clips):
        array = np.asarray(clips)
        return list(array) if array.ndim == 2 or _holds_names(array) else [array]
    return [clips] if is_single(clips) else list(clips)


def clip_name(clip: Any, i: int) -> str:
    """What messages call a clip: its path, or its place in the list."""
    clip = clip.path if isinstance(clip, Part) else clip
    return os.fspath(clip) if isinstance(clip, (str, os.PathLike)) else f"clip {i}"


def audio_files(folder: str | os.PathLike[str]) -> list[Path]:
    """The audio files below a folder, sorted.

    Raises:
      InputError: there are none.
    """
    return [Path(folder) / name for name in list_audio(Path(folder))[0]]


def read_clip(clip: Any, rate: Rate) -> tuple[np.ndarray, int]:
    """Decodes a clip.

    Args:
      clip: any kind that this module's docstring lists.
      rate: of an array, Hz; every other kind brings its own rate.

    Returns:
      Samples [samples] or [samples, channels], floating point in -1 to 1 or signed integers; and
      their rate in Hz.

    Raises:
      audio.AudioError: it cannot be decoded.
      InputError: it is not a clip, or an array came without a rate.
    """
    if isinstance(clip, (str, os.PathLike)):
        return audio.read(Path(clip))
    if isinstance(clip, Part):
        return audio.read(clip.path, clip.start_s, clip.end_s)
    if isinstance(clip, (bytes, bytearray)):
        return audio.decode(bytes(clip))
    if hasattr(clip, "read"):
        return audio.decode(_file_content(clip))
    if _is_rate_and_samples(clip):
        rate, clip = clip
    elif isinstance(clip, Mapping):
        clip, rate = _from_mapping(clip)
    return samples_of(clip, rate)


def prepare_clip(clip: Any, rate: Rate, name: str, settings: audio.AudioSettings) -> Prepared:
    """Decodes a clip and brings it into the form that features expect.

    Args:
      clip: any kind of clip.
      rate: of an array, Hz.
      name: of the clip, for a warning that only its beginning is used.
      settings: how audio is prepared.

    Raises:
      audio.NoSpeech: it holds no speech.
      audio.AudioError: it cannot be decoded, or is too short.
      InputError: it is not a clip, or an array came without a rate.
    """
    if isinstance(clip, Prepared):
        return clip
    samples, rate_hz = read_clip(clip, rate)
    prepared = speech_part.prepare(samples, rate_hz, settings)
    if prepared.cut:
        log.warning(
            "%s: longer than %g s, and the rest is not used; a timeline uses all of it",
            name,
            settings.max_duration_s,
        )
    return Prepared(prepared.samples)


def vector_clip(clip: Any, values: int) -> Prepared:
    """A user's own vector as a clip, for a recogniser that was trained on vectors.

    Raises:
      audio.AudioError: it is not `values` finite numbers.
    """
    if isinstance(clip, Prepared):
        return clip
    vector = np.asarray(clip, np.float32)
    if vector.shape != (values,) or not np.isfinite(vector).all():
        raise audio.AudioError(
            f"is an array of shape {vector.shape}; expected {values} finite numbers"
        )
    return Prepared(vector)


def samples_of(samples: Any, rate: Rate) -> tuple[np.ndarray, int]:
    """An array of samples as NumPy's, and its rate.

    Raises:
      audio.AudioError: its shape or type is not that of audio.
      InputError: it is not an array, or has no rate.
    """
    if not _is_array(samples):
        raise _unknown_kind(samples)
    rate = one_rate(rate, {})
    if rate is None:
        raise InputError("samples came without their rate; give rate=, e.g. r(samples, rate=16000)")
    samples = np.asarray(samples)
    if samples.ndim not in (1, 2) or not samples.size or samples.shape[-1] > len(samples):
        raise audio.AudioError(
            f"samples of shape {samples.shape}; expected [samples] or [samples, channels]"
        )
    if samples.dtype.kind not in "if":
        raise audio.AudioError(
            f"samples of type {samples.dtype}; expected floating point or signed integers"
        )
    return samples, rate


def _is_folder(value: Any) -> bool:
    return isinstance(value, (str, os.PathLike)) and Path(value).is_dir()


def _is_array(value: Any) -> bool:
    """NumPy arrays, and what converts itself to one: JAX arrays, PyTorch tensors."""
    return isinstance(value, np.ndarray) or (
        hasattr(value, "__array__")
        and hasattr(value, "shape")
        and not isinstance(value, np.generic)
    )


def _holds_names(array: Any) -> bool:
    """Whether an array, or a column of a pandas table, holds paths or other objects."""
    return np.asarray(array).dtype.kind in "OUS"


def _is_rate_and_samples(value: Any) -> TypeGuard[tuple[int, Any]]:
    """Whether it is Gradio's (rate, samples)."""
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and isinstance(value[0], _NUMBERS)
        and _is_array(value[1])
    )


def _from_mapping(clip: Mapping[str, Any]) -> tuple[Any, int]:
    """Samples and rate of a Hugging Face dict: "array" in datasets, "raw" in pipelines."""
    samples = next((clip[name] for name in ("array", "raw") if name in clip), None)
    if samples is None or clip.get("sampling_rate") is None:
        names = ", ".join(map(str, clip)) or "nothing"
        raise InputError(f'a dict of {names}; expected "array" and "sampling_rate"')
    return np.asarray(samples), clip["sampling_rate"]


def _file_content(file: Any) -> bytes:
    """The rest of a binary file, which is then set back, so that it can be read again."""
    position = file.tell() if getattr(file, "seekable", bool)() else None
    content = file.read()
    if position is not None:
        file.seek(position)
    if not isinstance(content, bytes):
        raise InputError("a file opened as text; open it as binary, with mode 'rb'")
    return content


def _unknown_kind(clip: Any) -> InputError:
    return InputError(f"a clip of type {type(clip).__name__}; expected {_KINDS}")
