"""Figures of the corpora and of the scores.

Every function returns a `matplotlib.figure.Figure` and leaves no global state; `save` writes it. Emotions, domains and
methods have the same colours everywhere (Okabe & Ito's and Tol's palettes, made for colour-blind readers).
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
_LONGEST_NAME = 16  # characters of a name that a figure shows
_WIDEST_INCHES = 14.0
_NAME_INCHES = 0.2  # of the axis, for one upright name


def save(figure: "Figure", path: str | Path) -> Path:
    """Writes a figure as PNG, 160 dots per inch, so that the file is never half written.

    Args:
      figure: what to write.
      path: the file; its folder is made where needed.

    Returns:
      The path.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        figure.savefig(part, format="png", dpi=160, facecolor="white")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def empty(width_inches: float, height_inches: float, title: str) -> "Figure":
    """An empty figure with a title, whose layout keeps labels from overlapping."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_inches, height_inches), layout="constrained")
    if title:
        figure.suptitle(plain(title), fontsize=13)
    return figure


def plain(name: str) -> str:
    """A name as text: matplotlib reads what stands between two dollar signs as a formula."""
    return name.replace("$", r"\$")


def short(name: str) -> str:
    """A name as an axis shows it; what is too long loses its middle."""
    if len(name) > _LONGEST_NAME:
        name = f"{name[: _LONGEST_NAME // 2 - 1]}…{name[-_LONGEST_NAME // 2 :]}"
    return plain(name)


def tidy(axes: "Axes", title: str = "") -> "Axes":
    """Removes the upper and right spine, and draws a faint grid behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_title(plain(title), fontsize=11, loc="left")
    return axes


def emotion_colour(emotion: str | None) -> str:
    """The colour of an emotion, or of None, for unlabelled."""
    return EMOTION_COLOURS.get(emotion, EMOTION_COLOURS["other"])


def in_order(emotions: Iterable[str | None]) -> list[str | None]:
    """Each emotion once, in the order of the colours, unlabelled last."""
    order = list(EMOTION_COLOURS)
    return sorted(
        set(emotions),
        key=lambda name: (order.index(name) if name in order[:-1] else len(order), name or ""),
    )


def method_colours(methods: Iterable[str]) -> dict[str, str]:
    """A colour for each method ("dann", or "dann, conv1d"): its own where it has one, else the next free one."""
    others = cycle(_OTHER_METHODS)
    colours: dict[str, str] = {}
    for method in methods:
        own = _METHOD_COLOURS.get(method.split(",")[0])
        colours[method] = own if own and own not in colours.values() else next(others)
    return colours


def _name_ticks(axes: "Axes", figure: "Figure", names: Sequence[str]) -> None:
    """Names along the horizontal axis: upright where they would not fit side by side, then every second, third, ..."""
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
) -> "Figure":
    """How many utterances of each emotion the two domains have.

    Args:
      source_counts: utterances by emotion; None: unlabelled.
      target_counts: the same of the target.
      names: the corpora of source and target in plain words.

    Returns:
      One group of two bars for each emotion, its count above each bar.
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
) -> "Figure":
    """How many utterances each speaker of the two domains has, by emotion.

    Args:
      source_counts: utterances by speaker (None: unknown), then by emotion (None: unlabelled).
      target_counts: the same of the target.
      names: the corpora of source and target in plain words.

    Returns:
      Two panels, source above target, one bar for each speaker, stacked by emotion.
    """
    from matplotlib.patches import Patch
    from matplotlib.ticker import MaxNLocator

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
            # Few speakers would otherwise make bars as wide as a hand.
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
    matrix: Sequence[Sequence[int]] | np.ndarray, emotions: Sequence[str], title: str
) -> "Figure":
    """A confusion matrix, each row divided by its sum.

    Args:
      matrix: [classes, classes] int, rows: label, columns: prediction; may be summed over seeds.
      emotions: the names of the classes.
      title: what was scored.

    Returns:
      One panel; each cell shows the part of its row (recall, on the diagonal) above the count.
    """
    counts = np.asarray(matrix)
    total = counts.sum(1, keepdims=True)
    part = np.divide(counts, total, out=np.zeros(counts.shape), where=total > 0)
    size = 2.6 + 0.85 * len(emotions)
    figure = empty(size + 1.0, size, title)
    axes = figure.subplots()
    image = axes.imshow(part, cmap="Blues", vmin=0, vmax=1)
    for label, prediction in np.ndindex(*counts.shape):
        text = (
            f"{part[label, prediction]:.2f}\n{counts[label, prediction]}"
            if total[label, 0]
            else "–"
        )
        colour = "white" if part[label, prediction] > 0.65 else "black"
        axes.text(prediction, label, text, ha="center", va="center", color=colour, fontsize=10)
    shown = [short(emotion) for emotion in emotions]
    axes.set_xticks(range(len(emotions)), shown, rotation=30 if len(emotions) > 6 else 0)
    axes.set_yticks(range(len(emotions)), shown)
    axes.set_xlabel("predicted")
    axes.set_ylabel("labelled")
    figure.colorbar(image, ax=axes, shrink=0.8, label="part of the labelled utterances")
    return figure


def per_speaker(scores: Mapping[str, Mapping[str, Mapping[str, Any]]], title: str) -> "Figure":
    """Accuracy of each target speaker.

    Args:
      scores: by method, the `per_speaker` of its row of results.json: {speaker: {"mean": ..., "std": ... or None}}.
      title: which direction, in plain words.

    Returns:
      One group of bars for each speaker, one bar for each method, with the standard deviation over seeds.
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
