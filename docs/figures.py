"""Draws the figures of docs/method.md.

    python docs/figures.py

The first figure is a drawing. The second one shows a toy problem, which is trained here. The third
one shows the demo corpus: co-training labels its Mandarin half.
"""

import argparse
from collections.abc import Callable
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
BOTH, CLASSIFIER, DISCRIMINATOR = "#555555", "#D55E00", "#CC3311"
POINTS, STEPS, SEEDS = 400, 2000, 7


Layers = list[tuple[jax.Array, jax.Array]]  # weight and bias of each layer


def make_crescents(key: jax.Array, degrees: float) -> tuple[jax.Array, jax.Array]:
    """Two crescents, turned about their middle.

    Returns:
      The points [POINTS, 2] and their class [POINTS].
    """
    angle_key, noise_key = jax.random.split(key)
    label = jnp.arange(POINTS) % 2
    angle = jnp.pi * jax.random.uniform(angle_key, (POINTS,))
    upper = jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1)
    lower = jnp.stack([1 - jnp.cos(angle), 0.5 - jnp.sin(angle)], -1)
    noise = 0.08 * jax.random.normal(noise_key, (POINTS, 2))
    points = jnp.where(label[:, None] == 0, upper, lower) + noise
    turn, middle = np.deg2rad(degrees), jnp.array([0.5, 0.25])
    rotation = jnp.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return (points - middle) @ rotation + middle, label


def init_layers(key: jax.Array, sizes: tuple[int, ...]) -> Layers:
    """Random dense layers; `sizes` are those of the inputs and of each layer."""
    keys = jax.random.split(key, len(sizes))
    return [
        (jax.random.normal(layer_key, (inputs, outputs)) * np.sqrt(2 / inputs), jnp.zeros(outputs))
        for layer_key, inputs, outputs in zip(keys, sizes, sizes[1:], strict=False)
    ]


def apply_layers(layers: Layers, x: jax.Array) -> jax.Array:
    """Dense layers with ReLU between them."""
    for weight, bias in layers[:-1]:
        x = jax.nn.relu(x @ weight + bias)
    weight, bias = layers[-1]
    return x @ weight + bias


def represent(params: Any, points: jax.Array) -> jax.Array:
    return jnp.tanh(apply_layers(params["encoder"], points))


def predict(params: Any, points: jax.Array) -> jax.Array:
    return apply_layers(params["classifier"], represent(params, points)).argmax(-1)


def init_networks(key: jax.Array) -> dict[str, Layers]:
    keys = jax.random.split(key, 3)
    return {
        "encoder": init_layers(keys[0], (2, 32, 16)),
        "classifier": init_layers(keys[1], (16, 2)),
        "discriminator": init_layers(keys[2], (16, 32, 2)),
    }


def train(
    key: jax.Array, strength: jax.Array, source: jax.Array, label: jax.Array, target: jax.Array
) -> Any:
    """Encoder, classifier and discriminator, trained with a gradient reversal of this strength."""
    optimiser = optax.adamw(optax.cosine_decay_schedule(3e-3, STEPS), weight_decay=1e-2)
    domain = jnp.repeat(jnp.arange(2), POINTS)
    cross_entropy = optax.softmax_cross_entropy_with_integer_labels

    def loss(params: Any, reversal: jax.Array) -> jax.Array:
        source_representation = represent(params, source)
        target_representation = represent(params, target)
        class_logits = apply_layers(params["classifier"], source_representation)
        source_risk = cross_entropy(class_logits, label).mean()
        representation = jnp.concatenate([source_representation, target_representation])
        reversed_representation = gradient_reversal(representation, reversal)
        domain_logits = apply_layers(params["discriminator"], reversed_representation)
        return source_risk + cross_entropy(domain_logits, domain).mean()

    def step(carry: tuple[Any, Any], progress: jax.Array) -> tuple[tuple[Any, Any], None]:
        params, state = carry
        gradients = jax.grad(loss)(params, strength * ganin(progress))
        updates, state = optimiser.update(gradients, state, params)
        return (optax.apply_updates(params, updates), state), None

    params = init_networks(key)
    start = (params, optimiser.init(params))
    (params, _), _ = jax.lax.scan(step, start, jnp.linspace(0, 1, STEPS))
    return params


def draw_toy() -> Path:
    """Where the classifier draws its line, without and with gradient reversal.

    The seed with the median accuracy is shown.
    """
    source, source_label = make_crescents(jax.random.key(0), 0.0)
    target, target_label = make_crescents(jax.random.key(1), 35.0)
    figure = empty(8.5, 3.9, "")
    train_seeds = jax.jit(jax.vmap(train, (0, None, None, None, None)))
    strengths = {"source only": 0.0, "with gradient reversal": 1.0}
    panels = zip(figure.subplots(1, 2, sharey=True), strengths.items(), strict=True)
    for axes, (name, strength) in panels:
        keys = jax.random.split(jax.random.key(0), SEEDS)
        params = train_seeds(keys, strength, source, source_label, target)
        accuracy = jax.vmap(lambda p: (predict(p, target) == target_label).mean())(params)
        by_seed = ", ".join(f"{value:.3f}" for value in sorted(accuracy.tolist()))
        print(f"{name}: accuracy on the target, by seed: {by_seed}")
        median = jnp.argsort(accuracy)[SEEDS // 2]
        draw_prediction(axes, jax.tree.map(lambda leaf, median=median: leaf[median], params))
        draw_points(axes, source, source_label, target, target_label)
        title = f"{name}: {accuracy[median]:.0%} of the target right"
        axes.set_title(title, fontsize=11, loc="left")
        axes.set_xticks([])
        axes.set_yticks([])
    legend = "dots: source, labelled.  rings: target, unlabelled.  shade: the network's prediction"
    figure.supxlabel(legend, fontsize=9)
    return save(figure, FOLDER / "method-toy.png")


def draw_prediction(axes: Axes, params: Any) -> None:
    """Shades the plane by the predicted class."""
    x, y = jnp.linspace(-1.6, 2.6, 200), jnp.linspace(-1.3, 1.8, 200)
    grid = jnp.stack(jnp.meshgrid(x, y), -1)  # [200, 200, 2]
    classes = predict(params, grid)
    levels = [-0.5, 0.5, 1.5]
    axes.contourf(grid[..., 0], grid[..., 1], classes, levels=levels, colors=CLASSES, alpha=0.13)


def draw_points(
    axes: Axes,
    source: jax.Array,
    source_label: jax.Array,
    target: jax.Array,
    target_label: jax.Array,
) -> None:
    """Draws every second point of each class."""
    for k, colour in enumerate(CLASSES):
        source_points = source[source_label == k][::2]
        target_points = target[target_label == k][::2]
        axes.scatter(*source_points.T, s=12, color=colour, linewidths=0, alpha=0.9)
        axes.scatter(*target_points.T, s=14, facecolors="none", edgecolors=colour, linewidths=0.9)


def draw_box(
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


def draw_arrow(
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
    draw_box(axes, 1.0, 3.0, "source audio,\nlabelled", SOURCE)
    draw_box(axes, 1.0, 1.0, "target audio,\nno labels", TARGET)
    draw_box(axes, 3.1, 2.0, "features,\nnormalised\nby speaker", BOTH, height=0.95)
    draw_box(axes, 5.2, 2.0, "encoder", BOTH, 1.4)
    draw_box(axes, 8.1, 3.2, "classifier: which emotion?", CLASSIFIER, 2.9)
    draw_box(axes, 8.1, 0.8, "discriminator: which corpus?", DISCRIMINATOR, 2.9)
    for y, colour in ((3.0, SOURCE), (1.0, TARGET)):
        draw_arrow(axes, (1.82, y), (2.28, 2.0 + 0.25 * np.sign(y - 2)), colour)
    for offset, colour in ((0.12, SOURCE), (-0.12, TARGET)):
        draw_arrow(axes, (3.92, 2.0 + offset), (4.42, 2.0 + offset), colour)
    draw_arrow(axes, (5.98, 2.2), (6.58, 3.0), SOURCE)
    draw_arrow(axes, (5.98, 2.0), (6.62, 1.2), SOURCE)
    draw_arrow(axes, (5.98, 1.8), (6.58, 0.95), TARGET)
    draw_arrow(axes, (6.58, 3.4), (5.0, 2.42), CLASSIFIER, dashed=True, bend=0.3)
    draw_arrow(axes, (6.58, 0.6), (5.0, 1.58), DISCRIMINATOR, dashed=True, bend=-0.3)
    axes.text(5.0, 3.5, "gradient", fontsize=10, color=CLASSIFIER, ha="center")
    axes.text(5.0, 0.38, "gradient times −λ", fontsize=10, color=DISCRIMINATOR, ha="center")
    return save(figure, FOLDER / "method-flow.png")


def draw_co_training(data_dir: Path) -> Path:
    """How many target labels are right after each step of co-training, on the demo corpus."""
    accuracy = make_label_accuracy(data_dir)
    rounds_of_first, rounds_of_second = (0, 1, 2, 3, 5, 10), (1, 2, 3, 4, 5, 6)
    values = [accuracy(rounds, 0) for rounds in rounds_of_first]
    values += [accuracy(rounds_of_first[-1], rounds) for rounds in rounds_of_second]
    figure = empty(7.5, 3.6, "")
    axes = tidy(figure.subplots())
    last_of_first = len(rounds_of_first) - 1  # the second line begins where the first one ends
    axes.plot(
        range(len(rounds_of_first)),
        values[: len(rounds_of_first)],
        "o-",
        color=SOURCE,
        label="view one: prosody, fitted on source and target",
    )
    axes.plot(
        range(last_of_first, len(values)),
        values[last_of_first:],
        "o--",
        color=TARGET,
        label="view two: all statistics, fitted on the target",
    )
    axes.set_xticks(range(len(values)), [*map(str, rounds_of_first), *map(str, rounds_of_second)])
    axes.set_xlabel("rounds of view one, then of view two")
    axes.set_ylabel("pseudo-labels that are right")
    axes.legend(frameon=False, loc="lower right")
    return save(figure, FOLDER / "method-co-training.png")


def make_label_accuracy(data_dir: Path) -> Callable[[int, int], float]:
    """A function from the rounds of view one and of view two to the accuracy of the labels."""
    config: Any = load_config("best", [("source", "demo:en"), ("target", "demo:zh")])
    settings = make_feature_settings(config)
    source, target = (
        pairs.load_domain(
            corpora.load(spec, config.emotions, data_dir), settings, features_folder(data_dir)
        )
        for spec in (config.source, config.target)
    )
    pair = pairs.make_direction(source, target, settings)
    source_statistics, target_statistics = (
        take_statistics(frames, len(domain.emotion))
        for frames, domain in ((pair.source_frames, source), (pair.target_frames, target))
    )
    source_labels = jax.nn.one_hot(source.emotion, len(config.emotions))

    def accuracy(rounds_of_first: int, rounds_of_second: int) -> float:
        overrides = [
            ("co_training.rounds_first", str(rounds_of_first)),
            ("co_training.rounds", str(rounds_of_second)),
        ]
        changed: Any = load_config("best", overrides)
        make_labels = co_training(**changed.co_training).initial_labels
        assert make_labels is not None
        labels = make_labels(jax.random.key(0), source_statistics, source_labels, target_statistics)
        return float((np.asarray(labels).argmax(-1) == target.emotion).mean())

    return accuracy


def take_statistics(frames: batches.Frames | batches.StoredFrames, count: int) -> Any:
    """The statistics [count, statistics] of all utterances."""
    assert isinstance(frames, batches.Frames)  # a recipe of statistics is small
    return batches.take_vectors(frames, np.arange(count))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, default=Path("~/tensorflow_datasets").expanduser())
    arguments = parser.parse_args()
    for path in (draw_flow(), draw_toy(), draw_co_training(arguments.data_dir)):
        print(path)


if __name__ == "__main__":
    main()
