"""Encoder and classifier as pure functions of parameters and batch statistics, one set of statistics a domain."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from jdann.data.batches import Frames, take
from jdann.methods.contract import FROZEN, JOINT

DOMAINS = ("source", "target")


class Network(NamedTuple):
    """An encoder and a linear classifier.

    `batch_stats` is a dict of the running statistics of "source" and "target"; they are equal but where a method keeps
    them apart.
    """

    init: Callable[
        ..., tuple[dict[str, Any], dict[str, Any]]
    ]  # (key, features, length) -> (params, batch_stats)
    encode: Callable[
        ..., jax.Array
    ]  # (encoder params, one domain's statistics, features, length) -> representation
    encode_training: Callable[..., tuple[dict[str, jax.Array], dict[str, Any]]]
    # (encoder params, batch_stats, {domain: (features, length)}, key, batch_norm) -> ({domain: representation}, batch_stats)
    classify: Callable[[Any, jax.Array], jax.Array]  # (classifier params, representation) -> logits
    batch_statistics: Callable[..., dict[tuple[str, ...], jax.Array]]
    # (encoder params, a domain's statistics, frames, index [batches, batch], window) -> {name: [batches, channels]}
    statistics: Callable[[dict[tuple[str, ...], jax.Array]], Any]  # of each batch -> of all


def make_network(encoder: nn.Module, classes: int) -> Network:
    """Pairs an encoder with a classifier.

    Args:
      encoder: from `jdann.models.make_encoder`.
      classes: of emotion.
    """
    # Uniform: a normal draw's inverse error function takes seconds to compile.
    classifier = nn.Dense(classes, kernel_init=nn.initializers.lecun_uniform())

    def init(
        key: jax.Array, features: jax.Array, length: jax.Array
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        encoder_key, classifier_key = jax.random.split(key)
        variables = encoder.init(encoder_key, features, length, False)
        statistics = variables.get("batch_stats", {})
        representation = encode(variables["params"], statistics, features, length)
        params = {
            "encoder": variables["params"],
            "classifier": classifier.init(classifier_key, representation)["params"],
        }
        return params, dict.fromkeys(DOMAINS, statistics)

    def encode(params: Any, statistics: Any, features: jax.Array, length: jax.Array) -> jax.Array:
        encoded = encoder.apply(
            {"params": params, "batch_stats": statistics}, features, length, False
        )
        assert isinstance(encoded, dict)
        return encoded["representation"]

    def trained(
        params: Any, statistics: Any, features: jax.Array, length: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, Any]:
        variables = {"params": params, "batch_stats": statistics}
        encoded, changed = encoder.apply(
            variables, features, length, True, rngs={"dropout": key}, mutable=["batch_stats"]
        )
        assert isinstance(encoded, dict)
        return encoded["representation"], changed.get("batch_stats", {})

    def encode_training(
        params: Any,
        batch_stats: dict[str, Any],
        inputs: dict[str, tuple[jax.Array, jax.Array]],
        key: jax.Array,
        batch_norm: str,
    ) -> tuple[dict[str, jax.Array], dict[str, Any]]:
        if batch_norm == FROZEN:
            return {d: encode(params, batch_stats[d], *x) for d, x in inputs.items()}, batch_stats
        if batch_norm == JOINT:  # one pass: all domains share the batch's statistics
            features, length = (
                jnp.concatenate(parts) for parts in zip(*inputs.values(), strict=True)
            )
            representation, statistics = trained(
                params, batch_stats["source"], features, length, key
            )
            sizes = [len(x[1]) for x in inputs.values()]
            ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
            parts = jnp.split(representation, ends[:-1])
            return dict(zip(inputs, parts, strict=True)), dict.fromkeys(DOMAINS, statistics)
        representations, batch_stats = {}, dict(batch_stats)
        for i, (domain, x) in enumerate(inputs.items()):
            representations[domain], batch_stats[domain] = trained(
                params, batch_stats[domain], *x, jax.random.fold_in(key, i)
            )
        return representations, batch_stats

    def classify(params: Any, representation: jax.Array) -> jax.Array:
        logits = classifier.apply({"params": params}, representation)
        assert isinstance(logits, jax.Array)
        return logits

    def batch_statistics(
        params: Any, initial: Any, frames: Frames, index: jax.Array, window: int
    ) -> dict[Any, jax.Array]:
        nothing = jax.tree.map(jnp.zeros_like, initial)

        def of_batch(rows: jax.Array) -> Any:
            # Flax moves running statistics a tenth of the way: from zero, to a tenth of the batch's own.
            _, moved = trained(params, nothing, *take(frames, rows, window), jax.random.key(0))
            return flatten_dict(jax.tree.map(lambda x: 10.0 * x, moved))

        return jax.lax.map(of_batch, index)  # {(..., "mean" or "var"): [batches, channels]}

    def statistics(each: dict[Any, jax.Array]) -> Any:
        whole = {}
        for path, values in each.items():
            between = (
                each[(*path[:-1], "mean")].var(0) if path[-1] == "var" else 0.0
            )  # the law of total variance
            whole[path] = values.mean(0) + between
        return unflatten_dict(whole)

    return Network(init, encode, encode_training, classify, batch_statistics, statistics)
