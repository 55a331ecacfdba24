"""A recogniser as one portable file: audio in, probabilities out, in StableHLO; used without Flax and without this package.

The file is a zip archive of `card.json` (labels, sample rate, versions, config) and `program.bin` (`jax.export`, for any
batch and any length). Neither can execute code of its own. Without jdann:

    import json, zipfile, jax
    with zipfile.ZipFile("en2zh.jdann") as file:
        card, program = json.loads(file.read("card.json")), jax.export.deserialize(bytearray(file.read("program.bin")))
    probabilities = program.call(samples, length)  # float32 [batch, samples] mono at card["sample_rate_hz"], int32 [batch]

JAX promises to read such programs for six months; the durable form is the folder of `jdann.inference.model`.

What depends on the audio itself, trimming and levelling, is computed inside: the trimmed clip is gathered to the
beginning of an array of the same length, so that no shape depends on the data. Mixing to mono and resampling are left to
the caller, or to `Exported`.
"""

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

SCHEMA = 1
PLATFORMS = ("cpu", "cuda", "tpu")
_CARD, _PROGRAM = "card.json", "program.bin"


def write(recogniser: Any, path: Path, *, overwrite: bool = False) -> str:
    """Writes a recogniser as it is, its subset of classes, adaptation and temperature included.

    Args:
      recogniser: a `jdann.inference.recogniser.Recogniser`.
      path: of the file.
      overwrite: replace it where it exists.

    Returns:
      A sentence for the user.

    Raises:
      InputError: the file exists, or its folder does not.
    """
    if path.exists() and (path.is_dir() or not overwrite):
        raise InputError(
            f"{path}: exists; give another name" + ("" if path.is_dir() else ", or --overwrite")
        )
    if not path.parent.is_dir():
        raise InputError(f"{path.parent}: no such folder; make it first")
    batch, samples = jax_export.symbolic_shape(
        "batch, samples", constraints=[f"samples >= {2 * audio.TRIM_FRAME}"]
    )
    shapes = (
        jax.ShapeDtypeStruct((batch, samples), jnp.float32),
        jax.ShapeDtypeStruct((batch,), jnp.int32),
    )
    program = jax_export.export(jax.jit(probabilities(recogniser)), platforms=PLATFORMS)(*shapes)
    card = recogniser.card | {
        "schema": SCHEMA,
        "labels": list(recogniser.labels),
        "sample_rate_hz": recogniser.sample_rate_hz,
        "least_samples": 2 * audio.TRIM_FRAME,
        "temperature": recogniser.temperature,
        "platforms": list(PLATFORMS),
        "calling_convention": program.calling_convention_version,
    }
    partial = path.with_name(path.name + ".partial")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(_CARD, json.dumps(card, indent=1, ensure_ascii=False))
        file.writestr(_PROGRAM, bytes(program.serialize()))
    partial.replace(path)
    megabytes = path.stat().st_size / 1e6
    return f"{path}: {megabytes:.1f} MB, {', '.join(recogniser.labels)}; mono at {recogniser.sample_rate_hz} Hz in, probabilities out"


def probabilities(recogniser: Any) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """(samples float32 [batch, samples], length int32 [batch] in samples) -> probabilities float32 [batch, classes].

    Pure; a clip that is silent or too short gets NaN. Samples are mono, at the recogniser's rate, at least 4096 of them:
    pad what is shorter.
    """
    config, columns = recogniser.config, jnp.asarray(recogniser.columns)
    outputs = recogniser.programs.inference.outputs
    variables = jax.tree.map(jnp.asarray, recogniser.programs.variables)
    normaliser, temperature = tuple(map(jnp.asarray, recogniser.normaliser)), recogniser.temperature

    def call(samples: jax.Array, length: jax.Array) -> jax.Array:
        prepared, length, usable = prepare(samples, length, config.audio)
        logits = outputs(variables, normaliser, prepared, length).logits
        chances = jax.nn.softmax(logits[:, :, columns] / temperature).mean(0)
        return jnp.where(usable[:, None], chances, jnp.nan)

    return call


def prepare(
    samples: jax.Array, length: jax.Array, audio_config: Any
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`jdann.audio.prepare` of mono samples at the config's own rate, in JAX, for any batch and length.

    Args:
      samples: float32 [batch, samples]; what stands beyond a clip's length does not matter.
      length: int32 [batch], samples.
      audio_config: `config.audio`.

    Returns:
      The clips [batch, at most the config's longest], at the beginning and zero beyond; their lengths [batch]; and which are
      usable [batch], neither silent nor shorter than 0.1 s.
    """
    rate_hz = audio_config.sample_rate_hz
    longest = int(audio_config.max_duration_s * rate_hz)
    position = jnp.arange(samples.shape[1])

    def one(signal: jax.Array, end: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        start = jnp.minimum(int(audio_config.offset_s * rate_hz), end)
        if not audio_config.trim_db:
            end = jnp.minimum(end, start + longest)
        inside = (position >= start) & (position < end)
        highest, lowest = (
            reduce(jnp.where(inside, signal, neutral))
            for reduce, neutral in ((jnp.max, -jnp.inf), (jnp.min, jnp.inf))
        )
        heard = highest - lowest >= 2 * audio.SILENCE
        if audio_config.trim_db:
            held = _gathered(signal, start, end - start)
            first, last = _loud(held, end - start, audio_config.trim_db)
            start, end = start + first, jnp.minimum(start + last, end)
            end = jnp.minimum(end, start + longest)
        size = end - start
        clip = _gathered(signal, start, size)[: core.min_dim(signal.shape[0], longest)]
        if audio_config.level_db:
            with jax.enable_x64(True):
                power = jnp.square(clip.astype(jnp.float64)).sum() / jnp.maximum(size, 1)
                gain = (
                    10 ** (audio_config.level_db / 20) / jnp.sqrt(jnp.where(power > 0, power, 1.0))
                ).astype(jnp.float32)
            clip *= gain
        usable = heard & (size >= audio.SHORTEST_S * rate_hz)
        return jnp.where(usable, clip, 0.0), jnp.maximum(size, 1).astype(jnp.int32), usable

    return jax.vmap(one)(samples, length)


def _gathered(signal: jax.Array, start: jax.Array, size: jax.Array) -> jax.Array:
    """[samples]: `size` of them from `start`, at the beginning; zero beyond."""
    position = jnp.arange(signal.shape[0])
    return jnp.where(
        position < size, signal[jnp.minimum(start + position, signal.shape[0] - 1)], 0.0
    )


def _loud(signal: jax.Array, size: jax.Array, trim_db: float) -> tuple[jax.Array, jax.Array]:
    """The first sample, and the one after the last, of the frames no more than `trim_db` below the loudest."""
    frame, hop = audio.TRIM_FRAME, audio.TRIM_HOP
    valid = jnp.arange(signal.shape[0] // hop + 1) < 1 + size // hop  # [frames]
    with jax.enable_x64(True):  # the sums decide which frames are left, as NumPy's do
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
    """An exported recogniser in use; needs JAX, not Flax.

    Args:
      path: of the file.

    Raises:
      InputError: it is missing, damaged, or no export.
    """

    def __init__(self, path: str | Path):
        try:
            with zipfile.ZipFile(path) as file:
                self.card: dict[str, Any] = json.loads(file.read(_CARD))
                self._program = jax_export.deserialize(bytearray(file.read(_PROGRAM)))
        except FileNotFoundError:
            raise InputError(
                f"{path}: no such file; write one by jdann export MODEL {path}"
            ) from None
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise InputError(
                f"{path}: no export of jdann, or damaged ({error}); write it again by jdann export"
            ) from None
        self.labels = tuple(self.card["labels"])

    def __call__(self, samples: np.ndarray, length: np.ndarray) -> np.ndarray:
        """Probabilities float32 [batch, classes] of samples float32 [batch, samples] and their lengths int32 [batch]."""
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
        padded = np.pad(
            mono, (0, -len(mono) % rate_hz)
        )  # whole seconds, so that few shapes are compiled
        row = self(padded[None], np.array([len(mono)]))[0]
        if np.isnan(row).any():
            raise InputError(f"{path}: silent, or too short; leave it out, or mend it")
        return dict(zip(self.labels, map(float, row), strict=True))
