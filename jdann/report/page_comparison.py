"""The tables of the report that show the config of a run and compare several runs."""

from collections.abc import Mapping, Sequence
from typing import Any

from jdann.report.gather import Run
from jdann.report.page_tables import PageTable, label, mean_and_spread

Row = Mapping[str, Any]
_MOST_SETTINGS = 400  # keys of a config that the page lists


def flattened(config: Row, prefix: str = "") -> dict[str, str]:
    """The keys of a config, joined with dots, and their values as text.

    Args:
      config: a config, possibly nested.
      prefix: what every key begins with.
    """
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
    """Every key of the config.

    Args:
      config: the config of the run.
    """
    rows = tuple(list(flattened(config).items())[:_MOST_SETTINGS])
    caption = "Every key of the run's config; configs/base.py explains them."
    return PageTable(caption, ("key", "value"), rows, 2)


def compared(runs: Sequence[Run]) -> list[PageTable]:
    """Several runs side by side: their scores, and the keys in which their configs differ.

    Args:
      runs: finished runs.
    """
    header = ("", *(run.name for run in runs))
    outcomes = [run.results for run in runs if run.results is not None]
    first = [results["directions"][0] for results in outcomes]
    about = (
        ("source", *(direction["source"]["description"] for direction in first)),
        ("target", *(direction["target"]["description"] for direction in first)),
        ("protocol", *(results["protocol"] for results in outcomes)),
        ("normalisation", *(results["normalise"] for results in outcomes)),
        ("seeds", *(str(len(results["seeds"])) for results in outcomes)),
        ("emotions", *(str(len(results["emotions"])) for results in outcomes)),
    )
    tables = [PageTable("What the runs are.", header, about, len(runs) + 1)]
    for key, title in (("uar", "UAR"), ("accuracy", "accuracy"), ("macro_f1", "macro-F1")):
        tables.append(_scores_of_runs(runs, key, title))
    flat = [flattened(run.config) for run in runs]
    keys = dict.fromkeys(key for config in flat for key in config)
    differing = [key for key in keys if len({config.get(key) for config in flat}) > 1]
    if differing:
        rows = tuple((key, *(config.get(key, "–") for config in flat)) for key in differing)
        caption = "The keys in which their configs differ."
        tables.append(PageTable(caption, header, rows, len(runs) + 1))
    return tables


def _scores_of_runs(runs: Sequence[Run], key: str, title: str) -> PageTable:
    """One score of each method in each run; the rows of oracles come last."""
    cells: dict[tuple[bool, str], dict[int, Row]] = {}  # by (is oracle, name), then by run
    both = any(len(run.results["directions"]) > 1 for run in runs if run.results)
    for i, run in enumerate(runs):
        for row in run.results["rows"] if run.results else ():
            name = f"{label(row)}, {row['source']} → {row['target']}" if both else label(row)
            if row["selection"] == "last":
                cells.setdefault((False, name), {})[i] = row[key]
            elif row["selection"] == "oracle":
                name = f"{name}: oracle checkpoint (not achievable)"
                cells.setdefault((True, name), {})[i] = row[key]
    rows = tuple(
        (name, *(mean_and_spread(cells[is_oracle, name].get(i)) for i in range(len(runs))))
        for is_oracle, name in sorted(cells, key=lambda row: row[0])
    )
    caption = (
        f"{title}, last checkpoint, mean ± standard deviation over seeds. Compare runs only if "
        "their source, target and protocol agree."
    )
    return PageTable(caption, ("method", *(run.name for run in runs)), rows)
