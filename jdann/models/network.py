"""An encoder and a linear classifier as pure functions of parameters and batch statistics.

`batch_stats` is a dict of the running statistics of batch norm for "source" and "target". The two
are equal unless a method keeps them apart.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

DOMAINS = ("source", "target")
# What batch norm does with a batch of both domains: normalise both together, each by itself, or use
# the running statistics and leave them as they are.
JOINT, SEPARATE, FROZEN = "joint", "separate", "frozen"
_STATISTICS_SCALE = 10.0  # running statistics move a tenth of the way in one step


def classifier_of(classes: int) -> nn.Dense:
    """The classifier: a linear map from the representation to logits."""
    # Uniform, because the inverse error function of a normal draw takes seconds to compile.
    return nn.Dense(classes, kernel_init=nn.initializers.lecun_uniform())


def blank_batch(window: int | None, bins: int) -> tuple[jax.Array, jax.Array]:
    """Features and length of two utterances of zeros, in the shape that an encoder will see.

    Args:
      window: frames; None: each utterance is one vector.
      bins: columns of the features.
    """
    shape = (2, bins) if window is None else (2, window, bins)
    return jnp.zeros(shape), jnp.full((2,), 1 if window is None else window, jnp.int32)


def weights_of(encoder: nn.Module) -> Any:
    """The pretrained weights that an encoder holds beside its params; () if it has none."""
    return getattr(encoder, "weights", ())


def with_weights(encoder: nn.Module, weights: Any) -> nn.Module:
    """The encoder with these weights in place of its own, if it has any.

    A compiled program takes the weights as an argument. Otherwise each program would hold a copy.
    """
    return encoder.clone(weights=weights) if weights_of(encoder) else encoder


def init_network(
    encoder: nn.Module, classes: int, key: jax.Array, features: jax.Array, length: jax.Array
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Makes parameters and batch statistics.

    Args:
      encoder: from `jdann.models.make_encoder`.
      classes: number of emotions.
      key: random key.
      features: [batch, frames, bins] or [batch, values]; only the shape matters.
      length: [batch] int32, frames.

    Returns:
      {"encoder", "classifier"}, and {"source", "target"}.
    """
    encoder_key, classifier_key = jax.random.split(key)
    variables = encoder.init(encoder_key, features, length, False)
    statistics = variables.get("batch_stats", {})
    representation = encode(encoder, variables["params"], statistics, features, length)
    classifier = classifier_of(classes).init(classifier_key, representation)["params"]
    params = {"encoder": variables["params"], "classifier": classifier}
    return params, dict.fromkeys(DOMAINS, statistics)


def encode(
    encoder: nn.Module, params: Any, statistics: Any, features: jax.Array, length: jax.Array
) -> jax.Array:
    """The representation [batch, d], without dropout, by one domain's running statistics."""
    encoded = encoder.apply({"params": params, "batch_stats": statistics}, features, length, False)
    assert isinstance(encoded, dict)
    return encoded["representation"]


def classify(params: Any, representation: jax.Array) -> jax.Array:
    """Logits [batch, classes] of representations [batch, d]."""
    classes = params["bias"].shape[-1]
    logits = classifier_of(classes).apply({"params": params}, representation)
    assert isinstance(logits, jax.Array)
    return logits


def encode_for_training(
    encoder: nn.Module,
    params: Any,
    batch_stats: dict[str, Any],
    inputs: dict[str, tuple[jax.Array, jax.Array]],
    key: jax.Array,
    batch_norm: str,
) -> tuple[dict[str, jax.Array], dict[str, Any]]:
    """Encodes a training batch of one or both domains, with dropout.

    Args:
      encoder: the module.
      params: of the encoder.
      batch_stats: {"source", "target"}.
      inputs: features and length of each domain.
      key: random key of dropout.
      batch_norm: JOINT, SEPARATE or FROZEN.

    Returns:
      The representation of each domain, and the moved batch statistics.
    """
    if batch_norm == FROZEN:
        encoded = {d: encode(encoder, params, batch_stats[d], *x) for d, x in inputs.items()}
        return encoded, batch_stats
    if batch_norm == JOINT:  # one pass: both domains share the batch's statistics
        features, length = (jnp.concatenate(parts) for parts in zip(*inputs.values(), strict=True))
        representation, statistics = _encode_and_move(
            encoder, params, batch_stats["source"], features, length, key
        )
        sizes = [len(x[1]) for x in inputs.values()]
        ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
        parts = jnp.split(representation, ends[:-1])
        return dict(zip(inputs, parts, strict=True)), dict.fromkeys(DOMAINS, statistics)
    representations, batch_stats = {}, dict(batch_stats)
    for i, (domain, x) in enumerate(inputs.items()):
        representations[domain], batch_stats[domain] = _encode_and_move(
            encoder, params, batch_stats[domain], *x, jax.random.fold_in(key, i)
        )
    return representations, batch_stats


def _encode_and_move(
    encoder: nn.Module,
    params: Any,
    statistics: Any,
    features: jax.Array,
    length: jax.Array,
    key: jax.Array,
) -> tuple[jax.Array, Any]:
    """The representation by the batch's own statistics, and the running ones moved towards them."""
    variables = {"params": params, "batch_stats": statistics}
    encoded, moved = encoder.apply(
        variables, features, length, True, rngs={"dropout": key}, mutable=["batch_stats"]
    )
    assert isinstance(encoded, dict)
    return encoded["representation"], moved.get("batch_stats", {})


def batch_statistics(
    encoder: nn.Module, params: Any, statistics: Any, features: jax.Array, length: jax.Array
) -> dict[tuple[str, ...], jax.Array]:
    """Mean and variance of one batch at every batch norm, by path in the tree of statistics."""
    zero = jax.tree.map(jnp.zeros_like, statistics)
    # From zero, the running statistics move to a known part of the batch's own ones.
    _, moved = _encode_and_move(encoder, params, zero, features, length, jax.random.key(0))
    scaled: Any = flatten_dict(jax.tree.map(lambda x: _STATISTICS_SCALE * x, moved))
    return scaled


def combine_statistics(per_batch: dict[tuple[str, ...], jax.Array]) -> Any:
    """Statistics of all utterances from those of batches [batches, channels] of equal size."""
    total = {}
    for path, values in per_batch.items():
        # The law of total variance: the mean variance, and the variance of the means.
        between = per_batch[(*path[:-1], "mean")].var(0) if path[-1] == "var" else 0.0
        total[path] = values.mean(0) + between
    return unflatten_dict(total)
