"""A recogniser as one portable file: audio in, probabilities out, without Flax and this package.

The file is a zip archive of `card.json` (labels, sample rate, versions, config) and `program.bin`
(StableHLO by `jax.export`, for any batch and any length). Neither can execute code of its own.
Without jdann:

    import json, zipfile, jax.export
    with zipfile.ZipFile("en2zh.jdann") as file:
        card = json.loads(file.read("card.json"))
        program = jax.export.deserialize(bytearray(file.read("program.bin")))
    # samples: float32 [batch, samples], mono at card["sample_rate_hz"]; length: int32 [batch]
    probabilities = program.call(samples, length)

JAX promises to read such programs for six months. The folder of `jdann.inference.model` lasts.

The program also trims and levels the audio. A trimmed clip is moved to the beginning of an array of
the same length, so that no shape depends on the data. Mixing to mono and resampling are left to the
caller, or to `Exported`. The program does not search for speech: it uses all of a clip and answers
whatever sound it is given. Use `jdann.features.speech.holds_speech` before it, or a `Recogniser`.
"""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import core
from jax import export as jax_export

from jdann import audio
from jdann.errors import InputError
from jdann.files import write_bytes
from jdann.inference.recogniser import Recogniser

SCHEMA = 1
PLATFORMS = ("cpu", "cuda", "tpu")
LEAST_SAMPLES = 2 * audio.TRIM_FRAME
_CARD, _PROGRAM = "card.json", "program.bin"


def write(recogniser: Recogniser, path: Path, *, overwrite: bool = False) -> str:
    """Writes a recogniser with its subset of classes, adaptation and temperature.

    Args:
      recogniser: what to write.
      path: of the file.
      overwrite: replace the file if it exists.

    Returns:
      A sentence for the user.

    Raises:
      InputError: the file exists, or its folder does not.
    """
    if path.exists() and (path.is_dir() or not overwrite):
        hint = "" if path.is_dir() else ", or --overwrite"
        raise InputError(f"{path}: exists; give another name{hint}")
    if not path.parent.is_dir():
        raise InputError(f"{path.parent}: no such folder; make it first")
    program = _traced_program(recogniser)
    card = recogniser.card | {
        "schema": SCHEMA,
        "labels": list(recogniser.labels),
        "sample_rate_hz": recogniser.sample_rate_hz,
        "least_samples": LEAST_SAMPLES,
        "temperature": recogniser.temperature,
        "platforms": list(PLATFORMS),
        "calling_convention": program.calling_convention_version,
    }
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(_CARD, json.dumps(card, indent=1, ensure_ascii=False))
        file.writestr(_PROGRAM, bytes(program.serialize()))
    write_bytes(path, archive.getvalue())
    megabytes = path.stat().st_size / 1e6
    return (
        f"{path}: {megabytes:.1f} MB, {', '.join(recogniser.labels)}; "
        f"mono at {recogniser.sample_rate_hz} Hz in, probabilities out"
    )


def _traced_program(recogniser: Recogniser) -> jax_export.Exported:
    """`probabilities` for any batch, any length and all PLATFORMS."""
    batch, samples = jax_export.symbolic_shape(
        "batch, samples", constraints=[f"samples >= {LEAST_SAMPLES}"]
    )
    shapes = (
        jax.ShapeDtypeStruct((batch, samples), jnp.float32),
        jax.ShapeDtypeStruct((batch,), jnp.int32),
    )
    return jax_export.export(jax.jit(probabilities(recogniser)), platforms=PLATFORMS)(*shapes)


def probabilities(recogniser: Recogniser) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """A recogniser as one pure function.

    Args:
      recogniser: whose classes, adaptation and temperature are used.

    Returns:
      A function of samples float32 [batch, samples] and lengths int32 [batch] that returns
      probabilities float32 [batch, classes]. Samples are mono at the recogniser's rate, and at
      least 4096 of them: pad what is shorter. A silent or too short clip gets NaN.
    """
    settings, columns = recogniser.audio_settings, jnp.asarray(recogniser.columns)
    outputs = recogniser.programs.inference.outputs
    variables = jax.tree.map(jnp.asarray, recogniser.programs.variables)
    adaptation = tuple(map(jnp.asarray, recogniser.adaptation))
    temperature = recogniser.temperature

    def call(samples: jax.Array, length: jax.Array) -> jax.Array:
        prepared, length, usable = prepare(samples, length, settings)
        logits = outputs(variables, adaptation, prepared, length).logits
        mean = jax.nn.softmax(logits[:, :, columns] / temperature).mean(0)  # [batch, classes]
        return jnp.where(usable[:, None], mean, jnp.nan)

    return call


def prepare(
    samples: jax.Array, length: jax.Array, settings: audio.AudioSettings
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`jdann.audio.prepare` in JAX, for mono samples at the config's rate.

    Args:
      samples: float32 [batch, samples]; values beyond a clip's length do not matter.
      length: int32 [batch], samples.
      settings: how audio is prepared.

    Returns:
      The clips [batch, samples, at most `max_duration_s`], which begin at 0 and are zero beyond
      their end; their lengths [batch]; and whether each is usable [batch], that is neither silent
      nor shorter than 0.1 s.
    """
    rate_hz = settings.sample_rate_hz
    longest = int(settings.max_duration_s * rate_hz)
    position = jnp.arange(samples.shape[1])

    def prepare_clip(signal: jax.Array, end: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        start = jnp.minimum(int(settings.offset_s * rate_hz), end)
        if not settings.trim_db:
            end = jnp.minimum(end, start + longest)
        inside = (position >= start) & (position < end)
        highest = jnp.max(jnp.where(inside, signal, -jnp.inf))
        lowest = jnp.min(jnp.where(inside, signal, jnp.inf))
        has_sound = highest - lowest >= 2 * audio.SILENCE
        if settings.trim_db:
            moved = _move_to_start(signal, start, end - start)
            first, last = _loud_part(moved, end - start, settings.trim_db)
            start, end = start + first, jnp.minimum(start + last, end)
            end = jnp.minimum(end, start + longest)
        size = end - start
        clip = _move_to_start(signal, start, size)[: core.min_dim(signal.shape[0], longest)]
        if settings.level_db:
            clip *= _gain(clip, size, settings.level_db)
        usable = has_sound & (size.astype(jnp.float32) >= audio.SHORTEST_S * rate_hz)
        return jnp.where(usable, clip, 0.0), jnp.maximum(size, 1).astype(jnp.int32), usable

    return jax.vmap(prepare_clip)(samples, length)


def _gain(clip: jax.Array, size: jax.Array, level_db: float) -> jax.Array:
    """The factor that brings a clip of `size` samples to an RMS of `level_db`."""
    with jax.enable_x64(True):
        count = jnp.maximum(size, 1).astype(jnp.float64)
        power = jnp.square(clip.astype(jnp.float64)).sum() / count
        rms = jnp.sqrt(jnp.where(power > 0, power, 1.0))
        return (10 ** (level_db / 20) / rms).astype(jnp.float32)


def _move_to_start(signal: jax.Array, start: jax.Array, size: jax.Array) -> jax.Array:
    """[samples]: `size` samples from `start` on, moved to the beginning; zero beyond them."""
    position = jnp.arange(signal.shape[0])
    source = jnp.minimum(start + position, signal.shape[0] - 1)
    return jnp.where(position < size, signal[source], 0.0)


def _loud_part(signal: jax.Array, size: jax.Array, trim_db: float) -> tuple[jax.Array, jax.Array]:
    """The first and the last sample (exclusive) of frames within `trim_db` of the loudest one."""
    frame, hop = audio.TRIM_FRAME, audio.TRIM_HOP
    valid = jnp.arange(signal.shape[0] // hop + 1) < 1 + size // hop  # [frames]
    with jax.enable_x64(True):  # NumPy sums in float64, and the sums decide which frames are kept
        padded = jnp.pad(jnp.square(signal.astype(jnp.float64)), frame // 2)  # centred frames
        power = jax.lax.reduce_window(
            padded, np.float64(0), jax.lax.add, (frame,), (hop,), "VALID"
        )  # [frames]
        loud = power > jnp.where(valid, power, 0.0).max() * 10 ** (-trim_db / 10)
    loud &= valid
    first = jnp.argmax(loud) * hop
    last = (loud.shape[0] - jnp.argmax(loud[::-1])) * hop
    return first.astype(jnp.int32), last.astype(jnp.int32)


class Exported:
    """An exported recogniser in use; it needs JAX, but not Flax.

    Args:
      path: of the file.

    Raises:
      InputError: the file is missing, damaged, or not an export.
    """

    def __init__(self, path: str | Path):
        try:
            with zipfile.ZipFile(path) as file:
                self.card: dict[str, Any] = json.loads(file.read(_CARD))
                self._program = jax_export.deserialize(bytearray(file.read(_PROGRAM)))
        except FileNotFoundError:
            raise InputError(
                f"{path}: no such file; write one with jdann export MODEL {path}"
            ) from None
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise InputError(
                f"{path}: no export, or damaged ({error}); write it again with jdann export"
            ) from None
        self.labels = tuple(self.card["labels"])

    def __call__(self, samples: np.ndarray, length: np.ndarray) -> np.ndarray:
        """Probabilities of a batch.

        Args:
          samples: float32 [batch, samples], mono at the card's rate.
          length: int32 [batch], samples.

        Returns:
          float32 [batch, classes]; NaN for a silent or too short clip.
        """
        short = self.card["least_samples"] - samples.shape[1]
        samples = np.pad(np.asarray(samples, np.float32), ((0, 0), (0, max(0, short))))
        return np.asarray(self._program.call(samples, np.asarray(length, np.int32)))

    def file(self, path: str | Path) -> dict[str, float]:
        """The probability of each label in an audio file of any rate and channels."""
        rate_hz = self.card["sample_rate_hz"]
        try:
            mono = audio.mono(*audio.read(path), rate_hz)
        except audio.AudioError as error:
            raise InputError(f"{path}: {error}; leave it out, or mend it") from error
        # Padded to whole seconds, so that few shapes are compiled.
        padded = np.pad(mono, (0, -len(mono) % rate_hz))
        row = self(padded[None], np.array([len(mono)]))[0]
        if np.isnan(row).any():
            raise InputError(f"{path}: silent, or too short; leave it out, or mend it")
        return dict(zip(self.labels, map(float, row), strict=True))
