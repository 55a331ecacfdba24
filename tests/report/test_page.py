"""The report is one self-contained page, for runs of every kind and for several runs."""

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from jdann import files
from jdann.cli import main
from jdann.errors import InputError
from jdann.report import card, gather, page, page_reliability
from tests.support.corpora import EMOTIONS, write_manifest
from tests.support.runs import arguments, read

VOID = {"meta", "img", "br", "line", "rect", "link", "input"}


class Page(HTMLParser):
    """The elements, the text and the tables of a page; every element must be closed."""

    def __init__(self, path: Path):
        super().__init__()
        self.open, self.tags, self.text, self.tables = [], [], [], []
        self.html = path.read_text(encoding="utf-8")
        self.feed(self.html)
        assert self.open == []
        self.words = " ".join(" ".join(self.text).split())

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if tag == "table":
            self.tables.append({"header": [], "caption": "", "rows": []})
        if tag == "tr":
            self.tables[-1]["rows"].append([])
        if tag in ("th", "td"):
            self.tables[-1]["rows"][-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.text.append(data)
        if "caption" in self.open:
            self.tables[-1]["caption"] += data
        elif self.open and self.open[-1] in ("th", "td"):
            self.tables[-1]["rows"][-1][-1] += data

    def elements(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def table(self, caption: str) -> list[list[str]]:
        return next(t["rows"] for t in self.tables if caption in t["caption"])


@pytest.fixture(scope="module")
def finished(finished_run, tmp_path_factory) -> Path:
    """A copy of the finished run, which gets a report."""
    return Path(shutil.copytree(finished_run, tmp_path_factory.mktemp("runs") / "finished"))


def check_self_contained(html: Page) -> None:
    """There is no script and no form, nothing is fetched, and a policy forbids it too."""
    assert not {tag for tag, _ in html.tags} & {"script", "link", "iframe", "object", "form"}
    for tag, attributes in html.tags:
        for name in ("src", "href", "srcset"):
            value = attributes.get(name, "")
            assert value.startswith(("data:", "#")) or not value, (tag, value[:80])
        assert not any(name.startswith("on") for name in attributes)
    assert "url(" not in html.html and "@import" not in html.html
    policy = next(
        a["content"]
        for a in html.elements("meta")
        if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert "default-src 'none'" in policy
    identities = [a["id"] for _, a in html.tags if "id" in a]
    assert len(identities) == len(set(identities))
    assert {a["href"][1:] for a in html.elements("a")} <= set(identities)
    assert all(a["alt"] for a in html.elements("img"))
    assert all(t["caption"] for t in html.tables)
    assert all(a["scope"] in ("col", "row") for a in html.elements("th"))
    assert [a["lang"] for a in html.elements("html")] == ["en"]


def test_one_run_has_everything_on_one_page(finished, data_dir, capsys):
    main(["report", str(finished), "--data-dir", str(data_dir)])
    assert "report.html" in capsys.readouterr().out
    html = Page(finished / "report.html")
    check_self_contained(html)
    results = json.loads((finished / "results.json").read_text())
    for row in results["rows"]:
        assert f"{row['uar']['mean']:.3f}".replace("0.", ".") in html.words
    assert "transductive: adapted to all of the target's audio" in html.words
    assert len(html.elements("img")) == len(list((finished / "figures").glob("*.png")))
    speakers = html.table("Accuracy of each target speaker")
    assert [row[0] for row in speakers[1:]] == ["s0", "s1", "s2", "s3", "highest minus lowest"]
    criteria = [row[0] for row in html.table("criteria by the UAR")]
    assert criteria[-1].startswith("oracle") and len(criteria) > 4
    for words in (
        "Article 5(1)(f)",
        "2 February 2025",
        "high-risk",
        "portrayed emotion",
        "Intended use",
        "licence is not known",
    ):
        assert words in html.words, words
    assert [row[0] for row in html.table("temperature fitted without target labels")[1:]] == [
        "source_only, conv1d",
        "dann, conv1d",
    ]
    assert "ECE" in html.words and "needs labels of the target" in html.words


def test_genders_are_scored_as_counted_by_hand(finished, data_dir, tmp_path):
    path, _ = page.write([finished], data_dir, tmp_path / "report.html")
    table = Page(path).table("Scores of each gender")
    assert [row[:2] for row in table[1:]] == [["female", "30"], ["male", "30"]]
    column = table[0].index("accuracy, dann, conv1d")
    rows = [r for r in read(finished / "predictions.csv") if r["method"] == "dann"]
    right = [r["emotion"] == r["predicted"] for r in rows if r["speaker"] in ("s0", "s1")]
    assert table[1][column] == f"{np.mean(right):.3f}".replace("0.", ".")


def test_without_its_corpora_a_run_is_reported_all_the_same(finished, data_dir, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(finished, moved)
    config = json.loads((moved / "config.json").read_text())
    files.write_json(
        moved / "config.json", config | {"source": "/gone/a.csv", "target": "/gone/b.csv"}
    )
    (moved / "figures" / "training.png").unlink()
    (moved / "predictions.csv").unlink()
    path, _ = page.write([moved], data_dir)
    html = Page(path)
    check_self_contained(html)
    assert "Missing in its folder figures: training curves" in html.words
    assert "No table of genders: predictions.csv is missing" in html.words
    assert "No reliability diagram" in html.words


@pytest.mark.slow
def test_an_unlabelled_target_is_not_scored(tones, data_dir, tmp_path):
    rows = [(r["file"],) for r in read(tones[1])]
    target = write_manifest(tones[1].with_name("bare.csv"), rows, ("file",))
    main(
        arguments(
            tones[0],
            target,
            tmp_path / "run",
            data_dir,
            "--config.methods=source_only",
            "--config.epochs=1",
        )
    )
    path, messages = page.write([tmp_path / "run"], data_dir)
    html = Page(path)
    check_self_contained(html)
    assert messages == []
    assert "Nothing is labelled in the target" in html.words and "ECE" not in html.words
    assert [f"predicted {e}" for e in EMOTIONS] == html.table("Share of the target")[0][-5:]


def test_an_unfinished_run_is_one_clear_line(finished, data_dir, tmp_path, capsys):
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    shutil.copy(finished / "config.json", unfinished)
    main(["report", str(unfinished), "--data-dir", str(data_dir)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and "not finished" in lines[0] and "--resume" in lines[0]
    html = Page(unfinished / "report.html")
    check_self_contained(html)
    assert html.words.count("this run is not finished") == 1


def test_several_runs_stand_side_by_side(finished, data_dir, tmp_path, capsys):
    for name in ("a", "b"):
        shutil.copytree(finished, tmp_path / name)
    config = json.loads((tmp_path / "b" / "config.json").read_text())
    files.write_json(tmp_path / "b" / "config.json", config | {"epochs": 77})
    (tmp_path / "unfinished").mkdir()
    shutil.copy(finished / "config.json", tmp_path / "unfinished")
    (tmp_path / "not-a-run").mkdir()
    (tmp_path / "notes.txt").write_text("hello")
    main(["report", *(str(p) for p in sorted(tmp_path.iterdir())), "--data-dir", str(data_dir)])
    out = capsys.readouterr().out
    assert "not-a-run: no run of jdann here" in out and "notes.txt" not in out
    html = Page(tmp_path / "report.html")
    check_self_contained(html)
    assert html.table("UAR, last checkpoint")[0] == ["method", "a", "b"]
    assert ["epochs", "3", "77"] in html.table("keys in which their configs differ")
    assert html.words.count("this run is not finished") == 2  # above all, and in its own place


@pytest.mark.parametrize("what", ["nothing", "folder", "output"])
def test_what_cannot_be_reported_is_named(what, finished, data_dir, tmp_path):
    paths, output = {
        "nothing": ([tmp_path / "gone"], None),
        "folder": ([tmp_path], None),
        "output": ([finished], tmp_path),
    }[what]
    with pytest.raises(InputError, match="expect"):
        page.write(paths, data_dir, output)


def test_damaged_predictions_are_named(finished, data_dir, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    text = (finished / "predictions.csv").read_text()
    (tmp_path / "run" / "predictions.csv").write_text(text[: len(text) // 2].rsplit(",", 2)[0])
    with pytest.raises(InputError, match=r"predictions\.csv: is damaged"):
        page.write([tmp_path / "run"], data_dir)


def test_names_are_escaped(finished, data_dir, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    text = (tmp_path / "run" / "results.json").read_text()
    (tmp_path / "run" / "results.json").write_text(
        text.replace('"s0"', '"<script>alert(1)</script>"')
    )
    path, _ = page.write([tmp_path / "run"], data_dir)
    html = Page(path)
    check_self_contained(html)
    assert "<script>alert(1)</script>" in html.words


def test_reliability_equals_scikit_learns_curve(finished, data_dir):
    from sklearn.calibration import calibration_curve

    run = gather.read_run(finished, data_dir)
    (table,) = [page_reliability.reliability(run.predictions)]
    assert table is not None
    for column, method in ((1, "source_only"), (3, "dann")):
        rows = [r for r in read(finished / "predictions.csv") if r["method"] == method]
        confidence = np.array([max(float(r[f"p_{name}"]) for name in EMOTIONS) for r in rows])
        right = np.array([r["emotion"] == r["predicted"] for r in rows])
        accuracy, mean = calibration_curve(right, confidence, n_bins=10, strategy="uniform")
        counts, _ = np.histogram(confidence, 10, (0, 1))
        assert [int(r[column]) for r in table.rows] == counts.tolist()
        shown = [float(r[column + 1]) for r in table.rows if r[column + 1] != "–"]
        np.testing.assert_allclose(shown, accuracy, atol=6e-4)
        ece = (counts[counts > 0] * abs(accuracy - mean)).sum() / len(rows)
        chart = next(
            c for c in page_reliability.charts(run.predictions) if c.title.startswith(method)
        )
        assert f"ECE {ece:.3f};".replace("0.", ".") in chart.summary


def evaluated(run: Path, target: str, adapted: int | None = None) -> None:
    """Adds to a run what `jdann evaluate --target` would leave."""
    results = json.loads((run / "results.json").read_text())
    results["protocol"] = "elsewhere"
    results["directions"][0]["target"] |= {"name": target, "description": "another list"}
    if adapted is not None:
        results["adapted_utterances"] = adapted
    (run / "evaluation" / "other").mkdir(parents=True)
    files.write_json(run / "evaluation" / "other" / "results.json", results)


@pytest.mark.parametrize(
    "same, adapted, words",
    [
        (True, None, "Scored on another list, to which the run adapted."),
        (False, None, "Scored on another list."),
        (False, 0, "Scored on another list, to which the run did not adapt."),
        (False, 20, "the run adapted to 20 of its 60 utterances without their labels."),
    ],
)
def test_an_evaluation_says_whether_the_run_adapted_to_it(
    same, adapted, words, finished, data_dir, tmp_path
):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    target = json.loads((run / "results.json").read_text())["directions"][0]["target"]["name"]
    evaluated(run, target if same else "other.csv", adapted)
    path, _ = page.write([run], data_dir)
    assert words in Page(path).words


@pytest.mark.parametrize(
    "normalise, unknown, words, absent",
    [
        ("speaker", (0, 0), "normalised per speaker. Checkpoint", "voices"),
        ("speaker", (0, 60), "normalised by similar voices", "normalised per speaker"),
        ("speaker", (0, 20), "(20 of 60 target utterances)", "most target speakers"),
        ("voice", (0, 0), "normalised by similar voices. Checkpoint", "per speaker"),
        ("source", (0, 0), "normalised with the statistics of the source", "per speaker"),
        ("none", (0, 0), "not normalised", "per speaker"),
    ],
)
def test_a_card_names_the_normalisation_that_was_used(normalise, unknown, words, absent, finished):
    results = json.loads((finished / "results.json").read_text()) | {"normalise": normalise}
    for side, count in zip(("source", "target"), unknown, strict=True):
        known = {"s0": 60 - count}
        results["directions"][0][side]["per_speaker"] = known | (
            {"unknown": count} if count else {}
        )
    text = " ".join(card.run_card(results)[0].lines)
    assert words in text and absent not in text


def test_only_known_speakers_make_the_warning_about_unknown_ones(finished):
    (model,) = (
        json.loads(path.read_text())
        for path in (finished / "recogniser").glob("*/*.json")
        if json.loads(path.read_text())["method"] == "dann"
    )
    results = json.loads((finished / "results.json").read_text())
    assert "clips of unknown speakers" in " ".join(card.recogniser_card(model, results)[0].lines)
    results["directions"][0]["target"]["per_speaker"] = {"unknown": 60}
    text = " ".join(card.recogniser_card(model, results)[0].lines)
    assert "In its run it reached UAR" in text and "unknown speakers" not in text


@pytest.mark.parametrize(
    "names, corpora, word",
    [
        (("ravdess.csv", "ravdess.csv, English"), (), "CC BY-NC-SA"),
        (("esd:zh", "ESD, Mandarin"), (), "signed form"),
        (("demo:en", "demo corpus (synthesised speech), English"), ("esd",), "no person"),
        (("list.csv", "list.csv, German"), (), "not known"),
        (("list.csv", "list.csv, Mandarin"), ("casia",), "Institute of Automation"),
    ],
)
def test_licences_are_named_where_they_are_known(names, corpora, word):
    assert word in " ".join(card.licences(names, corpora))
