"""Encoders with a window, in a program for any batch and for clips of any length up to it."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from jdann.pretrained.smart_turn import SmartTurnEncoder
from jdann.pretrained.whisper import WhisperConfig, WhisperEncoder
from tests.support.models import speech

CONFIG = WhisperConfig(mels=80, width=16, blocks=1, heads=2, hidden=24, positions=50)
WINDOW = 16000  # samples


@pytest.mark.slow
@pytest.mark.parametrize("encoder", [WhisperEncoder, SmartTurnEncoder])
def test_the_program_for_all_lengths_is_that_of_each(encoder):
    module = encoder(CONFIG)
    first = jnp.zeros((1, 320)), jnp.asarray([320])
    params = jax.device_get(jax.jit(module.init)(jax.random.key(0), *first))

    @jax.jit
    def encode(samples, length):
        return tuple(module.apply(params, samples, length))

    batch, n = jax.export.symbolic_shape("batch, n", constraints=[f"n <= {WINDOW}"])
    types = jax.ShapeDtypeStruct((batch, n), "float32"), jax.ShapeDtypeStruct((batch,), "int32")
    program = jax.export.export(encode)(*types)
    for size, length in ((WINDOW, [WINDOW]), (4001, [4001, 320])):
        samples = np.stack([speech(1.0)[:size]] * len(length)).astype(np.float32)
        inputs = samples, np.asarray(length, np.int32)
        expected, actual = encode(*inputs), program.call(*inputs)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), actual, expected)
