"""Training steps of jdann's encoders and of plain Flax layers, for `train_step.py`."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from network_sizes import BLOCKS, CHANNELS, KERNEL_SIZE, STRIDES

from jdann.models import make_encoder

Shape = tuple[int, int, int]  # batch, frames, bins
Turn = Callable[[], Any]


class PlainConv1d(nn.Module):
    """The 1-D CNN as a Flax user would write it, without masks."""

    @nn.compact
    def __call__(self, features, length, train):
        x = features  # [batch, frames, bins]
        for channels, stride in zip(CHANNELS, STRIDES, strict=True):
            x = nn.Conv(channels, (KERNEL_SIZE,), stride, use_bias=False)(x)
            x = nn.relu(nn.BatchNorm(not train, momentum=0.9)(x))
        return {"representation": jnp.concatenate([x.mean(axis=1), x.std(axis=1)], axis=-1)}


class PlainResNet50(nn.Module):
    """ResNet-50 as a Flax user would write it, without masks."""

    @nn.compact
    def __call__(self, features, length, train):
        norm = functools.partial(nn.BatchNorm, use_running_average=not train, momentum=0.9)
        conv = functools.partial(nn.Conv, use_bias=False)
        x = features[..., None]  # [batch, frames, bins, 1]
        x = nn.relu(norm()(conv(64, (7, 7), (2, 2))(x)))
        x = nn.max_pool(x, (3, 3), (2, 2), "SAME")
        for stage, blocks in enumerate(BLOCKS):
            channels = 64 * 2**stage
            for block in range(blocks):
                strides = (2, 2) if stage > 0 and block == 0 else (1, 1)
                y = nn.relu(norm()(conv(channels, (1, 1))(x)))
                y = nn.relu(norm()(conv(channels, (3, 3), strides)(y)))
                y = norm(scale_init=nn.initializers.zeros)(conv(4 * channels, (1, 1))(y))
                if block == 0:
                    x = norm()(conv(4 * channels, (1, 1), strides)(x))
                x = nn.relu(x + y)
        return {"representation": x.mean(axis=(1, 2))}


def make_plain_network(encoder: str) -> Any:
    return PlainConv1d() if encoder == "conv1d" else PlainResNet50()


def make_network(way: str, encoder: str) -> Any:
    """The network of a way: plain Flax, or jdann's in the precision that the way names."""
    if way.startswith("plain"):
        return make_plain_network(encoder)
    precision = way.removeprefix("jdann ") if way.startswith("jdann") else "float32"
    sizes = {"channels": CHANNELS, "kernel_size": KERNEL_SIZE, "strides": STRIDES}
    return make_encoder(encoder, {"dropout": 0.0, **sizes}, precision)


def make_step(network: Any, shape: Shape) -> tuple[Callable, Callable]:
    """Returns `init(key) -> state` and `step(state) -> state`."""
    features, length = jax.random.normal(jax.random.key(0), shape), jnp.full(shape[:1], shape[1])
    optimiser = optax.adamw(1e-3)

    def init(key):
        variables = network.init({"params": key}, features, length, False)
        return variables["params"], variables["batch_stats"], optimiser.init(variables["params"])

    def step(state):
        params, batch_stats, moments = state

        def loss(params):
            variables = {"params": params, "batch_stats": batch_stats}
            outputs, updated = network.apply(
                variables, features, length, True, mutable=["batch_stats"]
            )
            return jnp.square(outputs["representation"] - 1).mean(), updated["batch_stats"]

        gradients, batch_stats = jax.grad(loss, has_aux=True)(params)
        updates, moments = optimiser.update(gradients, moments, params)
        return optax.apply_updates(params, updates), batch_stats, moments

    return init, step


def gigaflops_of_step(encoder: str, shape: Shape) -> float:
    """Three times the operations of the forward pass of plain Flax, in units of 1e9.

    jdann's own convolutions make fewer operations than they count for. So plain Flax is counted.
    """
    network = make_plain_network(encoder)

    def forward(variables, features):
        outputs, _ = network.apply(variables, features, None, True, mutable=["batch_stats"])
        return outputs["representation"]

    features = jax.ShapeDtypeStruct(shape, jnp.float32)
    variables = jax.eval_shape(lambda x: network.init(jax.random.key(0), x, None, True), features)
    cost: Any = jax.jit(forward).lower(variables, features).cost_analysis()
    return 3e-9 * (cost or {}).get("flops", float("nan"))


def make_turn(way: str, encoder: str, shape: Shape, steps: int) -> Turn:
    """Returns a function for one turn.

    A turn is `steps` steps of one seed, or one step of each of `steps` seeds.
    """
    init, step = make_step(make_network(way, encoder), shape)
    states = jax.jit(jax.vmap(init))(jax.random.split(jax.random.key(0), steps))
    if way in ("one by one", "plain Flax float32"):
        compiled_step = jax.jit(step)
        separate = [jax.tree.map(lambda x, i=i: x[i], states) for i in range(steps)]
        return lambda: [jax.block_until_ready(compiled_step(state)) for state in separate]
    if way in ("vmap", "lax.map"):
        step_all = jax.vmap(step) if way == "vmap" else functools.partial(jax.lax.map, step)
        step_seeds = jax.jit(step_all)
        return lambda: jax.block_until_ready(step_seeds(states))
    first_state = jax.tree.map(lambda x: x[0], states)
    repeat = functools.partial(jax.lax.fori_loop, 0, steps, lambda _, state: step(state))
    repeat_step = jax.jit(repeat)
    return lambda: jax.block_until_ready(repeat_step(first_state))


def make_product(size: int, is_bfloat16: bool) -> Turn:
    """A function that multiplies two square matrices; it sums in float32."""
    dtype = jnp.bfloat16 if is_bfloat16 else jnp.float32
    a = jax.random.normal(jax.random.key(0), (size, size)).astype(dtype)
    multiply = jax.jit(lambda a: jnp.matmul(a, a, preferred_element_type=jnp.float32))
    return lambda: jax.block_until_ready(multiply(a))
