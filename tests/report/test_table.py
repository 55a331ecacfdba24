import io

import numpy as np
import pytest
from rich.console import Console

from jdann.evaluation import metrics
from jdann.report import table

EMOTIONS = ("neutral", "happy", "angry", "sad", "surprise")
DEMO = "DEMO CORPUS (synthesised speech): proves the pipeline, says nothing about people"


def _scores(uar, confused_with=1):
    """Twenty utterances of each emotion; the share `uar` of them is recognised."""
    emotion = np.repeat(np.arange(5), 20)
    right = np.tile(np.arange(20) < round(uar * 20), 5)
    scores = metrics.score(
        emotion, np.where(right, emotion, (emotion + confused_with) % 5), [None] * 100, 5
    )
    assert scores is not None
    return scores


def _results(seeds=2, synthetic=False, names=("esd:en", "esd:zh")):
    uars = {
        ("source_only", "last"): 0.3,
        ("source_only", "oracle"): 0.35,
        ("dann", "last"): 0.4,
        ("dann", "source_risk"): 0.45,
        ("dann", "oracle"): 0.6,
        ("supervised, random split", "last"): 0.9,
        ("svm", "last"): 0.25,
    }
    rows = [
        metrics.row(
            method,
            "conv1d",
            names,
            selection,
            "within target" if method.startswith("supervised") else "transductive",
            [_scores(uar + 0.1 * seed) for seed in range(seeds)],
            EMOTIONS,
        )
        for (method, selection), uar in uars.items()
    ]
    rows[2]["uar_gain"] = metrics.paired_gain(rows[2]["uar"]["values"], rows[0]["uar"]["values"])
    share = dict(zip(EMOTIONS, (0.5, 0.2, 0.1, 0.1, 0.1), strict=True))
    return {
        "title": "ESD, English -> ESD, Mandarin",
        "synthetic": synthetic,
        "protocol": "transductive",
        "seeds": list(range(seeds)),
        "emotions": list(EMOTIONS),
        "directions": [
            {side: {"name": name} for side, name in zip(("source", "target"), names, strict=True)}
        ],
        "rows": rows,
        "predicted_share": [
            {
                "method": "dann",
                "encoder": "conv1d",
                "source": names[0],
                "target": names[1],
                "share": share,
            }
        ],
    }


def _printed(results, width=200):
    console = Console(file=io.StringIO(), width=width)
    console.print(table.render(results))
    return console.file.getvalue()


def _cells(results):
    """The Markdown table: each method's row as a dict by column."""
    lines = [line for line in table.markdown(results).splitlines() if line.startswith("|")]
    header, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return {row[0]: dict(zip(header, row, strict=True)) for row in rows}


def test_selections_stand_side_by_side():
    dann = _cells(_results())["dann"]
    assert (
        dann["direction"] == "esd:en → esd:zh"
        and dann["n"] == "100"
        and dann["encoder"] == "conv1d"
    )
    assert dann["UAR, last"] == ".450 ±.071"
    assert dann["UAR, source risk"].strip("*") == ".500 ±.071"
    assert dann["UAR, oracle (not achievable)"] == ".650 ±.071"
    assert dann["gain over source only"] == "+.100 ±.000"
    assert dann["accuracy"] == dann["UAR, last"]  # the classes are balanced
    assert list(dann)[:4] == ["method", "encoder", "direction", "n"]


def test_only_the_best_score_without_target_labels_is_marked():
    rows = _cells(_results())
    marked = [
        (method, name) for method, row in rows.items() for name, cell in row.items() if "**" in cell
    ]
    assert marked == [("dann", "UAR, source risk")]
    assert rows["svm"]["UAR, source risk"] == "–"


def test_one_seed_has_no_spread():
    assert _cells(_results(seeds=1))["dann"]["UAR, last"] == ".400"


@pytest.mark.parametrize("form", [_printed, table.markdown])
def test_both_forms_say_what_the_figures_are(form):
    text = form(_results(synthetic=True))
    assert "ESD, English -> ESD, Mandarin" in text
    assert "transductive: adapted to all" in text and "seeds 0, 1" in text
    assert DEMO in text and DEMO not in form(_results())
    assert ".450 ±.071" in text and "oracle (not achievable)" in text.replace("\n", " ")
    assert "chance: UAR .200;" in text
    assert "Nothing could be scored" not in text


@pytest.mark.parametrize(
    "adapted, words",
    [
        ({}, "scored on a corpus that was chosen after training"),
        ({"adapted_utterances": 0}, "scored on another corpus, of which no audio was adapted to"),
        ({"adapted_utterances": 3}, "3 of its 9 utterances were adapted to without labels"),
    ],
)
def test_an_evaluation_says_what_was_adapted_to(adapted, words):
    results = _results() | {"protocol": "elsewhere"} | adapted
    results["directions"][0]["target"]["utterances"] = 9
    text = table.markdown(results)
    assert words in text
    assert ("another corpus" in text) == (adapted == {"adapted_utterances": 0})


@pytest.mark.parametrize("form", [_printed, table.markdown])
def test_unlabelled_target_gets_predicted_shares(form):
    text = form({**_results(), "rows": []})
    assert "Nothing could be scored, because the target has no labels: esd:zh" in text
    assert "predictions.csv" in text
    assert "predicted neutral" in text and "50.0%" in text
    assert "UAR" not in text


def test_different_corpora_are_named_as_such():
    assert "different corpora" not in table.markdown(_results())
    assert "different corpora" in table.markdown(_results(names=("ravdess.csv", "casia.csv")))


def test_narrow_terminals_lose_no_number():
    narrow = _printed(_results(), width=80)
    assert max(len(line) for line in narrow.splitlines()) <= 80
    assert "…" not in narrow and "source_only" in narrow
    assert narrow.count("±.071") == _printed(_results()).count("±.071") == 15


def test_brackets_in_names_are_text():
    results = _results(names=("my [bold]corpus.csv", "a|b.csv"))
    assert "my [bold]corpus.csv → a|b.csv" in _printed(results)
    assert r"a\|b.csv" in table.markdown(results)


def _with_intervals(resampled="speakers", count=4):
    results = _results()
    for row in results["rows"]:
        row["interval"] = {
            "level": 0.95,
            "resampled": resampled,
            "count": count,
            "uar": [row["uar"]["mean"] - 0.1, row["uar"]["mean"] + 0.1],
        }
        row["worst_speaker"] = {"name": "s3", "mean": 0.21, "std": 0.01}
        row["worst_emotion"] = {"name": "sad", "mean": 0.125, "std": None}
        row["per_gender"] = {"F": {"mean": 0.5, "std": None}, "M": {"mean": 0.4, "std": None}}
    dann = results["rows"][2]
    dann["uar_gain"]["interval"] = [-0.02, 0.22]
    dann["uar_over_baseline"] = {"mean": 0.2, "interval": [0.05, 0.35]}
    dann["oracle_gap"] = {"mean": 0.2, "std": 0.03}
    return results


def _details(results):
    """The table of details in Markdown: each method's row as a dict by column."""
    lines = [line for line in table.markdown(results).splitlines() if line.startswith("|")]
    start = next(i for i, line in enumerate(lines) if "worst speaker" in line)
    header, _, *rows = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines[start:]
    )
    return {row[0]: dict(zip(header, row, strict=True)) for row in rows}


def test_an_interval_stands_beside_the_score():
    text = table.markdown(_with_intervals())
    header = next(line for line in text.splitlines() if line.startswith("| method"))
    assert "| UAR, last | 95% interval, last | UAR, source risk |" in header
    assert "| .450 ±.071 | .350 to .550 |" in text


def test_details_name_the_weakest_groups_and_the_oracle_gap():
    row = _details(_with_intervals())["dann"]
    assert row["gain over source only, 95%"] == "-.020 to +.220"
    assert row["gain over svm, 95%"] == "+.200 (+.050 to +.350)"
    assert row["worst speaker (accuracy)"] == "s3 .210"
    assert row["worst emotion (recall)"] == "sad .125"
    assert row["gap between genders (UAR)"] == ".100 (M lower)"
    assert row["oracle gap (not achievable)"] == ".200 ±.030"


@pytest.mark.parametrize("form", [_printed, table.markdown])
@pytest.mark.parametrize(
    "resampled, words",
    [
        ("speakers", "95% interval: for other speakers like these 4, who were resampled"),
        ("clips", "because too few speakers are known"),
    ],
)
def test_a_note_says_what_was_resampled(form, resampled, words):
    assert words in " ".join(form(_with_intervals(resampled)).split())


def test_results_of_earlier_versions_have_no_empty_columns():
    text = table.markdown(_results())
    assert "95%" not in text and "worst" not in text


def test_details_fit_a_narrow_terminal():
    narrow = _printed(_with_intervals(), width=80)
    assert max(len(line) for line in narrow.splitlines()) <= 80 and "…" not in narrow


def _labelled(**changes):
    results = _with_intervals()
    plan = {
        "interval_of_these_speakers": [0.4, 0.5],
        "wanted_half_width": 0.05,
        "more_labels": 80,
        "more_speakers": 12,
    } | changes
    results["rows"] = [row | {"labels": plan} for row in results["rows"][2:3]]
    return results | {
        "labels": {"file": "labels.csv", "weighted": False, "other_labels": 0},
        "adapted_utterances": 100,
    }


@pytest.mark.parametrize(
    "results, words",
    [
        (_labelled(), "adapted to all 100 clips, without their labels"),
        (_labelled() | {"adapted_utterances": 0}, "did not adapt to any of the 100 clips"),
        (_labelled() | {"adapted_utterances": 3}, "adapted to 3 of the 100 clips"),
        (_labelled() | {"adapted_utterances": None}, "It is not known whether"),
        (_labelled(), "about 80 more labels would narrow it to ±.05"),
        (_labelled(), "dann: for these 4 speakers alone .400 to .500"),
        (_labelled(), "for other speakers, that takes 12 more speakers"),
        (_labelled(more_labels=0), "there are enough labels for ±.05"),
        (
            _labelled(sets={"coverage": 0.9, "level": 0.975, "mean_size": 2.14}),
            "With --sets 0.975, jdann predict names 2.1 emotions per clip on average. The right "
            "one is among them for 90% of clips like these",
        ),
        (_labelled(more_speakers=None), "dann: about 80 more labels"),
    ],
)
def test_labelled_clips_say_what_they_tell(results, words):
    assert words in table.markdown(results)
