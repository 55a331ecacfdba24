# pyright: reportMissingImports=false
"""The first training step of the 1-D CNN, in jdann and in PyTorch, for `startup.py`.

Each function runs in a process of its own. Imports are part of what is measured, so they stand in
the functions.
"""

from network_sizes import CHANNELS, KERNEL_SIZE, SHAPES, STRIDES

BATCH, FRAMES, BINS = SHAPES["conv1d"]
CLASSES = 5


def step_jdann() -> None:
    """Makes one step with jdann's training loop."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from jdann.data.batches import BatchIndices
    from jdann.training.state import Hyper

    training, data = make_training(), make_training_data()
    keys, ones = jax.vmap(jax.random.key)(jnp.zeros(1, jnp.uint32)), jnp.ones(1)
    hyper = Hyper(1e-3 * ones, 0 * ones, ones)
    rows = jnp.arange(BATCH, dtype=jnp.int32)[None, None]  # [steps, seeds, batch]
    labels = jnp.zeros((1, BATCH, CLASSES))
    state = training.init(keys)
    indices = BatchIndices(rows, rows)
    _, metrics = training.train_epoch(0, state, keys, hyper, data, indices, labels)
    assert np.isfinite(metrics["loss"]).all()


def make_training():
    """The training of the 1-D CNN on the source only."""
    from jdann.methods import make_method
    from jdann.models import make_encoder
    from jdann.training.members import CompiledTraining
    from jdann.training.state import Program, TrainingSettings

    sizes = {"channels": CHANNELS, "kernel_size": KERNEL_SIZE, "strides": STRIDES}
    program = Program(
        encoder=make_encoder("conv1d", sizes),
        method=make_method("source_only"),
        settings=TrainingSettings(),
        classes=CLASSES,
        speakers=0,
        bins=BINS,
        window=FRAMES,
        phase_steps=(10,),
    )
    return CompiledTraining(program)


def make_training_data():
    """One batch of random features, for source and target."""
    import jax.numpy as jnp
    import numpy as np

    from jdann.data.batches import Frames, TrainingData

    random = np.random.default_rng(0)
    values = random.normal(size=((BATCH + 1) * FRAMES, BINS)).astype(np.float16)
    start, length = np.arange(BATCH, dtype=np.int32) * FRAMES, np.full(BATCH, FRAMES, np.int32)
    frames = Frames(jnp.asarray(values), jnp.asarray(start), jnp.asarray(length))
    emotion = jnp.asarray(np.arange(BATCH) % CLASSES, jnp.int32)
    speaker = jnp.full(BATCH, -1, jnp.int32)
    return TrainingData(frames, emotion, speaker, frames)


def step_pytorch() -> None:
    """Makes the same step in PyTorch, eager."""
    import torch
    from torch import nn

    layers, inputs = [], BINS
    for channels, stride in zip(CHANNELS, STRIDES, strict=True):
        layers += [
            nn.Conv1d(inputs, channels, KERNEL_SIZE, stride, KERNEL_SIZE // 2),
            nn.BatchNorm1d(channels),
            nn.ReLU(),
        ]
        inputs = channels
    encoder, dropout = nn.Sequential(*layers), nn.Dropout(0.3)
    classifier = nn.Linear(2 * CHANNELS[-1], CLASSES)
    optimiser = torch.optim.AdamW([*encoder.parameters(), *classifier.parameters()], 1e-3)
    x = encoder(torch.randn(BATCH, BINS, FRAMES))  # [batch, channels, frames]
    logits = classifier(dropout(torch.cat([x.mean(-1), x.std(-1)], 1)))
    loss = nn.functional.cross_entropy(logits, torch.arange(BATCH) % CLASSES)
    loss.backward()
    optimiser.step()
    assert torch.isfinite(loss)
