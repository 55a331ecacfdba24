"""What a trained member says about utterances: logits, representations, batch norm's statistics."""

from typing import Any

import jax

from jdann.data.batches import Frames, take
from jdann.models import network
from jdann.training.state import Outputs, Program, State


def encode_utterances(
    program: Program, domain: str, state: State, frames: Frames, index: jax.Array
) -> Outputs:
    """Logits and representation of utterances by the moving average.

    Args:
      program: what is fixed.
      domain: whose batch statistics to use, "source" or "target"; static.
      state: of one member.
      frames: the features.
      index: [batches, batch] int32, the utterances.

    Returns:
      Outputs of batches * batch utterances.
    """
    average = state.average

    def encode_batch(rows: jax.Array) -> Outputs:
        features, length = take(frames, rows, program.window)
        representation = network.encode(
            program.encoder, average["encoder"], average["batch_stats"][domain], features, length
        )
        return Outputs(network.classify(average["classifier"], representation), representation)

    logits, representation = jax.lax.map(encode_batch, index)  # [batches, batch, ...]
    return Outputs(
        logits.reshape(-1, logits.shape[-1]),
        representation.reshape(-1, representation.shape[-1]),
    )


def target_statistics(program: Program, state: State, frames: Frames, index: jax.Array) -> Any:
    """Batch norm's statistics of target utterances, per batch of `index` [batches, batch]."""
    encoder_params = state.average["encoder"]
    statistics = state.average["batch_stats"]["target"]

    def of_batch(rows: jax.Array) -> Any:
        features, length = take(frames, rows, program.window)
        return network.batch_statistics(
            program.encoder, encoder_params, statistics, features, length
        )

    return jax.lax.map(of_batch, index)


def with_target_statistics(state: State, per_batch: Any) -> State:
    """The state whose average evaluates the target by these statistics of all its batches."""
    statistics = network.combine_statistics(per_batch)
    batch_stats = {**state.average["batch_stats"], "target": statistics}
    return state._replace(average={**state.average, "batch_stats": batch_stats})
