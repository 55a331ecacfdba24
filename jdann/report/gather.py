"""Reads what a run has left in its work directory, for the report; what is missing is said, not fatal."""

import base64
import csv
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jdann.errors import InputError
from jdann.experiments import workdir
from jdann.inference import model
from jdann.selection import calibration

log = logging.getLogger("jdann")
BINS = 10  # of a reliability diagram
_EXPECTED = ("classes", "speakers", "training")


class Figure(NamedTuple):
    """A figure of the run, embedded."""

    stem: str  # of its file
    uri: str


class Predictions(NamedTuple):
    """What one method says of one target: its rows of predictions.csv."""

    source: str
    target: str
    method: str
    encoder: str
    emotion: np.ndarray  # [n] int, -1 where unlabelled
    probability: np.ndarray  # [n, classes] float, the mean over seeds
    key: tuple[
        tuple[str, str, float, float | None], ...
    ]  # speaker, file, start_s and end_s of the n utterances
    reliability: calibration.Reliability  # in `BINS` bins
    ece: float | None  # expected calibration error; None where nothing is labelled

    @property
    def name(self) -> str:
        """For headings: "dann, conv1d"."""
        return f"{self.method}, {self.encoder}"


class Described(NamedTuple):
    """What the corpora say that results.json does not."""

    languages: dict[str, str]  # by name of a domain
    parts: dict[str, tuple[str, ...]]  # names of the corpora within each domain
    genders: dict[str, dict[tuple[str, str, float, float | None], str]]  # of utterances, by domain
    why_not: dict[str, str]  # why a domain is not described, in words


class Run(NamedTuple):
    """One run, as far as it got."""

    path: Path
    config: Mapping[str, Any]
    results: Mapping[str, Any] | None  # None: unfinished
    unfinished: str  # one line, empty where finished
    figures: tuple[Figure, ...]
    missing: tuple[str, ...]  # figures that each run draws and this one lacks
    predictions: tuple[Predictions, ...]
    elsewhere: tuple[Mapping[str, Any], ...]  # results.json of `jdann evaluate --target`
    described: Described
    models: tuple[Mapping[str, Any], ...]  # model.json of each recogniser that the run has left

    @property
    def name(self) -> str:
        """The work directory's own name."""
        return self.path.resolve().name


def read(path: Path, data_dir: Path) -> Run:
    """Reads a run, finished or not.

    Args:
      path: the work directory.
      data_dir: where prepared corpora live.

    Raises:
      InputError: there is no run, or a file of it is damaged.
    """
    config = workdir.read_config(path).to_dict()
    results, unfinished, elsewhere = None, "", ()
    if (path / "results.json").exists():
        results = workdir.read_json(path / "results.json")
        if not isinstance(results, dict) or not {"rows", "kind"} & set(results):
            raise InputError(
                f"{path / 'results.json'}: is not the outcome of a run; run the training again by --overwrite"
            )
        workdir.check_kind(path, results)
        elsewhere = tuple(
            workdir.read_json(p) for p in sorted(path.glob("evaluation/*/results.json"))
        )
    else:
        trained = (
            len(list((path / "checkpoints").glob("*"))) if (path / "checkpoints").exists() else 0
        )
        begun = f"{trained} of its trainings begun" if trained else "no training begun"
        unfinished = f"{path}: this run is not finished ({begun}, no results.json); continue it by jdann train --resume"
    figures = tuple(_figures(path / "figures"))
    missing = (
        tuple(stem for stem in _EXPECTED if not any(f.stem.startswith(stem) for f in figures))
        if results
        else ()
    )
    predictions = (
        tuple(_predictions(path / "predictions.csv", results["emotions"])) if results else ()
    )
    described = describe(config, results, data_dir) if results else Described({}, {}, {}, {})
    models = tuple(
        workdir.read_json(p) for p in sorted((path / model.FOLDER).glob(f"*/{model.CARD}"))
    )
    return Run(
        path,
        config,
        results,
        unfinished,
        figures,
        missing,
        predictions,
        elsewhere,
        described,
        models,
    )


def _figures(folder: Path) -> Iterator[Figure]:
    order = ("classes", "speakers", "training", "confusion", "per-speaker", "tsne")

    def place(path: Path) -> tuple[int, str]:
        return next(
            (i for i, name in enumerate(order) if path.stem.startswith(name)), len(order)
        ), path.stem

    for path in sorted(folder.glob("*.png"), key=place):
        try:
            data = path.read_bytes()
        except OSError as error:
            log.warning("%s: is left out of the report (%s)", path, error.strerror)
            continue
        if data.startswith(b"\x89PNG"):
            yield Figure(
                path.stem, f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}"
            )
        else:
            log.warning("%s: is left out of the report, being no PNG", path)


def _predictions(path: Path, emotions: Sequence[str]) -> Iterator[Predictions]:
    if not path.exists():
        return
    number = {name: i for i, name in enumerate(emotions)}
    rows: dict[tuple[str, str, str, str], list[tuple[int, list[float], Any]]] = {}
    try:
        with path.open(newline="", encoding="utf-8", errors="backslashreplace") as file:
            for row in csv.DictReader(file):
                key = (
                    row["speaker"],
                    row["file"],
                    float(row["start"] or 0),
                    float(row["end"]) if row["end"] else None,
                )
                values = [float(row[f"p_{name}"]) for name in emotions]
                of = (row["source"], row["target"], row["method"], row["encoder"])
                rows.setdefault(of, []).append((number.get(row["emotion"], -1), values, key))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: is damaged ({error!r}); write it anew by jdann evaluate {path.parent}"
        ) from error
    for of, found in rows.items():
        emotion, probability = (
            np.array([e for e, _, _ in found]),
            np.array([p for _, p, _ in found]),
        )
        keys = tuple(k for _, _, k in found)
        bins = calibration.reliability(probability, emotion, BINS)
        yield Predictions(
            *of,
            emotion,
            probability,
            keys,
            bins,
            calibration.expected_calibration_error(probability, emotion, BINS),
        )


def describe(config: Mapping[str, Any], results: Mapping[str, Any], data_dir: Path) -> Described:
    """Asks the corpora of a run, where they are still at hand, for languages, genders and where they come from.

    Args:
      config: of the run.
      results: what results.json holds.
      data_dir: where prepared corpora live. Nothing is prepared or synthesised anew.
    """
    from jdann import corpora

    described = Described({}, {}, {}, {})
    first = results["directions"][0]
    for side in ("source", "target"):
        name = first[side]["name"]
        spec = name if name.startswith(("esd:", "demo:")) else str(config[side])
        try:
            _check_at_hand(spec, data_dir)
            corpus = corpora.load_all(spec, tuple(results["emotions"]), data_dir)
        except (InputError, OSError) as error:
            described.why_not[name] = str(error)
            continue
        languages = Counter(u.language for u in corpus.utterances if u.language)
        described.languages[name] = ", ".join(sorted(languages)) or "unknown"
        described.parts[name] = tuple(sorted({u.corpus for u in corpus.utterances if u.corpus}))
        described.genders[name] = {
            (u.speaker or "", u.file, u.start_s, u.end_s): u.gender
            for u in corpus.utterances
            if u.gender
        }
    return described


def _check_at_hand(spec: str, data_dir: Path) -> None:
    """Raises InputError where loading would synthesise the demo corpus first."""
    from jdann.corpora import demo

    if (
        any(part.strip().startswith(("demo:", "auto:")) for part in spec.split(","))
        and not demo.folder(data_dir).exists()
    ):
        raise InputError(f"the demo corpus is not in {data_dir}")
