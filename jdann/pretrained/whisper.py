"""Whisper's encoder (Radford et al. 2022, "Robust speech recognition via large-scale weak
supervision"), with the weights and the numbers of transformers.

Whisper pads each clip with silence to 30 s, and its attention masks nothing: the frames of a short
clip attend to the silence, too. Here the positions are cut to the longest clip of the batch, and
the padding is masked. So padding never changes a result, and a short clip costs less. State 0
is the same in both ways; the later states differ, because silence is no longer attended to. With
the trained weights of smart-turn (windows of 8 s) and 52 clips of 1.3 to 5 s, the relative
difference is .07 after the first block, .10, .20 and .32 after the last one, and the mean cosine of
a frame .997, .995, .986 and .946 (`benchmarks/smart_turn.py`). For windows of 30 s, in which the
silence is longer, it may be larger: random weights of Whisper-base's size gave .55 after the last
block for clips of 3 s, and .40 for 10 s. `pad_to_window` brings the published behaviour back.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import core

from jdann.errors import InputError
from jdann.parameters import shown
from jdann.pretrained import transformer
from jdann.pretrained.contract import SAMPLE_RATE_HZ, Architecture, Blocks, HiddenStates, Rule
from jdann.pretrained.log_mel import HOP_LENGTH, log_mel
from jdann.pretrained.transformer import Block, SelfAttention, exact_gelu, layer_norm, product
from jdann.pretrained.wav2vec2_settings import whole_number

SAMPLES_PER_FRAME = 2 * HOP_LENGTH  # the second convolution halves the rate of the log-mels
_EPSILON = 1e-5  # of the layer norms


class WhisperConfig(NamedTuple):
    """The size of an encoder."""

    mels: int
    width: int  # values of a state
    blocks: int
    heads: int
    hidden: int  # values between the two linear layers of a block
    positions: int  # frames of the window: 1500 are 30 s

    @property
    def window_samples(self) -> int:
        return self.positions * SAMPLES_PER_FRAME


class WhisperEncoder(nn.Module):
    """From samples to the hidden states of Whisper's encoder, 50 frames per second.

    State 0 is the sum of convolved log-mels and positions. The last state is that after the final
    layer norm, as in transformers.
    """

    config: WhisperConfig
    dtype: Any = jnp.float32  # of the products; sums, softmax and norms are float32
    remat: bool = False  # compute the inside of each block anew for its gradient: less memory
    pad_to_window: bool = False  # hear silence to the end of the window, as published

    @nn.compact
    def __call__(self, samples: jax.Array, length: jax.Array) -> HiddenStates:
        """Encodes clips.

        Args:
          samples: float32 [batch, n] at 16 kHz, at most the window.
          length: int32 [batch], samples of each clip.

        Returns:
          1 + blocks states [batch, ceil(n / 320), width] float32.

        Raises:
          InputError: n exceeds the window of the positions.
        """
        check_duration(samples, self.config)
        frames = -(-samples.shape[1] // SAMPLES_PER_FRAME)
        # One more frame, so that the convolutions meet silence after the longest clip, too.
        heard = self.config.positions
        if not self.pad_to_window:
            heard = core.min_dim(frames + 1, self.config.positions)
        padding = heard * SAMPLES_PER_FRAME - samples.shape[1]
        padded = jnp.pad(samples, ((0, 0), (0, padding)))
        mel = log_mel(padded, length, self.config.mels, self.config.window_samples)
        frame_count = -(-length.astype(jnp.int32) // SAMPLES_PER_FRAME)
        inside = jnp.arange(heard)[None] < frame_count[:, None]  # [batch, frames]
        encode = EncoderOfMels(self.config, self.dtype, self.remat, name="encoder")
        states = encode(mel, inside | self.pad_to_window)
        return HiddenStates(
            tuple(jnp.where(inside[..., None], x, 0.0)[:, :frames] for x in states), frame_count
        )


class EncoderOfMels(nn.Module):
    """Two convolutions, positions, and blocks of a transformer."""

    config: WhisperConfig
    dtype: Any = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(
        self, mel: jax.Array, attended: jax.Array, first_position: int = 0
    ) -> tuple[jax.Array, ...]:
        """From log-mels [batch, 2 * frames, mels] to 1 + blocks states [batch, frames, width].

        Args:
          mel: the log-mels.
          attended: bool [batch, frames]; the other frames are not attended to.
          first_position: the position of the first frame in the window.
        """
        config = self.config
        x = mel
        for i, stride in enumerate((1, 2)):
            convolution = Convolution(config.width, stride, self.dtype, name=f"convolution_{i}")
            x = exact_gelu(convolution(x))
        table = self.param(
            "positions", nn.initializers.normal(0.02), (config.positions, config.width)
        )
        # The weights may be NumPy's, which cannot be cut at a size that is unknown in an export.
        x = x + jnp.asarray(table)[None, first_position : first_position + x.shape[1]]
        states = [x]
        block = nn.remat(Block) if self.remat else Block
        for i in range(config.blocks):
            x = block(
                config.heads,
                config.hidden,
                _EPSILON,
                norm_first=True,
                attention=Attention,
                dtype=self.dtype,
                name=f"block_{i}",
            )(x, attended)
            states.append(x)
        states[-1] = layer_norm(_EPSILON, "norm")(x)
        return tuple(states)


class Attention(SelfAttention):
    """Attention whose keys have no bias."""

    key_bias: bool = False


class Convolution(nn.Module):
    """A convolution over three frames, with zeros before and after the clip."""

    width: int
    stride: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        inputs = x.shape[-1]
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (3, inputs, self.width))
        bias = self.param("bias", nn.initializers.zeros, (self.width,))
        padded = jnp.pad(x, ((0, 0), (1, 1), (0, 0)))
        end = x.shape[1]
        neighbours = [padded[:, i : i + end : self.stride] for i in range(3)]
        # One product is faster than XLA's convolution on CPUs.
        joined = jnp.concatenate(neighbours, -1)  # [batch, frames, 3 * inputs]
        y = product("btc,co->bto", joined, kernel.reshape(3 * inputs, self.width), self.dtype)
        return y + bias[None, None]


def check_duration(samples: jax.Array, config: WhisperConfig) -> None:
    """Refuses clips that are longer than the window."""
    if samples.shape[1] > config.window_samples:
        raise InputError(
            f"this encoder hears at most {config.window_samples / SAMPLE_RATE_HZ:g} s at once, and "
            f"the clips have {samples.shape[1] / SAMPLE_RATE_HZ:.1f} s; cut them into windows"
        )


_PREFIX = r"(?:model\.)?encoder\."
_BLOCK = _PREFIX + r"layers\.(\d+)\."
_LINEAR = {  # published name: ours
    "self_attn.q_proj": "attention/query",
    "self_attn.k_proj": "attention/key",
    "self_attn.v_proj": "attention/value",
    "self_attn.out_proj": "attention/out",
    "fc1": "feed_forward/hidden",
    "fc2": "feed_forward/out",
}
_NORMS = {"self_attn_layer_norm": "attention_norm", "final_layer_norm": "feed_forward_norm"}


def _make_rules() -> tuple[Rule, ...]:
    rules = [Rule(_PREFIX + r"embed_positions\.weight", "encoder/positions", (0, 1))]
    for i in range(2):
        published, ours = rf"{_PREFIX}conv{i + 1}\.", f"encoder/convolution_{i}/"
        rules.append(Rule(published + "weight", ours + "kernel", (2, 1, 0)))
        rules.append(Rule(published + "bias", ours + "bias"))
    for published, ours in _LINEAR.items():
        published = _BLOCK + published.replace(".", r"\.")
        rules.append(Rule(rf"{published}\.weight", rf"encoder/block_\1/{ours}/kernel", (1, 0)))
        rules.append(Rule(rf"{published}\.bias", rf"encoder/block_\1/{ours}/bias"))
    for published, ours in _NORMS.items():
        rules.append(Rule(rf"{_BLOCK}{published}\.weight", rf"encoder/block_\1/{ours}/scale"))
        rules.append(Rule(rf"{_BLOCK}{published}\.bias", rf"encoder/block_\1/{ours}/bias"))
    rules.append(Rule(_PREFIX + r"layer_norm\.weight", "encoder/norm/scale"))
    rules.append(Rule(_PREFIX + r"layer_norm\.bias", "encoder/norm/bias"))
    return tuple(rules)


RULES = _make_rules()
IGNORED = (r"(?:model\.)?decoder\..*", r"proj_out\..*")


def architecture(settings: Mapping[str, Any]) -> Architecture:
    """The encoder that a config.json of transformers describes.

    Args:
      settings: the object in config.json. A key that is missing has the default of transformers.

    Raises:
      InputError: a value is none that Whisper can have.
    """
    config = read_config(settings)
    return Architecture(
        "whisper",
        WhisperEncoder(config),
        RULES,
        IGNORED,
        layers=1 + config.blocks,
        width=config.width,
        samples_per_frame=SAMPLES_PER_FRAME,
        blocks=describe_blocks(config),
        window_s=config.window_samples / SAMPLE_RATE_HZ,
    )


def describe_blocks(config: WhisperConfig) -> Blocks:
    """The blocks of `EncoderOfMels`."""
    return transformer.describe_blocks(
        "encoder", config.heads, config.hidden, _EPSILON, norm_first=True, attention=Attention
    )


def read_config(settings: Mapping[str, Any]) -> WhisperConfig:
    """The size of the encoder, from the object in config.json."""
    width, heads = (
        whole_number(settings, "d_model", 384),
        whole_number(settings, "encoder_attention_heads", 6),
    )
    if width % heads:
        raise InputError(
            f"config.json: encoder_attention_heads is {heads}, which does not divide d_model "
            f"{width}; choose another model"
        )
    activation = settings.get("activation_function", "gelu")
    if activation != "gelu":
        raise InputError(
            f"config.json: activation_function is {shown(activation)}, but this encoder needs "
            '"gelu"; choose another model'
        )
    return WhisperConfig(
        mels=whole_number(settings, "num_mel_bins", 80),
        width=width,
        blocks=whole_number(settings, "encoder_layers", 4),
        heads=heads,
        hidden=whole_number(settings, "encoder_ffn_dim", 1536),
        positions=whole_number(settings, "max_source_positions", 1500),
    )
