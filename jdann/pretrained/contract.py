"""What a pretrained speech encoder is: a network, its weights, and the states of its layers."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
from flax import linen as nn

SAMPLE_RATE_HZ = 16000  # of the samples that every encoder takes


class HiddenStates(NamedTuple):
    """The hidden states of a batch of clips."""

    # Each [batch, frames, width]. State 0 goes into the first block, state i leaves block i. The
    # values after a clip's last frame are zero.
    states: tuple[jax.Array, ...]
    length: jax.Array  # [batch] int32, frames of each clip


class Rule(NamedTuple):
    """Where tensors of a published file stand in the params of the linen module.

    `Rule(r"encoder\\.layers\\.(\\d+)\\.fc1\\.weight", r"layer_\\1/fc1/kernel", (1, 0))`
    """

    pattern: str  # regular expression of the whole name of a tensor
    path: str  # keys of the params joined by "/", with groups of the pattern
    permutation: tuple[int, ...] | None = None  # of the tensor's axes; None: as they are


class Blocks(NamedTuple):
    """The blocks of a network, so that a few of them can be applied without the others.

    Block i makes state i + 1 of state i. Its params are `params[scope][f"block_{i}"]`.
    """

    scope: str
    block: Callable[..., nn.Module]  # makes a `jdann.pretrained.transformer.Block` of a dtype
    # Makes the layer norm after the last block, whose params are `params[scope]["norm"]`. None:
    # there is none.
    norm: Callable[..., nn.Module] | None
    # Makes the module that gives the `bias` of all blocks for a number of frames. Its params are
    # `params["distances"]`. None: there is no bias.
    bias: Callable[..., nn.Module] | None = None


class Architecture(NamedTuple):
    """The network of one family in one size, before it has weights."""

    family: str  # such as "hubert"
    module: nn.Module  # (samples [batch, n] at 16 kHz, length [batch] int32) -> HiddenStates
    rules: tuple[Rule, ...]
    ignored: tuple[str, ...]  # patterns of tensors that a file may hold and the encoder leaves out
    layers: int  # number of hidden states: 1 + the number of blocks
    width: int  # values of a state
    samples_per_frame: int  # 320: 50 frames per second
    blocks: Blocks | None = None  # None: they cannot be applied alone
    window_s: float | None = None  # the longest clip, s; None: of any duration


class SpeechEncoder(NamedTuple):
    """An encoder with its weights."""

    name: str  # as the user gave it: an id of the Hub, or a folder
    architecture: Architecture
    params: Mapping[str, Any]  # of `architecture.module`, float32 [NumPy]
    digest: str  # of the weights and the configuration; features that are cached depend on it
