import math
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.colors import to_hex

from jdann.corpora.labels import EMOTIONS
from jdann.figures import plots, training

FIVE = ("neutral", "happy", "angry", "sad", "surprise")
NAMES = ("ESD, English", "ESD, Mandarin")


def _heights(container):
    return [bar.get_height() for bar in container]


def test_every_emotion_has_its_own_colour():
    colours = [plots.emotion_colour(emotion) for emotion in (*EMOTIONS, None)]
    assert len(set(colours)) == len(colours)


def test_class_distribution_shows_both_domains():
    figure = plots.class_distribution({"happy": 3, "sad": 5}, {"sad": 7, None: 2}, NAMES)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["happy", "sad", "unlabelled"]
    assert [_heights(bars) for bars in axes.containers] == [[3, 5, 0], [0, 7, 2]]
    assert [text.get_text() for text in figure.legends[0].texts] == [
        "source: ESD, English (8)",
        "target: ESD, Mandarin (9)",
    ]


@pytest.mark.parametrize("speakers", [1, 4, 50])
def test_speaker_distribution_stacks_emotions(speakers):
    source = {
        f"speaker with a long name {i:02d}": {e: i + j for j, e in enumerate(FIVE)}
        for i in range(speakers)
    }
    target = {None: {None: 9}, "$a$": {"sad": 4}}
    upper, lower = plots.speaker_distribution(source, target, NAMES).axes
    assert len(upper.containers) == 6  # five emotions, and unlabelled
    tops = [bar.get_y() + bar.get_height() for bar in upper.containers[-1]]
    assert tops == [sum(counts.values()) for counts in source.values()]
    assert [label.get_text() for label in lower.get_xticklabels()] == [r"\$a\$", "unknown"]
    assert (
        len({label.get_text() for label in upper.get_xticklabels()}) == speakers
    )  # shortened, still distinct
    sad = upper.containers[FIVE.index("sad")][0]
    assert to_hex(sad.get_facecolor()).upper() == plots.emotion_colour("sad").upper()


def test_many_speakers_leave_room_between_names(tmp_path):
    figure = plots.speaker_distribution(
        {f"{i:04d}": {"sad": 1} for i in range(500)}, {"a": {"sad": 1}}, NAMES
    )
    plots.save(figure, tmp_path / "a.png")
    boxes = [label.get_window_extent() for label in figure.axes[0].get_xticklabels()]
    assert all(left.x1 <= right.x0 for left, right in pairwise(boxes))


def test_confusion_cells_are_recall_and_count():
    figure = plots.confusion([[3, 1, 0], [2, 2, 0], [0, 0, 0]], ("happy", "sad", "angry"), "dann")
    axes = figure.axes[0]
    np.testing.assert_allclose(
        axes.images[0].get_array(), [[0.75, 0.25, 0], [0.5, 0.5, 0], [0, 0, 0]]
    )
    texts = [text.get_text() for text in axes.texts]
    assert texts == [
        "0.75\n3",
        "0.25\n1",
        "0.00\n0",
        "0.50\n2",
        "0.50\n2",
        "0.00\n0",
        "–",
        "–",
        "–",
    ]


def test_confusion_counts_are_the_mean_over_seeds():
    figure = plots.confusion([[6, 3], [0, 9]], ("happy", "sad"), "dann", seeds=3)
    axes = figure.axes[0]
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["0.67\n2", "0.33\n1", "0.00\n0", "1.00\n3"]
    assert "mean over 3 seeds" in axes.get_title()
    halves = plots.confusion([[3, 0], [0, 4]], ("happy", "sad"), "dann", seeds=2).axes[0]
    assert halves.texts[0].get_text() == "1.00\n1.5"


@pytest.mark.parametrize("classes", [2, 5, 9])
def test_no_label_of_a_confusion_matrix_is_cut_off(classes):
    title = "dann, conv1d, a long title that goes on: ravdess.csv -> casia.csv"
    names = [f"a long emotion {i}" for i in range(classes)]
    figure = plots.confusion(np.eye(classes, dtype=int), names, title)
    figure.draw_without_rendering()
    width, height = figure.bbox.width, figure.bbox.height
    axes, bar = figure.axes
    suptitle = figure.texts[0]
    for text in (axes.yaxis.label, axes.xaxis.label, bar.yaxis.label, axes.title, suptitle):
        box = text.get_window_extent()
        assert box.x0 >= 4 and box.x1 <= width - 4 and box.y0 >= 4 and box.y1 <= height - 4, text


def test_per_speaker_bars_and_spread():
    scores = {
        "source_only, conv1d": {"a": {"mean": 0.3, "std": 0.1}, "b": {"mean": 0.4, "std": 0.0}},
        "svm": {"a": {"mean": 0.5, "std": None}},
    }
    axes = plots.per_speaker(scores, "en -> zh").axes[0]
    bars = [c for c in axes.containers if not hasattr(c, "has_yerr")]
    assert _heights(bars[0]) == [0.3, 0.4]
    assert _heights(bars[1])[0] == 0.5 and math.isnan(_heights(bars[1])[1])
    spread = axes.collections[0].get_segments()[0]
    np.testing.assert_allclose(spread[:, 1], [0.2, 0.4])
    assert axes.get_ylim()[0] == 0 and 0.5 < axes.get_ylim()[1] <= 1


def test_a_method_has_one_colour_in_every_figure():
    assert (
        plots.method_colours(["dann"])["dann"]
        == plots.method_colours(["cdan", "dann, conv1d"])["dann, conv1d"]
    )
    several = plots.method_colours(["dann, conv1d", "dann, resnet50", "mcc", "coral"])
    assert len(set(several.values())) == 4


METHODS = ("source_only", "dann")


def _history(seeds=3, epochs=4):
    rows = []
    for method in METHODS:
        for seed in range(seeds):
            for epoch in range(1, epochs + 1):
                row = {
                    "method": method,
                    "encoder": "conv1d",
                    "direction": 0,
                    "fold": 0,
                    "seed": seed,
                    "epoch": epoch,
                }
                row |= {
                    "learning_rate": 1e-3,
                    "strength": 0.5,
                    "loss": epoch + seed,
                    "source_accuracy": 0.5,
                }
                domain_loss = 0.7 - 0.01 * seed if method == "dann" else float("nan")
                rows.append(row | {"domain_loss": domain_loss, "validation_uar": None})
    return rows


def _panel(figure, title):
    return next(axes for axes in figure.axes if axes.get_title(loc="left").startswith(title))


def test_training_curves_are_means_in_a_band():
    figure = training.training_curves(_history(), "Training")
    loss = _panel(figure, "total loss")
    assert [line.get_label() for line in loss.lines] == ["source_only", "dann"]
    np.testing.assert_allclose(loss.lines[0].get_xdata(), [1, 2, 3, 4])
    np.testing.assert_allclose(
        loss.lines[0].get_ydata(), [2, 3, 4, 5]
    )  # seeds 0, 1, 2 are added to the epoch
    band = loss.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == 1 and band[:, 1].max() == 6
    assert [text.get_text() for text in figure.legends[0].texts] == ["source_only", "dann"]


def test_domain_loss_is_shown_against_ln_2():
    figure = training.training_curves(_history())
    curve, reference = _panel(
        figure, "domain loss"
    ).lines  # source_only has no discriminator, so no curve
    assert curve.get_label() == "dann"
    np.testing.assert_allclose(reference.get_ydata(), np.log(2))
    assert "ln 2" in _panel(figure, "domain loss").get_title(loc="left")


def test_panels_without_values_and_lambdas_of_methods_without_one_are_not_drawn():
    rows = [
        row | {"strength": 0.0 if row["method"] == "source_only" else 0.5} for row in _history()
    ]
    rows += [row | {"method": "dsbn", "strength": 0.5} for row in rows if row["method"] == "dann"]
    figure = training.training_curves(rows)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert not any("validation" in title or "cross-entropy" in title for title in titles)
    assert all(axes.lines for axes in figure.axes) and len(titles) == 5
    assert [line.get_label() for line in _panel(figure, "lambda").lines] == ["dann"]
    legend = [text.get_text() for text in figure.legends[0].texts]
    assert legend == ["source_only", "dann", "dsbn"]


def test_a_history_without_values_is_drawn_without_an_error(tmp_path):
    rows = [{"method": "dann", "encoder": "conv1d", "epoch": 1, "seed": 0, "fold": "all"}]
    assert plots.save(training.training_curves(rows), tmp_path / "a.png").is_file()


def test_several_encoders_are_told_apart():
    rows = _history(seeds=1, epochs=1)
    rows += [{**row, "encoder": "resnet50"} for row in rows]
    lines = _panel(training.training_curves(rows), "total loss").lines
    names = [f"{method}, {encoder}" for encoder in ("conv1d", "resnet50") for method in METHODS]
    assert [line.get_label() for line in lines] == names


def test_tsne_keeps_clusters_and_shows_the_same_utterances():
    random = np.random.default_rng(0)
    cluster = random.integers(0, 2, 1200)
    points = random.normal(size=(1200, 8)) + 20 * cluster[:, None]
    layout, shown = training.tsne(points, seed=3)
    assert layout.shape == (training.TSNE_POINTS, 2) and (np.diff(shown) > 0).all()
    # The nearest neighbour of each point in the plane belongs to the same cluster.
    distance = ((layout[:, None] - layout[None]) ** 2).sum(-1) + 1e9 * np.eye(len(layout))
    assert (cluster[shown] == cluster[shown][distance.argmin(1)]).mean() > 0.99


@pytest.mark.parametrize("points", [np.ones((2, 5)), np.ones((40, 5)), np.eye(3)])
def test_tsne_of_few_or_constant_points(points):
    layout, shown = training.tsne(points, seed=0)
    assert np.isfinite(layout).all() and len(shown) == len(points)
    first, same = training.tsne(np.zeros((len(points), 9)), seed=0)
    assert (shown == same).all() and first.shape == layout.shape


def test_representations_are_coloured_by_domain_and_emotion():
    before, after = np.arange(8.0).reshape(4, 2), -np.arange(8.0).reshape(4, 2)
    figure = training.representations(
        before, after, ["en", "en", "zh", "zh"], ["sad", "happy", None, None]
    )
    by_domain, _, by_emotion, emotion_after = figure.axes
    assert len(figure.axes) == 4

    def colour(axes, point):
        dots = axes.collections[0]
        (index,) = np.flatnonzero((dots.get_offsets() == point).all(1))
        return to_hex(dots.get_facecolors()[index]).upper()

    assert colour(by_domain, (0, 1)) == plots.DOMAIN_COLOURS[0]
    assert colour(by_domain, (6, 7)) == plots.DOMAIN_COLOURS[1]
    assert colour(by_emotion, (0, 1)) == plots.emotion_colour("sad")
    assert colour(by_emotion, (4, 5)) == plots.emotion_colour(None)
    assert sorted(map(tuple, emotion_after.collections[0].get_offsets())) == sorted(
        map(tuple, after)
    )


def test_save_writes_a_whole_png_and_nothing_else(tmp_path):
    figure = plots.confusion([[1, 0], [0, 1]], ("happy", "sad"), "$ is no formula")
    path = plots.save(figure, tmp_path / "figures" / "confusion.png")
    assert path.read_bytes().startswith(b"\x89PNG") and path.read_bytes().endswith(
        b"IEND\xaeB`\x82"
    )
    assert [file.name for file in path.parent.iterdir()] == ["confusion.png"]


def test_a_figure_that_cannot_be_written_leaves_the_old_file(tmp_path):
    path = plots.save(plots.empty(2, 2, "old"), tmp_path / "a.png")
    old = path.read_bytes()
    broken = plots.empty(2, 2, "$\\frac$")
    broken.suptitle("$\\frac$")
    with pytest.raises(ValueError):
        plots.save(broken, path)
    assert path.read_bytes() == old and [file.name for file in tmp_path.iterdir()] == ["a.png"]
