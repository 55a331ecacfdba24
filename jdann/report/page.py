"""`jdann report`: one page for one run or several, self-contained, that needs no network."""

import logging
import os
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from jdann import files
from jdann.errors import InputError
from jdann.report import card, gather, page_reliability, page_tables, table
from jdann.report.gather import Figure, Run

log = logging.getLogger("jdann")
_TITLES = {
    "classes": "Utterances of each emotion",
    "speakers": "Utterances of each speaker",
    "training": "Training curves",
    "confusion": "Confusion",
    "per-speaker": "Accuracy of each target speaker",
    "tsne": "Representations before and after adaptation",
}


def write(
    paths: Sequence[Path], data_dir: Path, output: Path | None = None
) -> tuple[Path, list[str]]:
    """Writes the page.

    Args:
      paths: work directories. Where several are given, those that hold no run are left out, as `runs/*` names them too.
      data_dir: where prepared corpora live; genders and languages come from them.
      output: the file; None: report.html in the work directory, or in the folder that holds all of several.

    Returns:
      The file, and a line for each run that is not finished or was left out.

    Raises:
      InputError: there is no run.
    """
    runs: list[Run] = []
    said: list[str] = []
    for path in paths:
        try:
            runs.append(gather.read(path, data_dir))
        except InputError as error:
            if len(paths) == 1:
                raise
            if path.is_dir():
                said.append(f"left out: {error}")
    if not runs:
        raise InputError(
            f"{paths[0]} and others: no run of jdann among them; expected work directories with a config.json"
        )
    said += [run.unfinished for run in runs if run.unfinished]
    if output is None:
        parents = {run.path.resolve().parent for run in runs}
        folder = runs[0].path if len(paths) == 1 else parents.pop() if len(parents) == 1 else Path()
        output = folder / "report.html"
    if output.is_dir():
        raise InputError(
            f"{output}: is a folder; --output expects a file, as in --output {output / 'report.html'}"
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(output, render(runs))
    return output, said


def render(runs: Sequence[Run]) -> str:
    """The page as HTML.

    Args:
      runs: at least one.
    """
    views = [_view(run, i) for i, run in enumerate(runs)]
    several = len(runs) > 1
    finished = [run for run in runs if run.results is not None]
    title = f"{len(runs)} runs side by side" if several else views[0]["title"]
    compared = page_tables.compared(finished) if several and finished else []
    return environment().get_template("report.html.jinja").render(
        title=title, several=several, runs=views, compared=compared, law=card.LAW, css=base_css(), chart=page_reliability.CHART
    )  # fmt: skip


def environment() -> Any:
    """Jinja2's environment with the package's templates; whatever is filled in is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("jdann.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def base_css() -> Any:
    """The style that the report and the web page share, safe to stand in a page as it is."""
    from markupsafe import Markup

    return Markup((resources.files("jdann") / "web" / "base.css").read_text(encoding="utf-8"))


def _view(run: Run, index: int) -> dict[str, Any]:
    """What the template shows of one run."""
    shown: dict[str, Any] = {
        "name": run.name,
        "id": f"run-{index + 1}",
        "unfinished": run.unfinished,
    }
    shown["settings"] = page_tables.settings(run.config)
    shown["missing"] = [_TITLES[stem].lower() for stem in run.missing]
    shown["figures"] = [_figure(figure, run) for figure in run.figures]
    if run.results is None:
        shown["title"] = f"{run.config['source']} → {run.config['target']}"
        shown["finished"] = False
        return shown
    results = run.results
    title, *headlines = table.headlines(results)
    parts = [part for names in run.described.parts.values() for part in names]
    return shown | {
        "finished": True,
        "title": title.replace("<->", "↔").replace("->", "→"),
        "headlines": headlines,
        "synthetic": results["synthetic"],
        "scored": results["scored"],
        "data": page_tables.domains(run),
        "data_notes": _data_notes(results),
        "tables": [page_tables.scores(t) for t in table.tables(results)],
        "notes": [*table.notes(results), *results.get("notes", ())],
        "recall": page_tables.recall(results),
        "speakers": page_tables.speakers(results),
        "genders": page_tables.genders(run),
        "no_genders": page_tables.why_no_genders(run),
        "charts": page_reliability.charts(run.predictions),
        "reliability": page_reliability.reliability(run.predictions),
        "temperatures": page_reliability.temperatures(run),
        "selection": page_tables.selection(results),
        "diagnostics": page_tables.diagnostics(results),
        "elsewhere": [page_tables.elsewhere(of) for of in run.elsewhere],
        "card": card.make(results, parts),
        "versions": [
            *results["versions"].items(),
            ("machine", results["machine"]),
            ("date", results["date"]),
        ],
    }


def _data_notes(results: Mapping[str, Any]) -> list[str]:
    """What was left out of each corpus, and what else is known of it."""
    notes = []
    for side in ("source", "target"):
        domain = results["directions"][0][side]
        outside = ", ".join(f"{name} {count}" for name, count in domain["outside"].items())
        found = [
            *domain["notes"],
            *([f"left out, being outside the chosen emotions: {outside}"] if outside else []),
        ]
        found += (
            [f"{domain['skipped']} files could not be used; skipped.csv says why"]
            if domain["skipped"]
            else []
        )
        notes += [f"{domain['name']}: {note}" for note in found]
    return notes


def _figure(figure: Figure, run: Run) -> dict[str, str]:
    """Title, alternative text and data of a figure."""
    kind = next((name for name in _TITLES if figure.stem.startswith(name)), "")
    detail = figure.stem.removeprefix(kind).strip("-")
    several = run.results is not None and len(run.results["directions"]) > 1
    if several and detail[-2:] in ("-1", "-2", "1", "2"):
        direction = run.results["directions"][int(detail[-1]) - 1]  # pyright: ignore[reportOptionalSubscript]
        way = f", {direction['source']['name']} → {direction['target']['name']}"
        detail = detail[:-1].strip("-")
    else:
        way = ""
    title = (
        f"{_TITLES.get(kind, figure.stem)}{f' of {detail}' if detail else ''}{way}"
        if kind
        else figure.stem
    )
    return {
        "title": title,
        "alt": f"{title}. {_alternative(kind, detail, run)}".strip(),
        "uri": figure.uri,
    }


def _alternative(kind: str, detail: str, run: Run) -> str:
    """What a figure shows, in words, as far as the tables of the page do not say it."""
    if run.results is None:
        return ""
    first = run.results["directions"][0]
    if kind == "classes":
        sides = (
            f"{side}: {', '.join(f'{n} {c}' for n, c in first[side]['per_emotion'].items())}"
            for side in ("source", "target")
        )
        return f"Bars; {'; '.join(sides)}."
    if kind == "speakers":
        return f"Stacked bars: {len(first['source']['per_speaker'])} source and {len(first['target']['per_speaker'])} target speakers."
    if kind == "training":
        return "Learning rate, lambda, losses and accuracies over the epochs, the mean over seeds within their range."
    if kind == "per-speaker":
        return "Grouped bars; the table of speakers has the same numbers."
    if kind == "tsne":
        return "Four scatter plots: without and with adaptation, coloured by domain above and by emotion below."
    if kind == "confusion":
        rows = [r for r in run.results["rows"] if r["selection"] == "last"]
        for row in rows:
            label = row["method"] if row["encoder"] == "-" else f"{row['method']}, {row['encoder']}"
            if label.replace(", ", "-").replace(" ", "-") == detail:
                found = ", ".join(
                    f"{n} {v['mean']:.2f}"
                    for n, v in row["recall"].items()
                    if v["mean"] is not None
                )
                return f"Rows: labels, columns: predictions; part found of each: {found}."
    return ""


def main(paths: Sequence[Path], data_dir: Path, output: Path | None) -> None:
    """The command's body: writes the page and prints where it is, after a line for each run that is not finished."""
    path, said = write(paths, data_dir, output)
    for line in said:
        print(line)
    print(f"The report is {os.path.relpath(path)}, {path.stat().st_size / 1e6:.1f} MB")
