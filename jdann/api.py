"""jdann from Python: `train`, `evaluate` and `sweep` in one call each.

    result = jdann.train("english.csv", "calls/", method="co_training", seeds=5)
    result.recogniser("clip.wav")  # {"neutral": 0.12, "happy": 0.61, ...}
    print(result.table)

A domain is what a config names (a corpus, a folder, a manifest), a corpus from
`jdann.corpora.load`, or in memory: `Waveforms`, or `Vectors` without any audio.
"""

import csv
import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict, FrozenConfigDict
from rich.console import Console

from jdann import corpora
from jdann.configuration import load_config
from jdann.corpora.index import Corpus
from jdann.data.pairs import Domain, load_domain
from jdann.errors import InputError
from jdann.experiments import evaluate as evaluation
from jdann.experiments import sweep as sweeping
from jdann.experiments import train as training
from jdann.experiments.memory import (
    Vectors,
    Waveforms,
    classes_of,
    corpus_of_waveforms,
    domain_of_vectors,
)
from jdann.experiments.settings import features_folder, make_feature_settings
from jdann.figures.sweep import render as render_sweep
from jdann.files import default_data_dir
from jdann.inference.recogniser import Recogniser
from jdann.report.table import render

_TABLE_WIDTH = 160  # columns
_VECTOR_RATE_HZ = 1000  # vectors have no rate; the lowest one needs the least padding
# The recipe of features that suits an encoder where none is given.
_RECIPES = {"conv1d": "frames", "resnet50": "frames", "mlp": "statistics"}


Source = str | Path | Corpus | Waveforms | Vectors  # what a domain may be given as
_IN_MEMORY = (Corpus, Waveforms, Vectors)


@dataclasses.dataclass(frozen=True)
class Result:
    """What a training, an evaluation or a sweep found.

    Fields:
      results: what results.json holds.
      folder: the folder of results.json, predictions.csv and figures.
      workdir: the work directory of the training.
    """

    results: Mapping[str, Any] = dataclasses.field(repr=False)
    folder: Path
    workdir: Path
    _temporary: tempfile.TemporaryDirectory[str] | None = dataclasses.field(
        default=None, repr=False
    )

    @property
    def table(self) -> str:
        """The scores as plain text."""
        renderable = render_sweep if self.results.get("kind") == "sweep" else render
        console = Console(width=_TABLE_WIDTH, no_color=True)
        with console.capture() as capture:
            console.print(renderable(self.results))
        return capture.get()

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One dict per method and way of selecting, with the mean and the spread of each score."""
        return list(self.results["rows"])

    @cached_property
    def predictions(self) -> list[dict[str, str]]:
        """The rows of predictions.csv: each target utterance with each method's probabilities."""
        with (self.folder / "predictions.csv").open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    @cached_property
    def recogniser(self) -> Recogniser:
        """The trained recogniser: that of the last method that adapts to the target."""
        return Recogniser.load(self.workdir)

    def save(self, path: str | Path) -> Path:
        """Writes the recogniser to a folder; `Recogniser.load` reads it."""
        self.recogniser.save(path)
        return Path(path)

    def __str__(self) -> str:
        return self.table


def train(
    source: Source,
    target: Source,
    *,
    method: str | Sequence[str] | None = None,
    encoder: str | None = None,
    recipe: str | None = None,
    seeds: int = 5,
    config: str = "best",
    settings: Mapping[str, Any] | None = None,
    workdir: str | Path | None = None,
    data_dir: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Result:
    """Trains recognisers from a labelled source for an unlabelled target.

    Target labels that exist are read after training, for scoring only.

    Args:
      source: the labelled domain.
      target: the domain to adapt to.
      method: a name of `jdann.METHODS`, or several joined by "+"; it is trained beside
        "source_only", which does not adapt. A sequence names all methods to train. None:
        "co_training", or "mcc" for vectors.
      encoder: a name of `jdann.ENCODERS`; None: the config's.
      recipe: a name of `jdann.RECIPES`; None: the one that suits the encoder.
      seeds: how many, trained in one program.
      config: a config file, or the name of one that comes with jdann.
      settings: other keys of configs/base.py, e.g. {"optimiser.learning_rate": 3e-4}.
      workdir: where results go; None: a temporary folder that lives as long as the result.
      data_dir: folder of prepared corpora and cached features; None: that of TFDS.
      resume: continue the training in `workdir`.
      overwrite: replace the run in `workdir`.

    Returns:
      The Result.

    Raises:
      InputError: something given cannot be used.
      DivergenceError: the training's numbers ceased to be finite.
    """
    values = dict(settings or {})
    methods = _methods(method, source)
    values |= {"methods": ",".join(methods), "seeds": seeds}
    values |= _encoder_settings(encoder, recipe)
    loaded = _configure(config, values, source, target)
    domains = _load_domains(source, target, loaded, _data_folder(data_dir))
    folder, temporary = _folder(workdir)
    results = training.run(
        loaded, folder, _data_folder(data_dir), resume=resume, overwrite=overwrite, domains=domains
    )
    return Result(results, folder, folder, temporary)


def evaluate(
    run: Result | str | Path,
    target: str | Path | None = None,
    *,
    data_dir: str | Path | None = None,
) -> Result:
    """Scores a finished run again, on its own target or on another corpus. Nothing is trained.

    Args:
      run: a `Result`, or the work directory of a run.
      target: a corpus, a folder or a manifest; None: the run's own target, with the labels that it
        has now.
      data_dir: folder of prepared corpora and cached features; None: that of TFDS.

    Raises:
      InputError: there is no finished run, or the corpus cannot be used.
    """
    workdir = run.workdir if isinstance(run, Result) else Path(run)
    temporary = run._temporary if isinstance(run, Result) else None
    spec = None if target is None else str(target)
    results = evaluation.evaluate(workdir, _data_folder(data_dir), spec)
    folder = evaluation.result_folder(workdir, spec)
    return Result(results, folder, workdir, temporary)


def sweep(
    source: Source,
    target: Source,
    *,
    method: str | Sequence[str] = "dann",
    strengths: Sequence[float] = (),
    learning_rates: Sequence[float] = (),
    weight_decays: Sequence[float] = (),
    encoder: str | None = None,
    recipe: str | None = None,
    seeds: int = 5,
    config: str = "en2zh",
    settings: Mapping[str, Any] | None = None,
    workdir: str | Path | None = None,
    data_dir: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Result:
    """Trains every seed at every combination of hyper-parameters in one program.

    Args:
      source: the labelled domain.
      target: the domain to adapt to.
      method: a name of `jdann.METHODS`, or a sequence of names.
      strengths: the largest lambda of each point; empty: the config's.
      learning_rates: likewise.
      weight_decays: likewise.
      encoder: as for `train`, and so are the other arguments.
      recipe: see `train`.
      seeds: see `train`.
      config: see `train`.
      settings: see `train`.
      workdir: see `train`.
      data_dir: see `train`.
      resume: see `train`.
      overwrite: see `train`.

    Raises:
      InputError: something given cannot be used.
      DivergenceError: no member of any method stayed finite.
    """
    values = dict(settings or {})
    methods = [method] if isinstance(method, str) else list(method)
    values |= {"methods": ",".join(methods), "seeds": seeds}
    values |= _encoder_settings(encoder, recipe)
    grid = {
        "sweep.strength": strengths,
        "sweep.learning_rate": learning_rates,
        "sweep.weight_decay": weight_decays,
    }
    values |= {key: ",".join(map(str, points)) for key, points in grid.items() if len(points)}
    loaded = _configure(config, values, source, target)
    domains = _load_domains(source, target, loaded, _data_folder(data_dir))
    folder, temporary = _folder(workdir)
    results = sweeping.sweep(
        loaded, folder, _data_folder(data_dir), resume=resume, overwrite=overwrite, domains=domains
    )
    return Result(results, folder, folder, temporary)


def _methods(method: str | Sequence[str] | None, source: Source) -> list[str]:
    """The methods to train; a single one stands beside source_only."""
    if method is None:
        method = "mcc" if isinstance(source, Vectors) else "co_training"
    if not isinstance(method, str):
        return list(method)
    return [method] if method == "source_only" else ["source_only", method]


def _encoder_settings(encoder: str | None, recipe: str | None) -> dict[str, str]:
    values = {}
    if encoder is not None:
        values["encoder.name"] = encoder
        recipe = recipe or _RECIPES.get(encoder)
    if recipe is not None:
        values["features.recipe"] = recipe
    return values


def _configure(config: str, values: Mapping[str, Any], source: Source, target: Source) -> Any:
    """The config with all settings; what is in memory appears in it by its name.

    Raises:
      InputError: vectors are paired with audio, or they differ in size.
    """
    names = {"source": _spec(source), "target": _spec(target)}
    if names["source"] == names["target"] and isinstance(target, _IN_MEMORY):
        raise InputError(f"source and target are both called {names['source']}; give each a name=")
    overrides = [(key, _as_text(value)) for key, value in (names | dict(values)).items()]
    loaded: Any = load_config(config, overrides)
    if not isinstance(source, Vectors) and not isinstance(target, Vectors):
        return loaded
    if not isinstance(source, Vectors) or not isinstance(target, Vectors):
        raise InputError("source and target must both be Vectors, or both be audio")
    sizes = [np.shape(domain.values)[-1] for domain in (source, target)]
    if sizes[0] != sizes[1]:
        raise InputError(f"vectors of {sizes[0]} and of {sizes[1]} values; expected one size")
    changed: Any = ConfigDict(loaded.to_dict())
    changed.emotions = classes_of(source)
    changed.features.recipe, changed.features.vector_size = "vectors", int(sizes[0])
    changed.encoder.name, changed.audio.sample_rate_hz = "mlp", _VECTOR_RATE_HZ
    return FrozenConfigDict(changed)


def _as_text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value)


def _spec(domain: Source) -> str:
    return domain.name if isinstance(domain, _IN_MEMORY) else str(domain)


def _folder(
    workdir: str | Path | None,
) -> tuple[Path, tempfile.TemporaryDirectory[str] | None]:
    if workdir is not None:
        return Path(workdir).expanduser(), None
    temporary = tempfile.TemporaryDirectory(prefix="jdann-")
    return Path(temporary.name), temporary


def _data_folder(data_dir: str | Path | None) -> Path:
    return default_data_dir() if data_dir is None else Path(data_dir).expanduser()


def _load_domains(
    source: Source, target: Source, config: Any, data_folder: Path
) -> list[Domain] | None:
    """Both domains where one of them is in memory; None: the config names both."""
    if not isinstance(source, _IN_MEMORY) and not isinstance(target, _IN_MEMORY):
        return None
    settings, cache = make_feature_settings(config), features_folder(data_folder)
    domains = []
    for domain in (source, target):
        if isinstance(domain, Vectors):
            domains.append(domain_of_vectors(domain, settings, cache))
        else:
            corpus = _as_corpus(domain, settings.emotions, data_folder)
            domains.append(load_domain(corpus, settings, cache))
    return domains


def _as_corpus(
    domain: str | Path | Corpus | Waveforms, emotions: Sequence[str], data_folder: Path
) -> Corpus:
    if isinstance(domain, Corpus):
        return domain
    if isinstance(domain, Waveforms):
        return corpus_of_waveforms(domain, emotions)
    return corpora.load_all(str(domain), emotions, data_folder)
