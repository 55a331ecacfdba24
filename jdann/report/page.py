"""`jdann report`: one self-contained page for one run or several; it needs no network."""

import logging
import os
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from jdann import files
from jdann.errors import InputError
from jdann.report import (
    card,
    gather,
    page_comparison,
    page_groups,
    page_reliability,
    page_tables,
    table,
)
from jdann.report.gather import Figure, Run

log = logging.getLogger("jdann")
_TITLES = {
    "classes": "Utterances of each emotion",
    "speakers": "Utterances of each speaker",
    "training": "Training curves",
    "confusion": "Confusion matrix",
    "per-speaker": "Accuracy of each target speaker",
    "tsne": "Representations before and after adaptation",
}


def write(
    paths: Sequence[Path], data_dir: Path, output: Path | None = None
) -> tuple[Path, list[str]]:
    """Writes the page.

    Args:
      paths: work directories. If there are several, folders without a run are left out, because a
        pattern such as `runs/*` matches them too.
      data_dir: folder of the prepared corpora, from which genders and languages come.
      output: the file; None: report.html in the work directory or, for several, in the folder that
        holds all of them.

    Returns:
      The file, and a line for each run that is not finished or was left out.

    Raises:
      InputError: there is no run.
    """
    runs: list[Run] = []
    messages: list[str] = []
    for path in paths:
        try:
            runs.append(gather.read_run(path, data_dir))
        except InputError as error:
            if len(paths) == 1:
                raise
            if path.is_dir():
                messages.append(f"left out: {error}")
    if not runs:
        raise InputError(
            f"{paths[0]} and others: none of them holds a run of jdann; "
            "expected work directories with a config.json"
        )
    messages += [run.unfinished for run in runs if run.unfinished]
    if output is None:
        parents = {run.path.resolve().parent for run in runs}
        folder = runs[0].path if len(paths) == 1 else parents.pop() if len(parents) == 1 else Path()
        output = folder / "report.html"
    if output.is_dir():
        raise InputError(
            f"{output}: is a folder; --output expects a file, "
            f"as in --output {output / 'report.html'}"
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(output, render(runs))
    return output, messages


def render(runs: Sequence[Run]) -> str:
    """The page as HTML.

    Args:
      runs: one run or several.
    """
    views = [_view(run, i) for i, run in enumerate(runs)]
    several = len(runs) > 1
    finished = [run for run in runs if run.results is not None]
    title = f"{len(runs)} runs side by side" if several else views[0]["title"]
    compared = page_comparison.compared(finished) if several and finished else []
    template = environment().get_template("report.html.jinja")
    return template.render(
        title=title,
        several=several,
        runs=views,
        compared=compared,
        law=card.LAW,
        css=base_css(),
        chart=page_reliability.CHART,
    )


def environment() -> Environment:
    """The Jinja2 environment of the report; it escapes every value in a template."""
    return Environment(
        loader=PackageLoader("jdann.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def base_css() -> Markup:
    """The style sheet that the report and the web page share, marked as safe to be inserted."""
    return Markup((resources.files("jdann") / "web" / "base.css").read_text(encoding="utf-8"))


def _view(run: Run, index: int) -> dict[str, Any]:
    """The values of one run for the template."""
    view: dict[str, Any] = {
        "name": run.name,
        "id": f"run-{index + 1}",
        "unfinished": run.unfinished,
        "settings": page_comparison.settings(run.config),
        "missing": [_TITLES[stem].lower() for stem in run.missing],
        "figures": [_figure(figure, run) for figure in run.figures],
    }
    if run.results is None:
        title = f"{run.config['source']} → {run.config['target']}"
        return view | {"title": title, "finished": False}
    return view | _finished_view(run, run.results)


def _finished_view(run: Run, results: Mapping[str, Any]) -> dict[str, Any]:
    """The values that only a finished run has."""
    heading = table.heading(results)
    parts = [part for names in run.described.parts.values() for part in names]
    versions = [*results["versions"].items(), ("machine", results["machine"])]
    return {
        "finished": True,
        "title": heading.title.replace("<->", "↔").replace("->", "→"),
        "protocol": heading.protocol,
        "in_short": heading.in_short,
        "synthetic": results["synthetic"],
        "scored": results["scored"],
        "data": page_tables.domains(run),
        "data_notes": _data_notes(results),
        "tables": [page_tables.scores(scores) for scores in table.tables(results)],
        "notes": [*table.notes(results), *results.get("notes", ())],
        "recall": page_groups.recall_tables(results),
        "speakers": page_groups.speaker_tables(results),
        "genders": page_groups.gender_tables(run),
        "no_genders": page_groups.why_no_genders(run),
        "charts": page_reliability.charts(run.predictions),
        "reliability": page_reliability.reliability(run.predictions),
        "temperatures": page_reliability.temperatures(run),
        "selection": page_tables.selection(results),
        "diagnostics": page_tables.diagnostics(results),
        "evaluations": [page_tables.evaluation(scores, results) for scores in run.evaluations],
        "card": card.run_card(results, parts),
        "versions": [*versions, ("date", results["date"])],
    }


def _data_notes(results: Mapping[str, Any]) -> list[str]:
    """What was left out of each corpus, and what else a reader must know of it."""
    notes = []
    for side in ("source", "target"):
        domain = results["directions"][0][side]
        lines = list(domain["notes"])
        if domain["outside"]:
            counts = ", ".join(f"{name} {count}" for name, count in domain["outside"].items())
            lines.append(f"left out, because these are not among the chosen emotions: {counts}")
        if domain["skipped"]:
            lines.append(f"{domain['skipped']} files could not be used; skipped.csv says why")
        notes += [f"{domain['name']}: {line}" for line in lines]
    return notes


def _figure(figure: Figure, run: Run) -> dict[str, str]:
    """The title, the alternative text and the data of a figure."""
    kind = next((name for name in _TITLES if figure.stem.startswith(name)), None)
    if kind is None:
        return {"title": figure.stem, "alt": f"{figure.stem}.", "uri": figure.uri}
    detail = figure.stem.removeprefix(kind).strip("-")  # such as "dann-conv1d" or "dann-conv1d-2"
    name, _, number = detail.rpartition("-")
    direction = ""
    if run.results is not None and len(run.results["directions"]) > 1 and number in ("1", "2"):
        domains = run.results["directions"][int(number) - 1]
        direction = f", {domains['source']['name']} → {domains['target']['name']}"
        detail = name
    title = f"{_TITLES[kind]}{f' of {detail}' if detail else ''}{direction}"
    alternative = f"{title}. {_alternative(kind, detail, run)}".strip()
    return {"title": title, "alt": alternative, "uri": figure.uri}


def _alternative(kind: str, detail: str, run: Run) -> str:
    """A description of a figure for readers who cannot see it."""
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
        source, target = (len(first[side]["per_speaker"]) for side in ("source", "target"))
        return f"Stacked bars: {source} source speakers and {target} target speakers."
    if kind == "confusion":
        return _confusion_in_words(detail, run.results)
    return {
        "training": "Learning rate, lambda, losses and accuracies over the epochs: the mean over "
        "the seeds, and the range between them.",
        "per-speaker": "Grouped bars; the table of speakers has the same numbers.",
        "tsne": "Four scatter plots: without and with adaptation, coloured by domain above and by "
        "emotion below.",
    }.get(kind, "")


def _confusion_in_words(detail: str, results: Mapping[str, Any]) -> str:
    """The recalls of the method whose confusion matrix is drawn."""
    for row in results["rows"]:
        file_name = page_tables.label(row).replace(", ", "-").replace(" ", "-")
        if row["selection"] == "last" and file_name == detail:
            recalls = ", ".join(
                f"{name} {value['mean']:.2f}"
                for name, value in row["recall"].items()
                if value["mean"] is not None
            )
            return f"Rows: labels, columns: predictions; recall of each emotion: {recalls}."
    return ""


def main(paths: Sequence[Path], data_dir: Path, output: Path | None) -> None:
    """Writes the page and prints where it is.

    Args:
      paths: work directories.
      data_dir: folder of the prepared corpora.
      output: the file; None: report.html, as `write` chooses its folder.
    """
    path, messages = write(paths, data_dir, output)
    for message in messages:
        print(message)
    print(f"The report is {os.path.relpath(path)}, {path.stat().st_size / 1e6:.1f} MB")
