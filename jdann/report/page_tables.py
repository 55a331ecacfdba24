"""The tables of the report, as the template takes them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jdann.evaluation import metrics
from jdann.report.gather import Predictions, Run
from jdann.report.table import DIRECTION, ScoreTable, number

Row = Mapping[str, Any]
_MOST_SETTINGS = 400


class PageTable(NamedTuple):
    """A table of the page; the first cell of each row is its heading."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: int = 1  # from this column on, numbers
    best: frozenset[tuple[int, int]] = frozenset()  # row and column of the cells to mark


def scores(found: ScoreTable) -> PageTable:
    """The run's own table of scores, or of predicted shares."""
    unscored = any(name.startswith("predicted") for name in found.header)
    what = (
        "Part of the target taken for each emotion; nothing is labelled, so nothing is scored"
        if unscored
        else "Scores"
    )
    header, rows, best = found.header, found.rows, found.best
    directions = {row[DIRECTION] for row in rows}
    if len(directions) > 1:
        return PageTable(
            f"{what}.", tuple(header), tuple(map(tuple, rows)), DIRECTION + 1, frozenset(best)
        )
    kept = [column for column in range(len(header)) if column != DIRECTION]
    short = tuple(tuple(row[column] for column in kept) for row in rows)
    moved = frozenset((row, kept.index(column)) for row, column in best)
    return PageTable(
        f"{what}, {directions.pop()}.",
        tuple(header[column] for column in kept),
        short,
        DIRECTION,
        moved,
    )


def domains(run: Run) -> PageTable:
    """What was trained on what."""
    assert run.results is not None
    first, emotions = run.results["directions"][0], run.results["emotions"]
    sides = [first["source"], first["target"]]

    def speakers(domain: Row) -> str:
        known = [name for name in domain["per_speaker"] if name != "unknown"]
        return f"{len(known):,}" if known else "unknown"

    ceiling = (
        "; the supervised ceiling learns from them" if "supervised" in run.config["methods"] else ""
    )
    rows = [
        ("corpus", *(d["description"] for d in sides)),
        ("name", *(d["name"] for d in sides)),
        ("language", *(run.described.languages.get(d["name"], "as described") for d in sides)),
        ("labels", "used in training", f"read after training only, to score{ceiling}"),
        ("utterances", *(f"{d['utterances']:,}" for d in sides)),
        ("minutes", *(f"{d['minutes']:.1f}" for d in sides)),
        ("speakers", *(speakers(d) for d in sides)),
    ]
    names = [
        *emotions,
        *(["unlabelled"] if any("unlabelled" in d["per_emotion"] for d in sides) else []),
    ]
    rows += [(name, *(f"{d['per_emotion'].get(name, 0):,}" for d in sides)) for name in names]
    both = len(run.results["directions"]) > 1
    caption = "Source and target; the run was done in both directions, the other one with the roles exchanged." if both else (
        "Source and target."
    )  # fmt: skip
    return PageTable(caption, ("", "source", "target"), tuple(rows), 3)


def _last(results: Row, direction: Row) -> list[Row]:
    names = (direction["source"]["name"], direction["target"]["name"])
    return [
        r
        for r in results["rows"]
        if r["selection"] == "last" and (r["source"], r["target"]) == names
    ]


def label(row: Row) -> str:
    """Method and encoder: "dann, conv1d"."""
    return row["method"] if row["encoder"] == "-" else f"{row['method']}, {row['encoder']}"


def _way(direction: Row) -> str:
    return f"{direction['source']['name']} → {direction['target']['name']}"


def _cell(value: Row | None) -> str:
    return "–" if value is None or value["mean"] is None else number(value)


def recall(results: Row) -> list[PageTable]:
    """Recall of each emotion, a table for each direction in which anything is scored."""
    found = []
    for direction in results["directions"]:
        rows = _last(results, direction)
        if rows:
            header = ("emotion", *(label(r) for r in rows))
            cells = tuple(
                (name, *(_cell(r["recall"].get(name)) for r in rows))
                for name in results["emotions"]
            )
            found.append(
                PageTable(
                    f"Recall of each emotion, last checkpoint, {_way(direction)}.", header, cells
                )
            )
    return found


def speakers(results: Row) -> list[PageTable]:
    """Accuracy of each target speaker, a table for each direction in which anything is scored."""
    found = []
    for direction in results["directions"]:
        rows = [r for r in _last(results, direction) if r["per_speaker"]]
        if not rows:
            continue
        counts = direction["target"]["per_speaker"]
        names = list(dict.fromkeys(name for r in rows for name in r["per_speaker"]))
        cells = [
            (name, f"{counts.get(name, 0):,}", *(_cell(r["per_speaker"].get(name)) for r in rows))
            for name in names
        ]
        means = [
            [v["mean"] for v in r["per_speaker"].values() if v["mean"] is not None] for r in rows
        ]
        cells.append(
            (
                "highest less lowest",
                "",
                *(number({"mean": max(m) - min(m), "std": None}) if m else "–" for m in means),
            )
        )
        header = ("speaker", "utterances", *(label(r) for r in rows))
        caption = f"Accuracy of each target speaker, last checkpoint, {_way(direction)}.{_partly(direction['target'])}"
        found.append(PageTable(caption, header, tuple(cells)))
    return found


def _partly(domain: Row) -> str:
    """What a reader of scores has to know where a target is labelled in part."""
    unlabelled = domain["per_emotion"].get("unlabelled", 0)
    return (
        f" Scored are the labelled ones of the utterances: {unlabelled:,} have no label."
        if unlabelled
        else ""
    )


def _gender_of(run: Run, of: Predictions) -> np.ndarray:
    known = run.described.genders.get(of.target, {})
    return np.array([known.get(key, "unknown") for key in of.key])


def genders(run: Run) -> list[PageTable]:
    """Scores of each gender, where the corpus names them and anything is labelled."""
    found = []
    ways = dict.fromkeys((p.source, p.target) for p in run.predictions)
    for way in ways:
        methods = [
            p for p in run.predictions if (p.source, p.target) == way and (p.emotion >= 0).any()
        ]
        if not methods:
            continue
        gender = _gender_of(run, methods[0])
        names = [g for g in sorted(set(gender.tolist())) if g != "unknown"]
        if not names:
            continue
        names += ["unknown"] if "unknown" in gender else []
        rows = []
        for name in names:
            cells: list[str] = []
            for method in methods:
                chosen = _gender_of(run, method) == name
                predicted = method.probability[chosen].argmax(-1)
                score = metrics.score(
                    method.emotion[chosen],
                    predicted,
                    [None] * int(chosen.sum()),
                    method.probability.shape[1],
                )
                values = (
                    ("–", "–")
                    if score is None
                    else tuple(
                        number({"mean": v, "std": None}) for v in (score.accuracy, score.uar)
                    )
                )
                cells += values
            rows.append((name, f"{int((gender == name).sum()):,}", *cells))
        header = (
            "gender",
            "utterances",
            *(f"{what}, {m.name}" for m in methods for what in ("accuracy", "UAR")),
        )
        partly = next(
            (
                _partly(d["target"])
                for d in (run.results or {}).get("directions", ())
                if d["target"]["name"] == way[1]
            ),
            "",
        )
        caption = f"Scores of each gender, last checkpoint, probabilities averaged over seeds, {' → '.join(way)}.{partly}"
        found.append(PageTable(caption, header, tuple(rows)))
    return found


def why_no_genders(run: Run) -> str:
    """Why there is no table of genders, in words."""
    assert run.results is not None
    if not run.results["scored"]:
        return "No table of genders: the target has no labels."
    if not run.predictions:
        return "No table of genders: predictions.csv is missing."
    target = run.results["directions"][0]["target"]["name"]
    if target in run.described.why_not:
        return f"No table of genders: the target's corpus is not at hand ({run.described.why_not[target]})."
    return "No table of genders: the target's corpus does not name them (a manifest does, in its column gender)."


def share(value: float) -> str:
    """A number from 0 to 1 as the tables show it, .322."""
    return number({"mean": value, "std": None})


def selection(results: Row) -> list[PageTable]:
    """What each criterion would have chosen, beside the last checkpoint and the oracle: a table for each training."""
    groups: dict[tuple[str, str, str, str], list[Row]] = {}
    for row in results.get("selection") or []:
        groups.setdefault((row["source"], row["target"], row["method"], row["encoder"]), []).append(
            row
        )
    header = (
        "criterion",
        "epochs chosen, by seed",
        "UAR",
        "UAR lost to the oracle",
        "rank correlation with UAR",
    )
    tables = []
    for of, found in groups.items():
        rows = []
        for row in sorted(found, key=lambda row: -row["uar"]["mean"]):
            epochs = ", ".join(str(e) for e in row["epochs"])
            lost, rank = row["loss_to_oracle"], row["rank_correlation"]
            numbers = (
                "–" if lost is None else share(lost),
                "–" if rank is None else f"{rank:+.2f}",
            )
            rows.append((row["criterion"].replace("_", " "), epochs, number(row["uar"]), *numbers))
        for by, name in (
            ("last", "none: the last checkpoint"),
            ("oracle", "oracle, looking at target labels (not achievable)"),
        ):
            score = next(
                (r for r in results["rows"] if _training(r) == of and r["selection"] == by), None
            )
            rows += [(name, "", number(score["uar"]), "", "")] if score is not None else []
        caption = f"{label(found[0])}, {of[0]} → {of[1]}: criteria by the UAR of their choice."
        tables.append(PageTable(caption, header, tuple(rows)))
    return tables


def _training(row: Row) -> tuple[str, str, str, str]:
    return row["source"], row["target"], row["method"], row["encoder"]


def diagnostics(results: Row) -> PageTable | None:
    """How far apart the domains' representations are."""
    found = [d for d in results.get("diagnostics") or [] if d.get("a_distance") is not None]
    if not found:
        return None
    rows = tuple(
        (label(d), f"{d['source']} → {d['target']}", f"{d['a_distance']:.2f}") for d in found
    )
    caption = "A-distance of the domains' representations: 0 where a linear classifier cannot tell them apart, 2: always."
    return PageTable(caption, ("method", "direction", "A-distance"), rows, 2)


def elsewhere(results: Row) -> PageTable:
    """Scores on another corpus than the one adapted to."""
    target = results["directions"][0]["target"]["description"]
    rows = tuple(
        (
            label(r),
            r["selection"].replace("_", " "),
            f"{r['n']:,}",
            *(number(r[k]) for k in ("uar", "accuracy", "macro_f1")),
        )
        for r in results["rows"]
    )
    return PageTable(
        f"Scored on {target}, which was not adapted to.",
        ("method", "checkpoint", "n", "UAR", "accuracy", "macro-F1"),
        rows,
        2,
    )


def flattened(config: Row, prefix: str = "") -> dict[str, str]:
    """The keys of a config with dots, and their values as text."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = (
                ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
            )
    return flat


def settings(config: Row) -> PageTable:
    """Every key of the config."""
    rows = tuple(list(flattened(config).items())[:_MOST_SETTINGS])
    return PageTable(
        "Every key of the run's config; configs/base.py explains them.", ("key", "value"), rows, 2
    )


def compared(runs: Sequence[Run]) -> list[PageTable]:
    """Several runs side by side: their scores, and the keys in which their configs differ."""
    header = ("", *(run.name for run in runs))
    about = [
        (
            "source",
            *(str(r.results["directions"][0]["source"]["description"]) for r in runs if r.results),
        ),
        (
            "target",
            *(str(r.results["directions"][0]["target"]["description"]) for r in runs if r.results),
        ),
        ("protocol", *(str(r.results["protocol"]) for r in runs if r.results)),
        ("normalisation", *(str(r.results["normalise"]) for r in runs if r.results)),
        ("seeds", *(str(len(r.results["seeds"])) for r in runs if r.results)),
        ("emotions", *(str(len(r.results["emotions"])) for r in runs if r.results)),
    ]
    tables = [PageTable("What the runs are.", header, tuple(about), len(runs) + 1)]
    for key, title in (("uar", "UAR"), ("accuracy", "accuracy"), ("macro_f1", "macro-F1")):
        tables.append(_pivot(runs, key, title))
    flat = [flattened(run.config) for run in runs]
    keys = dict.fromkeys(key for config in flat for key in config)
    differing = [key for key in keys if len({config.get(key) for config in flat}) > 1]
    rows = tuple((key, *(config.get(key, "–") for config in flat)) for key in differing)
    if rows:
        tables.append(
            PageTable("The keys in which their configs differ.", header, rows, len(runs) + 1)
        )
    return tables


def _pivot(runs: Sequence[Run], key: str, title: str) -> PageTable:
    cells: dict[str, dict[int, Row]] = {}
    both = any(len(run.results["directions"]) > 1 for run in runs if run.results)
    for i, run in enumerate(runs):
        for row in run.results["rows"] if run.results else ():
            name = f"{label(row)}, {row['source']} → {row['target']}" if both else label(row)
            if row["selection"] == "last":
                cells.setdefault(name, {})[i] = row[key]
            elif row["selection"] == "oracle":
                cells.setdefault(f"{name}: oracle checkpoint (not achievable)", {})[i] = row[key]
    names = sorted(cells, key=lambda name: "not achievable" in name)
    rows = tuple((name, *(_cell(cells[name].get(i)) for i in range(len(runs)))) for name in names)
    caption = f"{title}, last checkpoint, mean ± standard deviation over seeds. Runs compare only where source, target, protocol agree."
    return PageTable(caption, ("method", *(run.name for run in runs)), rows)
