"""Figures of the corpora and of the scores.

Every function returns a `matplotlib.figure.Figure` and changes no global state; `save` writes it.
An emotion, a domain or a method has the same colour in every figure. The colours come from the
palettes of Okabe & Ito and of Tol, which colour-blind readers can tell apart.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from math import ceil
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from jdann import files

DOMAIN_COLOURS = ("#332288", "#44AA99")  # source, target
EMOTION_COLOURS = {
    "neutral": "#8C8C8C",
    "happy": "#E69F00",
    "angry": "#D55E00",
    "sad": "#0072B2",
    "surprise": "#009E73",
    "fearful": "#CC79A7",
    "disgust": "#6B4C1E",
    "calm": "#56B4E9",
    "boredom": "#B8A800",
    "contempt": "#6A3D9A",
    "excited": "#F0E442",
    "frustrated": "#8B0000",
    "anxious": "#9C7BB5",
    "amused": "#FFB3A7",
    "sleepy": "#1F3A5F",
    "sarcastic": "#A6CE39",
    "other": "#444444",
    None: "#DDDDDD",  # unlabelled
}
_METHOD_COLOURS = {
    "source_only": "#555555",
    "dann": "#CC3311",
    "supervised": "#DDAA33",
    "svm": "#0077BB",
}
_OTHER_METHODS = (
    "#009988",
    "#AA4499",
    "#999933",
    "#33BBEE",
    "#EE7733",
    "#332288",
    "#882255",
    "#117733",
)
_LONGEST_NAME = 16  # characters of a name on an axis; a longer name is shortened
_WIDEST_INCHES = 14.0
_NAME_INCHES = 0.2  # width that one upright name needs on the axis
_TITLE_CHARACTERS_PER_INCH = 8.5  # at the size of a figure's title
_MARGIN_INCHES = 0.12  # around everything, so that the edge of the image cuts off no label


def save(figure: Figure, path: str | Path) -> Path:
    """Writes a figure as PNG with 160 dots per inch; a reader never finds half of a file.

    Args:
      figure: the figure to write.
      path: the file; its folder is created if it does not exist.

    Returns:
      The path.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=160, facecolor="white")
    files.write_bytes(path, image.getvalue())
    return path


def empty(width_inches: float, height_inches: float, title: str) -> Figure:
    """An empty figure with a title; its layout keeps labels from overlapping."""
    figure = Figure(figsize=(width_inches, height_inches), layout="constrained")
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.set(w_pad=_MARGIN_INCHES, h_pad=_MARGIN_INCHES)  # pyright: ignore[reportCallIssue]
    if title:
        lines = fill(plain(title), int(width_inches * _TITLE_CHARACTERS_PER_INCH))
        figure.suptitle(lines, fontsize=13)
    return figure


def plain(name: str) -> str:
    """A name as plain text: matplotlib would read text between two dollar signs as a formula."""
    return name.replace("$", r"\$")


def short(name: str) -> str:
    """A name as an axis shows it: the middle of a long name is left out."""
    if len(name) > _LONGEST_NAME:
        name = f"{name[: _LONGEST_NAME // 2 - 1]}…{name[-_LONGEST_NAME // 2 :]}"
    return plain(name)


def tidy(axes: Axes, title: str = "") -> Axes:
    """Removes the upper and the right spine and draws a faint grid behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_title(plain(title), fontsize=11, loc="left")
    return axes


def emotion_colour(emotion: str | None) -> str:
    """The colour of an emotion; None stands for unlabelled utterances."""
    return EMOTION_COLOURS.get(emotion, EMOTION_COLOURS["other"])


def in_order(emotions: Iterable[str | None]) -> list[str | None]:
    """Each emotion once, in the order of EMOTION_COLOURS; unlabelled comes last."""
    order = list(EMOTION_COLOURS)

    def place(emotion: str | None) -> tuple[int, str]:
        known = emotion in EMOTION_COLOURS and emotion is not None
        return (order.index(emotion) if known else len(order), emotion or "")

    return sorted(set(emotions), key=place)


def method_colours(methods: Iterable[str]) -> dict[str, str]:
    """A colour for each method, such as "dann" or "dann, conv1d".

    Well-known methods have a fixed colour; every other method gets the next free one.
    """
    free = cycle(_OTHER_METHODS)
    colours: dict[str, str] = {}
    for method in methods:
        fixed = _METHOD_COLOURS.get(method.split(",")[0])
        colours[method] = fixed if fixed and fixed not in colours.values() else next(free)
    return colours


def _name_ticks(axes: Axes, figure: Figure, names: Sequence[str]) -> None:
    """Writes names along the horizontal axis.

    Names that do not fit side by side are upright. If upright names do not fit either, only every
    second (third, ...) name is written.
    """
    inches = figure.get_figwidth() * 0.85
    upright = sum(len(short(name)) for name in names) * 0.09 > inches
    every = ceil(len(names) * _NAME_INCHES / inches)
    axes.set_xticks(
        range(0, len(names), every),
        [short(name) for name in names[::every]],
        rotation=90 if upright else 0,
    )
    axes.set_xlim(-0.6, len(names) - 0.4)


def class_distribution(
    source_counts: Mapping[str | None, int],
    target_counts: Mapping[str | None, int],
    names: tuple[str, str],
) -> Figure:
    """Shows how many utterances of each emotion the two domains have.

    Args:
      source_counts: number of source utterances per emotion; None stands for unlabelled.
      target_counts: the same for the target.
      names: descriptions of the source corpus and the target corpus.

    Returns:
      A figure with a group of two bars for each emotion and the count above each bar.
    """
    emotions = in_order([*source_counts, *target_counts])
    figure = empty(
        min(max(7.5, 1.5 + 1.1 * len(emotions)), _WIDEST_INCHES), 4.2, "Utterances of each emotion"
    )
    axes = tidy(figure.subplots())
    for side, (counts, role) in enumerate(((source_counts, "source"), (target_counts, "target"))):
        heights = [counts.get(emotion, 0) for emotion in emotions]
        bars = axes.bar(
            np.arange(len(emotions)) + 0.4 * side - 0.2,
            heights,
            width=0.38,
            color=DOMAIN_COLOURS[side],
            label=f"{role}: {plain(names[side])} ({sum(heights)})",
        )
        axes.bar_label(bars, fontsize=9, padding=2)
    _name_ticks(axes, figure, [emotion or "unlabelled" for emotion in emotions])
    axes.set_ylabel("utterances")
    figure.legend(loc="outside lower center", ncols=1, frameon=False)
    return figure


def speaker_distribution(
    source_counts: Mapping[str | None, Mapping[str | None, int]],
    target_counts: Mapping[str | None, Mapping[str | None, int]],
    names: tuple[str, str],
) -> Figure:
    """Shows how many utterances each speaker of the two domains has, by emotion.

    Args:
      source_counts: number of source utterances per speaker (None: unknown speaker) and then per
        emotion (None: unlabelled).
      target_counts: the same for the target.
      names: descriptions of the source corpus and the target corpus.

    Returns:
      A figure with two panels, the source above the target. Each speaker has one bar, which is
      stacked by emotion.
    """
    counts = (source_counts, target_counts)
    most = max(len(speakers) for speakers in counts)
    figure = empty(
        min(max(8.5, 1.5 + 0.3 * most), _WIDEST_INCHES), 6.5, "Utterances of each speaker"
    )
    emotions = in_order(
        emotion for speakers in counts for by_emotion in speakers.values() for emotion in by_emotion
    )
    for axes, speakers, role, name in zip(
        figure.subplots(2), counts, ("source", "target"), names, strict=True
    ):
        tidy(axes, f"{role}: {name}")
        ordered = sorted(speakers, key=lambda speaker: (speaker is None, speaker))
        bottom = np.zeros(len(ordered))
        for emotion in emotions:
            heights = np.array([speakers[speaker].get(emotion, 0) for speaker in ordered])
            # With few speakers the bars would otherwise be very wide.
            axes.bar(
                range(len(ordered)),
                heights,
                min(0.8, 0.1 * len(ordered)),
                bottom,
                color=emotion_colour(emotion),
            )
            bottom += heights
        _name_ticks(axes, figure, [speaker or "unknown" for speaker in ordered])
        axes.set_ylabel("utterances")
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    handles = [
        Patch(color=emotion_colour(emotion), label=emotion or "unlabelled") for emotion in emotions
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(len(handles), 8), frameon=False
    )
    return figure


def confusion(
    matrix: Sequence[Sequence[int]] | np.ndarray,
    emotions: Sequence[str],
    title: str,
    seeds: int = 1,
) -> Figure:
    """Draws a confusion matrix in which each row is divided by its sum.

    Args:
      matrix: [classes, classes] int, counts summed over the seeds; rows: label, columns:
        prediction.
      emotions: the names of the classes.
      title: what was scored.
      seeds: how many seeds `matrix` is summed over, at least 1.

    Returns:
      A figure with one panel. Each cell shows its share of the row (on the diagonal: the recall)
      above the number of utterances, which is the mean over the seeds.
    """
    counts = np.asarray(matrix)
    total = counts.sum(1, keepdims=True)
    share = np.divide(counts, total, out=np.zeros(counts.shape), where=total > 0)
    size = 2.6 + 0.85 * len(emotions)
    figure = empty(size + 1.5, size + 0.5, title)
    axes = figure.subplots()
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for label, prediction in np.ndindex(*counts.shape):
        mean_count = float(counts[label, prediction]) / seeds
        number = f"{mean_count:.0f}" if mean_count.is_integer() else f"{mean_count:.1f}"
        text = f"{share[label, prediction]:.2f}\n{number}" if total[label, 0] else "–"
        colour = "white" if share[label, prediction] > 0.65 else "black"
        axes.text(prediction, label, text, ha="center", va="center", color=colour, fontsize=10)
    shown = [short(emotion) for emotion in emotions]
    axes.set_xticks(range(len(emotions)), shown, rotation=30 if len(emotions) > 6 else 0)
    axes.set_yticks(range(len(emotions)), shown)
    axes.set_xlabel("predicted")
    axes.set_ylabel("labelled")
    counted = f"utterances, mean over {seeds} seeds" if seeds > 1 else "utterances"
    axes.set_title(f"share of the row; below it: {counted}", fontsize=9, color="#555555")
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the labelled utterances")
    return figure


def per_speaker(scores: Mapping[str, Mapping[str, Mapping[str, Any]]], title: str) -> Figure:
    """Draws the accuracy of each target speaker.

    Args:
      scores: for each method the `per_speaker` of its row in results.json, which is
        {speaker: {"mean": float, "std": float or None}}.
      title: names the direction.

    Returns:
      A figure with a group of bars for each speaker. Each method has one bar, with a line for the
      standard deviation over the seeds.
    """
    speakers = sorted({speaker for by_speaker in scores.values() for speaker in by_speaker})
    figure = empty(min(max(7.5, 2 + 0.2 * len(speakers) * len(scores)), _WIDEST_INCHES), 4.6, title)
    axes = tidy(figure.subplots())
    width = min(0.8 / len(scores), 0.25)
    highest = 0.0
    for index, (method, colour) in enumerate(method_colours(scores).items()):
        values = [
            scores[method].get(speaker, {"mean": np.nan, "std": None}) for speaker in speakers
        ]
        means = np.array([value["mean"] for value in values])
        stds = np.array([value["std"] or 0.0 for value in values])
        place = np.arange(len(speakers)) + width * (index - (len(scores) - 1) / 2)
        axes.bar(place, means, width * 0.92, color=colour, label=plain(method))
        if stds.any():
            axes.errorbar(place, means, stds, linestyle="", color="black", linewidth=1)
            axes.set_xlabel("target speaker; lines: standard deviation over seeds")
        highest = max(highest, float(np.nanmax(means + stds)))
    _name_ticks(axes, figure, speakers)
    axes.set_ylim(0, min(1, highest + 0.05))
    axes.set_ylabel("accuracy")
    figure.legend(loc="outside lower center", ncols=min(len(scores), 6), frameon=False)
    return figure
