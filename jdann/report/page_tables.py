"""The tables of the report, in the form that the template expects."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from jdann.report.cells import DIRECTION, ScoreTable, interval_text, number
from jdann.report.gather import Run

Row = Mapping[str, Any]


class PageTable(NamedTuple):
    """A table of the page; the first cell of each row is the heading of the row."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: int = 1  # index of the first column of numbers
    best: frozenset[tuple[int, int]] = frozenset()  # row and column of the cells to mark


def scores(table: ScoreTable) -> PageTable:
    """One of the run's tables of scores, details or predicted shares.

    Args:
      table: one of `jdann.report.table.tables`. A column with a single direction moves into the
        caption.
    """
    caption = table.caption
    header, rows = tuple(table.header), tuple(map(tuple, table.rows))
    directions = {row[DIRECTION] for row in rows}
    if len(directions) > 1:
        return PageTable(f"{caption}.", header, rows, DIRECTION + 1, frozenset(table.best))
    kept = [column for column in range(len(header)) if column != DIRECTION]
    return PageTable(
        f"{caption}, {directions.pop()}.",
        tuple(header[column] for column in kept),
        tuple(tuple(row[column] for column in kept) for row in rows),
        DIRECTION,
        frozenset((row, kept.index(column)) for row, column in table.best),
    )


def domains(run: Run) -> PageTable:
    """Source and target of a finished run, side by side.

    Args:
      run: a finished run.
    """
    assert run.results is not None
    first, emotions = run.results["directions"][0], run.results["emotions"]
    sides = [first["source"], first["target"]]

    def speakers(domain: Row) -> str:
        known = [name for name in domain["per_speaker"] if name != "unknown"]
        return f"{len(known):,}" if known else "unknown"

    labels = "read only after training, for the scores"
    if "supervised" in run.config["methods"]:
        labels += "; only the supervised ceiling learns from them"
    languages = run.described.languages
    rows = [
        ("corpus", *(d["description"] for d in sides)),
        ("name", *(d["name"] for d in sides)),
        ("language", *(languages.get(d["name"], "see the description") for d in sides)),
        ("labels", "used in training", labels),
        ("utterances", *(f"{d['utterances']:,}" for d in sides)),
        ("minutes", *(f"{d['minutes']:.1f}" for d in sides)),
        ("speakers", *(speakers(d) for d in sides)),
    ]
    names = list(emotions)
    if any("unlabelled" in d["per_emotion"] for d in sides):
        names.append("unlabelled")
    rows += [(name, *(f"{d['per_emotion'].get(name, 0):,}" for d in sides)) for name in names]
    caption = "Source and target."
    if len(run.results["directions"]) > 1:
        caption = "Source and target; the run trained in both directions, with the roles exchanged."
    return PageTable(caption, ("", "source", "target"), tuple(rows), 3)


def label(row: Row) -> str:
    """Method and encoder, such as "dann, conv1d"; the baseline has no encoder.

    Args:
      row: anything with "method" and "encoder".
    """
    return row["method"] if row["encoder"] == "-" else f"{row['method']}, {row['encoder']}"


def mean_and_spread(value: Row | None) -> str:
    """A mean and its spread as text; a dash if there is none.

    Args:
      value: "mean" and "std" of a row of results.json, or None.
    """
    return "–" if value is None or value["mean"] is None else number(value)


def share(value: float) -> str:
    """A number from 0 to 1 as the tables show it, such as ".322"."""
    return number({"mean": value, "std": None})


def selection(results: Row) -> list[PageTable]:
    """What each criterion would have chosen: a table for each training.

    The last rows of a table are the last checkpoint and the oracle.

    Args:
      results: the content of results.json.
    """
    groups: dict[tuple[str, str, str, str], list[Row]] = {}
    for row in results.get("selection") or []:
        groups.setdefault(_training(row), []).append(row)
    header = (
        "criterion",
        "epochs chosen, by seed",
        "UAR",
        "UAR lost to the oracle",
        "rank correlation with UAR",
    )
    references = (
        ("last", "none: the last checkpoint"),
        ("oracle", "oracle, which uses target labels (not achievable)"),
    )
    tables = []
    for training, choices in groups.items():
        rows = []
        for choice in sorted(choices, key=lambda choice: -choice["uar"]["mean"]):
            lost, correlation = choice["loss_to_oracle"], choice["rank_correlation"]
            rows.append(
                (
                    choice["criterion"].replace("_", " "),
                    ", ".join(map(str, choice["epochs"])),
                    number(choice["uar"]),
                    "–" if lost is None else share(lost),
                    "–" if correlation is None else f"{correlation:+.2f}",
                )
            )
        for name, text in references:
            for row in results["rows"]:
                if _training(row) == training and row["selection"] == name:
                    rows.append((text, "", number(row["uar"]), "", ""))
        source, target = training[:2]
        caption = (
            f"{label(choices[0])}, {source} → {target}: criteria by the UAR of the checkpoints "
            "that they choose."
        )
        tables.append(PageTable(caption, header, tuple(rows)))
    return tables


def _training(row: Row) -> tuple[str, str, str, str]:
    return row["source"], row["target"], row["method"], row["encoder"]


def diagnostics(results: Row) -> PageTable | None:
    """How far apart the representations of the domains are; None if unknown.

    Args:
      results: the content of results.json.
    """
    rows = tuple(
        (label(row), f"{row['source']} → {row['target']}", f"{row['a_distance']:.2f}")
        for row in results.get("diagnostics") or []
        if row.get("a_distance") is not None
    )
    if not rows:
        return None
    caption = (
        "A-distance of the representations of source and target: 0 if a linear classifier cannot "
        "tell them apart, 2 if it always can."
    )
    return PageTable(caption, ("method", "direction", "A-distance"), rows, 2)


def evaluation(results: Row, run_results: Row) -> PageTable:
    """Scores on a corpus that was chosen after training.

    Args:
      results: the content of results.json of `jdann evaluate --target`.
      run_results: the content of results.json of the run.
    """
    rows = tuple(
        (
            label(row),
            row["selection"].replace("_", " "),
            f"{row['n']:,}",
            number(row["uar"]),
            interval_text(row.get("interval"), "uar"),
            *(number(row[key]) for key in ("accuracy", "macro_f1")),
        )
        for row in results["rows"]
    )
    target = results["directions"][0]["target"]
    caption = f"Scored on {target['description']}{_adapted(results, run_results)}."
    header = ("method", "checkpoint", "n", "UAR", "95% interval", "accuracy", "macro-F1")
    return PageTable(caption, header, rows, 2)


def _adapted(results: Row, run_results: Row) -> str:
    """Whether the run adapted to the corpus of an evaluation, as far as that is known."""
    target = results["directions"][0]["target"]
    adapted = results.get("adapted_utterances")
    if adapted is None:
        targets = [direction["target"]["name"] for direction in run_results["directions"]]
        return ", to which the run adapted" if target["name"] in targets else ""
    if adapted == 0:
        return ", to which the run did not adapt"
    return (
        f"; the run adapted to {adapted:,} of its {target['utterances']:,} utterances without "
        "their labels"
    )
