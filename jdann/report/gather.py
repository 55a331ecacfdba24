"""Reads the files in the work directory of a run, for the report.

A missing file is not an error: the report says what is missing.
"""

import base64
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jdann import corpora
from jdann.corpora import demo
from jdann.errors import InputError
from jdann.experiments import workdir
from jdann.experiments.predictions_file import Place, read_predictions
from jdann.experiments.settings import naming_of
from jdann.inference import model
from jdann.selection import calibration

log = logging.getLogger("jdann")
BINS = 10  # of a reliability diagram
_EXPECTED = ("classes", "speakers", "training")  # figures that each run draws
_ORDER = (*_EXPECTED, "confusion", "per-speaker", "tsne")  # of the figures in the report


class Figure(NamedTuple):
    """A figure of the run, embedded in the page."""

    stem: str  # name of its file, without the suffix
    uri: str  # data: URI of the PNG


class Predictions(NamedTuple):
    """What one method predicts for one target: its rows of predictions.csv."""

    source: str
    target: str
    method: str
    encoder: str
    emotion: np.ndarray  # [n] int, -1 where unlabelled
    probability: np.ndarray  # [n, classes] float, the mean over seeds
    places: tuple[Place, ...]  # n
    speaker: tuple[str, ...]  # n, "" where unknown
    reliability: calibration.Reliability  # in `BINS` bins
    ece: float | None  # expected calibration error; None where nothing is labelled

    @property
    def name(self) -> str:
        """Method and encoder for headings, such as "dann, conv1d"."""
        return f"{self.method}, {self.encoder}"


class Described(NamedTuple):
    """What the corpora know that results.json does not contain; each dict is by domain name."""

    languages: dict[str, str]
    parts: dict[str, tuple[str, ...]]  # names of the corpora within the domain
    genders: dict[str, dict[tuple[str, float, float | None], str]]  # by file, start and end
    unavailable: dict[str, str]  # why a domain could not be described


class Run(NamedTuple):
    """One run, finished or not."""

    path: Path
    config: Mapping[str, Any]
    results: Mapping[str, Any] | None  # None: the run is not finished
    unfinished: str  # one line that says so; empty for a finished run
    figures: tuple[Figure, ...]
    missing: tuple[str, ...]  # figures that each run draws and that are missing here
    predictions: tuple[Predictions, ...]
    evaluations: tuple[Mapping[str, Any], ...]  # results.json of each `jdann evaluate --target`
    described: Described
    models: tuple[Mapping[str, Any], ...]  # model.json of each recogniser of the run

    @property
    def name(self) -> str:
        """The name of the work directory."""
        return self.path.resolve().name


def read_run(path: Path, data_dir: Path) -> Run:
    """Reads a run, finished or not.

    Args:
      path: the work directory.
      data_dir: folder of the prepared corpora.

    Raises:
      InputError: there is no run, or one of its files is damaged.
    """
    config = workdir.read_config(path).to_dict()
    figures = tuple(_figures(path / "figures"))
    cards = sorted((path / model.FOLDER).glob(f"*/{model.CARD}"))
    models = tuple(model.load_card(card.parent) for card in cards)
    if not (path / "results.json").exists():
        return Run(
            path=path,
            config=config,
            results=None,
            unfinished=_unfinished(path),
            figures=figures,
            missing=(),
            predictions=(),
            evaluations=(),
            described=Described({}, {}, {}, {}),
            models=models,
        )
    results = workdir.read_results(path)
    stems = [figure.stem for figure in figures]
    evaluations = sorted(path.glob("evaluation/*/results.json"))
    return Run(
        path=path,
        config=config,
        results=results,
        unfinished="",
        figures=figures,
        missing=tuple(
            name for name in _EXPECTED if not any(stem.startswith(name) for stem in stems)
        ),
        predictions=tuple(_predictions(path / "predictions.csv", results["emotions"])),
        evaluations=tuple(workdir.read_json(file) for file in evaluations),
        described=describe(config, results, data_dir),
        models=models,
    )


def _unfinished(path: Path) -> str:
    """One line that says how far an unfinished run got."""
    checkpoints = path / "checkpoints"
    trained = len(list(checkpoints.glob("*"))) if checkpoints.exists() else 0
    begun = f"{trained} of its trainings begun" if trained else "no training begun"
    return (
        f"{path}: this run is not finished ({begun}, no results.json); "
        "continue it by jdann train --resume"
    )


def _figures(folder: Path) -> Iterator[Figure]:
    """The figures in a folder, in the order of the report."""

    def place(path: Path) -> tuple[int, str]:
        places = [i for i, name in enumerate(_ORDER) if path.stem.startswith(name)]
        return (places[0] if places else len(_ORDER)), path.stem

    for path in sorted(folder.glob("*.png"), key=place):
        try:
            data = path.read_bytes()
        except OSError as error:
            log.warning("%s: is left out of the report (%s)", path, error.strerror)
            continue
        if data.startswith(b"\x89PNG"):
            encoded = base64.b64encode(data).decode("ascii")
            yield Figure(path.stem, f"data:image/png;base64,{encoded}")
        else:
            log.warning("%s: is left out of the report, because it is not a PNG", path)


def _predictions(path: Path, emotions: Sequence[str]) -> Iterator[Predictions]:
    """The predictions of each method for each target; none if the file is missing."""
    for read in read_predictions(path, emotions):
        yield Predictions(
            *read,
            calibration.reliability(read.probability, read.emotion, BINS),
            calibration.expected_calibration_error(read.probability, read.emotion, BINS),
        )


def describe(config: Mapping[str, Any], results: Mapping[str, Any], data_dir: Path) -> Described:
    """Looks up languages, genders and corpus names, if the corpora of the run are still available.

    Args:
      config: the config of the run.
      results: the content of results.json.
      data_dir: folder of the prepared corpora. Nothing is prepared or synthesised anew.
    """
    described = Described({}, {}, {}, {})
    first = results["directions"][0]
    for side in ("source", "target"):
        name = first[side]["name"]
        spec = name if name.startswith(("esd:", "demo:")) else str(config[side])
        try:
            _check_available(spec, data_dir)
            naming = naming_of(config, side)
            corpus = corpora.load_all(spec, tuple(results["emotions"]), data_dir, naming)
        except (InputError, OSError) as error:
            described.unavailable[name] = str(error)
            continue
        languages = Counter(u.language for u in corpus.utterances if u.language)
        described.languages[name] = ", ".join(sorted(languages)) or "unknown"
        described.parts[name] = tuple(sorted({u.corpus for u in corpus.utterances if u.corpus}))
        described.genders[name] = {
            (u.file, u.start_s, u.end_s): u.gender for u in corpus.utterances if u.gender
        }
    return described


def _check_available(spec: str, data_dir: Path) -> None:
    """Raises InputError if loading the corpus would first synthesise the demo corpus."""
    parts = [part.strip() for part in spec.split(",")]
    needs_demo = any(part.startswith(("demo:", "auto:")) for part in parts)
    if needs_demo and not demo.folder(data_dir).exists():
        raise InputError(f"the demo corpus is not in {data_dir}")
