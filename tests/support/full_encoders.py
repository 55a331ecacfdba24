"""Compares speech encoders of published sizes, with random weights, with those of transformers."""

from typing import Any

import jax
import numpy as np
import pytest

from jdann.pretrained.weights import to_params
from tests.support.encoders import make_architecture, padded, relative_difference

LENGTHS = (1600, 48000, 100_000, 320_000)  # samples: .1 s to 20 s
# The large variant of each family with fewer blocks, so that it fits a small machine.
LARGE = {
    "hidden_size": 1024,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "num_hidden_layers": 4,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
    "conv_bias": True,
}


def compare_with_transformers(family: str, settings: dict[str, Any]) -> None:
    """Compares each state of a padded batch with that of each clip alone.

    Skips the test where PyTorch or transformers is missing.
    """
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**settings)
    network = getattr(transformers, f"{family}Model")(config).eval()
    read = config.to_dict() | {"do_normalize": False}
    architecture = make_architecture(read)
    tensors = {name: x.numpy() for name, x in network.state_dict().items()}
    variables = {"params": to_params(tensors, architecture)}
    random = np.random.default_rng(0)
    clips = [random.standard_normal(n).astype(np.float32) for n in LENGTHS]
    apply = jax.jit(architecture.module.apply)
    states, length = jax.device_get(apply(variables, *padded(clips)))
    worst = 0.0
    for i, clip in enumerate(clips):
        with torch.no_grad():
            output = network(torch.tensor(clip)[None], output_hidden_states=True)
        expected = (*output.hidden_states[:-1], output.last_hidden_state)
        for state, layer in zip(states, expected, strict=True):
            alone = layer[0].numpy()
            assert len(alone) == length[i]
            worst = max(worst, relative_difference(state[i, : length[i]], alone))
    print(f"{family} {settings.get('num_hidden_layers', 12)} blocks: {worst:.1e}")
    assert worst < 1e-4
