"""Draws the figures of docs/method.md.

    python docs/figures.py

A drawing, a toy problem that is trained here, and the demo corpus, of which co-training labels the
Mandarin half.
"""

import argparse
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from jdann import corpora, gradient_reversal
from jdann.configuration import load_config
from jdann.data import batches, pairs
from jdann.experiments.settings import features_folder, make_feature_settings
from jdann.figures.plots import DOMAIN_COLOURS, empty, save, tidy
from jdann.methods.co_training import co_training
from jdann.training.schedules import ganin

FOLDER = Path(__file__).parent
SOURCE, TARGET = DOMAIN_COLOURS
CLASSES = ("#D55E00", "#0072B2")
POINTS, STEPS, SEEDS = 400, 2000, 7


def toy(key: jax.Array, degrees: float) -> tuple[jax.Array, jax.Array]:
    """Two crescents, [POINTS, 2] and their class [POINTS], turned about their middle."""
    at, noise = jax.random.split(key)
    label = jnp.arange(POINTS) % 2
    angle = jnp.pi * jax.random.uniform(at, (POINTS,))
    upper = jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1)
    lower = jnp.stack([1 - jnp.cos(angle), 0.5 - jnp.sin(angle)], -1)
    points = jnp.where(label[:, None] == 0, upper, lower) + 0.08 * jax.random.normal(
        noise, (POINTS, 2)
    )
    turn, middle = np.deg2rad(degrees), jnp.array([0.5, 0.25])
    matrix = jnp.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return (points - middle) @ matrix + middle, label


def dense(key: jax.Array, sizes: tuple[int, ...]) -> list[tuple[jax.Array, jax.Array]]:
    keys = jax.random.split(key, len(sizes))
    return [
        (jax.random.normal(k, (a, b)) * np.sqrt(2 / a), jnp.zeros(b))
        for k, a, b in zip(keys, sizes, sizes[1:], strict=False)
    ]


def forward(layers: list[tuple[jax.Array, jax.Array]], x: jax.Array) -> jax.Array:
    for weight, bias in layers[:-1]:
        x = jax.nn.relu(x @ weight + bias)
    return x @ layers[-1][0] + layers[-1][1]


def represent(params: Any, x: jax.Array) -> jax.Array:
    return jnp.tanh(forward(params["encoder"], x))


def answers(params: Any, x: jax.Array) -> jax.Array:
    return forward(params["classifier"], represent(params, x)).argmax(-1)


def trained(
    key: jax.Array, strength: jax.Array, source: jax.Array, label: jax.Array, target: jax.Array
) -> Any:
    """Encoder, classifier and discriminator, trained with a gradient reversal of this strength."""
    keys = jax.random.split(key, 3)
    params = {
        "encoder": dense(keys[0], (2, 32, 16)),
        "classifier": dense(keys[1], (16, 2)),
        "discriminator": dense(keys[2], (16, 32, 2)),
    }
    optimiser = optax.adamw(optax.cosine_decay_schedule(3e-3, STEPS), weight_decay=1e-2)
    domain = jnp.repeat(jnp.arange(2), POINTS)

    def loss(params: Any, lambda_: jax.Array) -> jax.Array:
        of_source, of_target = represent(params, source), represent(params, target)
        risk = optax.softmax_cross_entropy_with_integer_labels(
            forward(params["classifier"], of_source), label
        ).mean()
        both = gradient_reversal(jnp.concatenate([of_source, of_target]), lambda_)
        return (
            risk
            + optax.softmax_cross_entropy_with_integer_labels(
                forward(params["discriminator"], both), domain
            ).mean()
        )

    def step(carry: tuple[Any, Any], progress: jax.Array) -> tuple[tuple[Any, Any], None]:
        params, state = carry
        updates, state = optimiser.update(
            jax.grad(loss)(params, strength * ganin(progress)), state, params
        )
        return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jax.lax.scan(step, (params, optimiser.init(params)), jnp.linspace(0, 1, STEPS))
    return params


def draw_toy() -> Path:
    """Where the classifier draws its line, without and with gradient reversal.

    Shown is the seed with the median accuracy.
    """
    source, label = toy(jax.random.key(0), 0.0)
    target, truth = toy(jax.random.key(1), 35.0)
    figure = empty(8.5, 3.9, "")
    grid = jnp.stack(jnp.meshgrid(jnp.linspace(-1.6, 2.6, 200), jnp.linspace(-1.3, 1.8, 200)), -1)
    train = jax.jit(jax.vmap(trained, (0, None, None, None, None)))
    names = (("source only", 0.0), ("with gradient reversal", 1.0))
    for axes, (name, strength) in zip(figure.subplots(1, 2, sharey=True), names, strict=True):
        seeds = train(jax.random.split(jax.random.key(0), SEEDS), strength, source, label, target)
        right = jax.vmap(lambda params: (answers(params, target) == truth).mean())(seeds)
        print(
            f"{name}: accuracy on the target, by seed: "
            f"{', '.join(f'{r:.3f}' for r in sorted(right.tolist()))}"
        )
        median = jnp.argsort(right)[SEEDS // 2]
        shade = answers(jax.tree.map(lambda leaf, median=median: leaf[median], seeds), grid)
        axes.contourf(
            grid[..., 0], grid[..., 1], shade, levels=[-0.5, 0.5, 1.5], colors=CLASSES, alpha=0.13
        )
        for k, colour in enumerate(CLASSES):
            axes.scatter(*source[label == k][::2].T, s=12, color=colour, linewidths=0, alpha=0.9)
            axes.scatter(
                *target[truth == k][::2].T,
                s=14,
                facecolors="none",
                edgecolors=colour,
                linewidths=0.9,
            )
        axes.set_title(f"{name}: {right[median]:.0%} of the target right", fontsize=11, loc="left")
        axes.set_xticks([])
        axes.set_yticks([])
    legend = "dots: source, labelled.  rings: target, unlabelled.  shade: the network's prediction"
    figure.supxlabel(legend, fontsize=9)
    return save(figure, FOLDER / "method-toy.png")


def box(
    axes: Axes, x: float, y: float, text: str, colour: str, width: float = 1.5, height: float = 0.62
) -> None:
    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2),
            width,
            height,
            boxstyle="round,pad=0.05",
            facecolor="white",
            edgecolor=colour,
            linewidth=1.8,
        )
    )
    axes.text(x, y, text, ha="center", va="center", fontsize=10)


def arrow(
    axes: Axes,
    start: tuple[float, float],
    stop: tuple[float, float],
    colour: str,
    dashed: bool = False,
    bend: float = 0,
) -> None:
    axes.add_patch(
        FancyArrowPatch(
            start,
            stop,
            arrowstyle="-|>",
            mutation_scale=14,
            color=colour,
            linewidth=1.8,
            shrinkA=0,
            shrinkB=0,
            linestyle=(0, (4, 3)) if dashed else "-",
            connectionstyle=f"arc3,rad={bend}",
        )
    )


def draw_flow() -> Path:
    """How the two corpora pass through the network, and how gradients come back."""
    figure = empty(10, 4.0, "")
    axes = figure.subplots()
    axes.set_xlim(0, 9.8)
    axes.set_ylim(0.2, 3.8)
    axes.axis("off")
    box(axes, 1.0, 3.0, "source audio,\nlabelled", SOURCE)
    box(axes, 1.0, 1.0, "target audio,\nno labels", TARGET)
    box(axes, 3.1, 2.0, "features,\nnormalised\nby speaker", "#555555", height=0.95)
    box(axes, 5.2, 2.0, "encoder", "#555555", 1.4)
    box(axes, 8.1, 3.2, "classifier: which emotion?", "#D55E00", 2.9)
    box(axes, 8.1, 0.8, "discriminator: which corpus?", "#CC3311", 2.9)
    for y, colour in ((3.0, SOURCE), (1.0, TARGET)):
        arrow(axes, (1.82, y), (2.28, 2.0 + 0.25 * np.sign(y - 2)), colour)
    for offset, colour in ((0.12, SOURCE), (-0.12, TARGET)):
        arrow(axes, (3.92, 2.0 + offset), (4.42, 2.0 + offset), colour)
    arrow(axes, (5.98, 2.2), (6.58, 3.0), SOURCE)
    arrow(axes, (5.98, 2.0), (6.62, 1.2), SOURCE)
    arrow(axes, (5.98, 1.8), (6.58, 0.95), TARGET)
    arrow(axes, (6.58, 3.4), (5.0, 2.42), "#D55E00", dashed=True, bend=0.3)
    arrow(axes, (6.58, 0.6), (5.0, 1.58), "#CC3311", dashed=True, bend=-0.3)
    axes.text(5.0, 3.5, "gradient", fontsize=10, color="#D55E00", ha="center")
    axes.text(5.0, 0.38, "gradient times −λ", fontsize=10, color="#CC3311", ha="center")
    return save(figure, FOLDER / "method-flow.png")


def draw_co_training(data_dir: Path) -> Path:
    """How many target labels are right after each step of co-training, on the demo corpus."""
    config = load_config("best", [("source", "demo:en"), ("target", "demo:zh")])
    corpus = [
        corpora.load(spec, config.emotions, data_dir) for spec in (config.source, config.target)
    ]
    settings = make_feature_settings(config)
    source, target = (pairs.load_domain(c, settings, features_folder(data_dir)) for c in corpus)
    pair = pairs.make_direction(source, target, settings)
    both = ((pair.source_frames, source), (pair.target_frames, target))
    statistics = [
        batches.take_vectors(frames, np.arange(len(domain.emotion))) for frames, domain in both
    ]

    labels = jax.nn.one_hot(source.emotion, len(config.emotions))

    def right(first: int, second: int) -> float:
        rounds = [("co_training.rounds_first", str(first)), ("co_training.rounds", str(second))]
        label = co_training(**load_config("best", rounds).co_training).initial_labels
        assert label is not None
        found = label(jax.random.key(0), statistics[0], labels, statistics[1])
        return float((np.asarray(found).argmax(-1) == target.emotion).mean())

    firsts, seconds = (0, 1, 2, 3, 5, 10), (1, 2, 3, 4, 5, 6)
    values = [right(n, 0) for n in firsts] + [right(10, n) for n in seconds]
    figure = empty(7.5, 3.6, "")
    axes = tidy(figure.subplots())
    axes.plot(
        range(len(firsts)),
        values[: len(firsts)],
        "o-",
        color=SOURCE,
        label="view one: prosody, fitted on source and target",
    )
    second = range(len(firsts) - 1, len(values))
    axes.plot(
        second,
        values[len(firsts) - 1 :],
        "o--",
        color=TARGET,
        label="view two: all statistics, fitted on the target",
    )
    axes.set_xticks(range(len(values)), [*map(str, firsts), *map(str, seconds)])
    axes.set_xlabel("rounds of view one, then of view two")
    axes.set_ylabel("pseudo-labels that are right")
    axes.legend(frameon=False, loc="lower right")
    return save(figure, FOLDER / "method-co-training.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, default=Path("~/tensorflow_datasets").expanduser())
    given = parser.parse_args()
    for path in (draw_flow(), draw_toy(), draw_co_training(given.data_dir)):
        print(path)


if __name__ == "__main__":
    main()
