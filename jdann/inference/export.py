"""A recogniser as one portable file: audio in, probabilities out, without Flax and this package.

The file is a zip archive of `card.json` (labels, sample rate, versions, config) and `program.bin`
(StableHLO by `jax.export`, for any batch and any length). Neither can execute code of its own. The
card holds a digest of both, which `Exported` checks. The same recogniser gives the same bytes.
Without jdann:

    import json, zipfile, jax.export
    with zipfile.ZipFile("en2zh.jdann") as file:
        card = json.loads(file.read("card.json"))
        program = jax.export.deserialize(bytearray(file.read("program.bin")))
    # samples: float32 [batch, samples], mono at card["sample_rate_hz"]; length: int32 [batch]
    probabilities = program.call(samples, length)

JAX promises to read such programs for six months. The folder of `jdann.inference.model` lasts.

The program also trims, cuts (to `max_duration_s` in the card) and levels the audio. A trimmed clip
is moved to the beginning of an array of the same length, so that no shape depends on the data.
Mixing to mono and resampling are left to the caller, or to `Exported`. The program does not search
for speech: it answers whatever sound it is given. Use `jdann.features.speech.holds_speech` before
it, or a `Recogniser`.
"""

import hashlib
import io
import json
import logging
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
from jdann.inference.card import Kind, check_content, parse_card, with_digest
from jdann.inference.recogniser import Recogniser
from jdann.parameters import Count

log = logging.getLogger("jdann")

# Schema 1 has no digest.
_KIND = Kind(
    schema=2,
    oldest=1,
    digest_from=2,
    remedy="copy the file again, or write it with jdann export",
    more_fields={"sample_rate_hz": Count, "least_samples": Count},
)
PLATFORMS = ("cpu", "cuda", "tpu")
LEAST_SAMPLES = 2 * audio.TRIM_FRAME
_CARD, _PROGRAM = "card.json", "program.bin"
_DATE = (1980, 1, 1, 0, 0, 0)  # of both members, so that the same recogniser gives the same bytes
_MOST_BYTES = 2**31  # of a member; a damaged or forged archive may claim any size


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
        "labels": list(recogniser.labels),
        "sample_rate_hz": recogniser.sample_rate_hz,
        "least_samples": LEAST_SAMPLES,
        "temperature": recogniser.temperature,
        "platforms": list(PLATFORMS),
        "calling_convention": program.calling_convention_version,
    }
    content = bytes(program.serialize())
    text = json.dumps(
        with_digest(card, _KIND, content), indent=1, ensure_ascii=False, allow_nan=False
    )
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name, data in ((_CARD, text.encode("utf-8", "backslashreplace")), (_PROGRAM, content)):
            member = zipfile.ZipInfo(name, _DATE)
            member.external_attr = 0o644 << 16  # otherwise nobody may read what is unpacked
            file.writestr(member, data, zipfile.ZIP_DEFLATED)
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
    with _without_locations():
        program = jax.jit(probabilities(recogniser))
        return jax_export.export(program, platforms=PLATFORMS)(*shapes)


@contextmanager
def _without_locations() -> Iterator[None]:
    """Keeps the lines of source files out of traced programs.

    They hold the names of folders on this machine, and they change with every edit of the source.
    """
    before = jax.config.jax_traceback_in_locations_limit  # pyright: ignore[reportAttributeAccessIssue]
    jax.config.update("jax_traceback_in_locations_limit", 0)
    try:
        yield
    finally:
        jax.config.update("jax_traceback_in_locations_limit", before)


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
    inference = recogniser.programs.inference
    variables = jax.tree.map(jnp.asarray, recogniser.programs.variables)
    adaptation = tuple(map(jnp.asarray, recogniser.adaptation))
    temperature = recogniser.temperature

    def call(samples: jax.Array, length: jax.Array) -> jax.Array:
        prepared, length, usable = prepare(samples, length, settings)
        outputs = inference.outputs(variables, adaptation, inference.weights, prepared, length)
        logits = outputs.logits[:, :, columns]
        mean = jax.nn.softmax(logits / temperature).mean(0)  # [batch, classes]
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
        if not settings.keeps_offset:
            signal = _without_offset(signal, inside)
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


def _duration_before_cut_s(samples: np.ndarray, settings: audio.AudioSettings) -> float:
    """How long a clip [samples] is when it has been trimmed and not yet cut."""
    rate_hz = settings.sample_rate_hz
    samples = samples[int(settings.offset_s * rate_hz) :]
    if settings.trim_db:
        first, end = audio.trim_bounds(samples, settings.trim_db)
        samples = samples[first:end]
    return len(samples) / rate_hz


def _without_offset(signal: jax.Array, inside: jax.Array) -> jax.Array:
    """A signal [samples] without the constant offset of what was recorded inside the clip.

    Zeros at the ends stay zeros, as in `jdann.audio.prepare`.
    """
    is_sound = inside & (signal != 0)
    position = jnp.arange(signal.shape[0])
    first, last = jnp.argmax(is_sound), signal.shape[0] - 1 - jnp.argmax(is_sound[::-1])
    recorded = inside & (position >= first) & (position <= last)
    with jax.enable_x64(True):
        total = jnp.where(recorded, signal, 0.0).astype(jnp.float64).sum()
        count = jnp.maximum(recorded.sum(), 1).astype(jnp.float64)
        offset = (total / count).astype(jnp.float32)
    return jnp.where(recorded, signal - offset, signal)


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


def _read_members(path: Path) -> dict[str, bytes]:
    """The content of both members of an archive."""
    try:
        with zipfile.ZipFile(path) as file:
            for name in (_CARD, _PROGRAM):
                if file.getinfo(name).file_size > _MOST_BYTES:
                    raise ValueError(f"{name} has more than 2 GiB")
            return {name: file.read(name) for name in (_CARD, _PROGRAM)}
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file; write one with jdann export MODEL {path}"
        ) from None
    # Damage in an archive reaches zlib, struct and others, whose errors have no common class.
    except Exception as error:
        raise InputError(f"{path}: no export, or damaged ({error}); {_KIND.remedy}") from None


def _read_program(content: bytes, classes: int, path: Path) -> jax_export.Exported:
    """The program, if it takes samples and gives a probability for each of the classes."""
    try:
        program = jax_export.deserialize(bytearray(content))
        shapes = [len(array.shape) for array in program.in_avals]
        fits = shapes == [2, 1] and program.out_avals[0].shape[1:] == (classes,)
    # A program that was damaged, or written by another version of JAX, fails in many ways.
    except Exception as error:
        raise InputError(
            f"{path}: cannot be read by jax {jax.__version__} ({' '.join(str(error).split())}); "
            f"{_KIND.remedy}"
        ) from None
    if not fits:
        raise InputError(
            f"{path}: expected a program of samples and lengths that gives {classes} "
            f"probabilities; {_KIND.remedy}"
        )
    return program


class Exported:
    """An exported recogniser in use; it needs JAX, but not Flax.

    Args:
      path: of the file.

    Raises:
      InputError: the file is missing, damaged, or not an export.
    """

    def __init__(self, path: str | Path):
        path = Path(path)
        members = _read_members(path)
        card_path, program_path = path / _CARD, path / _PROGRAM  # what messages call them
        self.card: dict[str, Any] = parse_card(members[_CARD], card_path, _KIND)
        digest = hashlib.sha256(members[_PROGRAM]).hexdigest()
        check_content(self.card, _KIND, digest, card_path, program_path)
        self.labels = tuple(self.card["labels"])
        self._program = _read_program(members[_PROGRAM], len(self.labels), program_path)

    def __call__(self, samples: np.ndarray, length: np.ndarray) -> np.ndarray:
        """Probabilities of a batch.

        Args:
          samples: float32 [batch, samples], mono at the card's rate.
          length: int32 [batch], samples. At most `max_duration_s` (in the card) are heard.

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
            samples, file_hz = audio.read(path)
            settings = audio.AudioSettings(**self.card["config"]["audio"])
            mono = audio.mono(samples, file_hz, rate_hz, keep_offset=settings.keeps_offset)
        except audio.AudioError as error:
            raise InputError(f"{path}: {error}; leave it out, or mend it") from error
        # Padded to whole seconds, so that few shapes are compiled.
        padded = np.pad(mono, (0, -len(mono) % rate_hz))
        row = self(padded[None], np.array([len(mono)]))[0]
        if np.isnan(row).any():
            raise InputError(f"{path}: silent, or too short; leave it out, or mend it")
        if _duration_before_cut_s(mono, settings) > settings.max_duration_s:
            log.warning(
                "%s: longer than %g s, and the rest is not used", path, settings.max_duration_s
            )
        return dict(zip(self.labels, map(float, row), strict=True))
