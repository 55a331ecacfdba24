"""Recipes of a pretrained speech encoder: the states of its layers, over time or as statistics.

Which layer says most about emotion differs between encoders. The last one seldom does.
"""

from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jdann.errors import InputError
from jdann.features.recipe_contract import Recipe, SampleRate, numbered
from jdann.features.signal_recipes import EgemapsMfcc, FrameLength, prosody, statistics
from jdann.parameters import Count, Precision, checked
from jdann.pretrained import PRETRAINED, PRETRAINED_FRAMES

LAYER_STATISTICS = "layer_statistics"
AUTO, ALL = "auto", "all"  # values of `layers`
# Parameters that only recipes of an encoder have.
ENCODER_KEYS = ("encoder", "encoder_digest", "encoder_precision", "layers", "beside")
FLOAT32 = "float32"  # the default of `encoder_precision`
_LARGEST = 65504.0  # of float16
_BATCH = 8  # 4 to 16 are as fast on a CPU, and memory grows with it
Beside = Literal["none", "prosody", "statistics"]


@checked
def pretrained(
    *,
    sample_rate_hz: SampleRate = 16000,
    encoder: str = "",
    encoder_digest: str = "",
    encoder_precision: Precision = FLOAT32,
    layers: str = AUTO,
    beside: Beside = "prosody",
    n_fft: FrameLength = 1024,
    hop_length: Count = 256,
    n_mels: Count = 64,
    n_mfcc: EgemapsMfcc = 40,
) -> Recipe:
    """One vector per utterance: mean and deviation over time of some layers of an encoder.

    Args:
      sample_rate_hz: sampling rate of the signals; 16000 Hz is the only one.
      encoder: id on the Hub, such as "facebook/hubert-base-ls960", or a folder.
      encoder_digest: expected digest of the weights; "" accepts any.
      encoder_precision: "float32", or "mixed" for products in bfloat16 that are summed in float32.
      layers: numbers of hidden states, such as "6" or "5,6,7", or "all". 0 is what goes into the
        first block. "auto" has to be replaced by numbers before.
      beside: which acoustic values stand before those of the encoder. Co-training needs "prosody"
        or "statistics": the prosodic values are its first view.
      n_fft: as for `statistics`, of the acoustic values.
      hop_length: as for `statistics`.
      n_mels: as for `statistics`.
      n_mfcc: as for `statistics`.

    Raises:
      InputError: the encoder cannot be used, or it has no such layer.
    """
    all_layers = layer_statistics(
        sample_rate_hz=sample_rate_hz,
        encoder=encoder,
        encoder_digest=encoder_digest,
        encoder_precision=encoder_precision,
    )
    columns = layer_columns(encoder, layers)
    acoustic = None
    if beside == "prosody":
        acoustic = prosody(sample_rate_hz=sample_rate_hz, n_fft=n_fft, hop_length=hop_length)
    elif beside == "statistics":
        acoustic = statistics(
            sample_rate_hz=sample_rate_hz,
            n_fft=n_fft,
            hop_length=hop_length,
            n_mels=n_mels,
            n_mfcc=n_mfcc,
        )

    def compute(weights: Any, signal: jax.Array, length: jax.Array) -> tuple[jax.Array, jax.Array]:
        values, frames = all_layers.compute(weights, signal, length)
        parts = [values[:, start:stop] for start, stop in columns]
        # Rounded as the cached values are, from which training reads.
        parts = [part.astype(jnp.float16).astype(jnp.float32) for part in parts]
        if acoustic is not None:
            parts.insert(0, acoustic.extract(signal, length)[0])
        return jnp.concatenate(parts, axis=1), frames

    bins = () if acoustic is None else acoustic.bins
    chosen = tuple(name for start, stop in columns for name in all_layers.bins[start:stop])
    return _recipe(PRETRAINED, (*bins, *chosen), True, compute, all_layers.weights)._replace(
        dtype="float32"
    )


def encoder_digest(encoder: str, expected: str = "", sample_rate_hz: int = 16000) -> str:
    """The digest of an encoder's weights.

    Raises:
      InputError: the encoder cannot be used at this sampling rate, or its digest is not `expected`,
        if that is given.
    """
    return _load(encoder, expected, sample_rate_hz).digest


def find_files(encoder: str, data_dir: Path) -> str:
    """The folder or file of an encoder, which every recipe takes as `encoder`, too.

    Raises:
      InputError: there is no such encoder, or it cannot be fetched.
    """
    from jdann.pretrained.load import find_encoder  # as in `_load`

    _check_name(encoder)
    return str(find_encoder(encoder, data_dir))


def check_duration(encoder: str, longest_s: float) -> None:
    """Refuses clips that are longer than an encoder can hear at once.

    Raises:
      InputError: names both durations.
    """
    window_s = _load(encoder, "").architecture.window_s
    if window_s is not None and longest_s > window_s:
        raise InputError(
            f"config.audio.max_duration_s is {longest_s:g}, and the encoder {encoder} hears at "
            f"most {window_s:g} s at once; set it to {window_s:g} or less"
        )


def layer_count(encoder: str) -> int:
    """How many hidden states an encoder has."""
    return _load(encoder, "").architecture.layers


def layer_columns(encoder: str, layers: str) -> list[tuple[int, int]]:
    """Where each chosen layer stands among the values of `layer_statistics`: start and stop."""
    architecture = _load(encoder, "").architecture
    numbers = layer_numbers(layers, architecture.layers, encoder)
    return [(2 * architecture.width * i, 2 * architecture.width * (i + 1)) for i in numbers]


@checked
def pretrained_frames(
    *,
    sample_rate_hz: SampleRate = 16000,
    encoder: str = "",
    encoder_digest: str = "",
    encoder_precision: Precision = FLOAT32,
    layers: str = AUTO,
) -> Recipe:
    """The states of some layers of an encoder, over time: 50 frames per second.

    Args:
      sample_rate_hz: as for `pretrained`.
      encoder: as for `pretrained`.
      encoder_digest: as for `pretrained`.
      encoder_precision: as for `pretrained`.
      layers: as for `pretrained`. The values of several layers stand side by side.

    Raises:
      InputError: as for `pretrained`.
    """
    loaded = _load(encoder, encoder_digest, sample_rate_hz, encoder_precision)
    architecture = loaded.architecture
    numbers = layer_numbers(layers, architecture.layers, encoder)

    def compute(weights: Any, signal: jax.Array, length: jax.Array) -> tuple[jax.Array, jax.Array]:
        hidden = architecture.module.apply({"params": weights}, signal, length)
        frames = jnp.concatenate([hidden.states[i] for i in numbers], axis=2)
        rounded = jnp.clip(frames, -_LARGEST, _LARGEST).astype(jnp.float16)
        return rounded.astype(jnp.float32), hidden.length  # as the cached values are

    bins = tuple(name for i in numbers for name in numbered(f"layer{i}", architecture.width))
    return _recipe(PRETRAINED_FRAMES, bins, False, compute, loaded.params)


@checked
def layer_statistics(
    *,
    sample_rate_hz: SampleRate = 16000,
    encoder: str = "",
    encoder_digest: str = "",
    encoder_precision: Precision = FLOAT32,
) -> Recipe:
    """One vector per utterance: mean and deviation over time of each layer of an encoder.

    Args:
      sample_rate_hz: as for `pretrained`.
      encoder: as for `pretrained`.
      encoder_digest: as for `pretrained`.
      encoder_precision: as for `pretrained`.

    Raises:
      InputError: as for `pretrained`.
    """
    loaded = _load(encoder, encoder_digest, sample_rate_hz, encoder_precision)
    architecture = loaded.architecture

    def compute(weights: Any, signal: jax.Array, length: jax.Array) -> tuple[jax.Array, jax.Array]:
        hidden = architecture.module.apply({"params": weights}, signal, length)
        count = hidden.length.astype(jnp.float32)[:, None]  # [batch, 1]
        values = []
        for state in hidden.states:
            frame = jnp.arange(state.shape[1])
            valid = (frame[None] < hidden.length[:, None])[..., None]  # [batch, frames, 1]
            mean = jnp.where(valid, state, 0.0).sum(1) / count
            difference = jnp.where(valid, state - mean[:, None], 0.0)
            values += [mean, jnp.sqrt(jnp.square(difference).sum(1) / count)]
        of_layers = jnp.concatenate(values, axis=1)  # [batch, layers * 2 * width]
        return jnp.clip(of_layers, -_LARGEST, _LARGEST), jnp.ones_like(hidden.length)

    bins = tuple(
        name
        for i in range(architecture.layers)
        for statistic in ("mean", "std")
        for name in numbered(f"layer{i}_{statistic}", architecture.width)
    )
    return _recipe(LAYER_STATISTICS, bins, True, compute, loaded.params)


def layer_numbers(layers: str, count: int, encoder: str) -> tuple[int, ...]:
    """The numbers of hidden states that a text names.

    Args:
      layers: as for `pretrained`.
      count: how many hidden states the encoder has.
      encoder: its name, for messages.

    Raises:
      InputError: the text names no layers of the encoder.
    """
    if layers == ALL:
        return tuple(range(count))
    parts = [part.strip() for part in layers.split(",")]
    numbers = tuple(int(part) for part in parts if part.isdecimal() and part.isascii())
    if len(numbers) < len(parts) or len(set(numbers)) < len(numbers) or max(numbers) >= count:
        raise InputError(
            f'features.layers is {layers!r}; expected "all", or numbers from 0 to {count - 1}, '
            f'each once: {encoder} has {count} hidden states (a training also takes "auto")'
        )
    return numbers


def _recipe(
    name: str, bins: tuple[str, ...], is_vector: bool, compute: Any, weights: Any
) -> Recipe:
    return Recipe(
        name=name,
        sample_rate_hz=16000,
        bins=bins,
        hop_s=0.0 if is_vector else 0.02,
        is_vector=is_vector,
        extract=partial(compute, weights),
        dtype="float16",
        weights=weights,
        batch=_BATCH,
        with_weights=compute,
    )


def _load(
    encoder: str, digest: str, sample_rate_hz: int = 16000, precision: Precision = FLOAT32
) -> Any:
    # Flax takes long to import, and the other recipes do without it.
    from jdann.pretrained.load import load_encoder

    _check_name(encoder)
    if sample_rate_hz != 16000:
        raise InputError(f"audio.sample_rate_hz={sample_rate_hz}: pretrained encoders expect 16000")
    loaded = load_encoder(encoder, precision=precision)
    if digest and loaded.digest != digest:
        raise InputError(
            f"{encoder}: its weights have the digest {loaded.digest}, and {digest} is expected; "
            "use the weights with that digest, or train again"
        )
    return loaded


def _check_name(encoder: str) -> None:
    if not encoder:
        raise InputError(
            "features.recipe needs a pretrained encoder; set --config.features.encoder to an id "
            "of the Hub or a folder (`jdann encoders` lists the known ones)"
        )
