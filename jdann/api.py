"""jdann from Python: `train`, `evaluate` and `sweep` in one call each.

    result = jdann.train("english.csv", "calls/", method="co_training", seeds=5)
    result.recogniser("clip.wav")  # {"neutral": 0.12, "happy": 0.61, ...}
    print(result.table)

A domain is the name of a corpus, a folder or a manifest, as in a config; a corpus from
`jdann.corpora.load`; or data in memory: `Waveforms`, or `Vectors` without any audio.
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
from jdann.corpora import Naming
from jdann.corpora.index import Corpus
from jdann.corpora.naming import AUTO
from jdann.data.pairs import Domain, load_domain
from jdann.errors import InputError
from jdann.experiments import evaluate as evaluation
from jdann.experiments import sweep as sweeping
from jdann.experiments import train as training
from jdann.experiments.layers import with_chosen_layer
from jdann.experiments.memory import (
    Vectors,
    Waveforms,
    classes_of,
    corpus_of_waveforms,
    domain_of_vectors,
    target_labels_of,
)
from jdann.experiments.settings import features_folder, make_feature_settings, naming_of
from jdann.figures.sweep import render as render_sweep
from jdann.files import default_data_dir
from jdann.inference.recogniser import Recogniser
from jdann.report.table import render

_TABLE_WIDTH = 160  # columns
# Vectors have no sampling rate; we use the lowest one allowed, because it needs the least padding.
_VECTOR_RATE_HZ = 1000
# Default recipe for an encoder, used if the caller names no recipe.
_DEFAULT_RECIPES = {
    "conv1d": "frames",
    "resnet50": "frames",
    "mlp": "statistics",
    "pretrained_top": "pretrained_frames",
}
# The argument of `train` or `sweep` that sets a key of the config.
_ARGUMENTS = {
    "source": "source",
    "target": "target",
    "target_labels": "target_labels",
    "methods": "method",
    "seeds": "seeds",
    "encoder.name": "encoder",
    "features.recipe": "recipe",
    "sweep.strength": "strengths",
    "sweep.learning_rate": "learning_rates",
    "sweep.weight_decay": "weight_decays",
}

Source = str | Path | Corpus | Waveforms | Vectors  # a domain, as the caller names or passes it
_IN_MEMORY = (Corpus, Waveforms, Vectors)


@dataclasses.dataclass(frozen=True)
class Result:
    """The results of a training, an evaluation or a sweep.

    Fields:
      results: the content of results.json.
      folder: folder of results.json and figures, and of predictions.csv unless it is a sweep.
      workdir: the work directory of the training.
    """

    results: Mapping[str, Any] = dataclasses.field(repr=False)
    folder: Path
    workdir: Path
    _temporary: tempfile.TemporaryDirectory[str] | None = dataclasses.field(
        default=None, repr=False
    )
    # Names of source and target if they were arrays in memory, otherwise None.
    _arrays: tuple[str | None, str | None] = dataclasses.field(default=(None, None), repr=False)

    @property
    def table(self) -> str:
        """The scores as plain text."""
        render_results = render_sweep if self._is_sweep else render
        console = Console(width=_TABLE_WIDTH, no_color=True)
        with console.capture() as capture:
            console.print(render_results(self.results))
        return capture.get()

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One dict per method and way of selecting, with the mean and the spread of each score."""
        return list(self.results["rows"])

    @cached_property
    def predictions(self) -> list[dict[str, str]]:
        """The rows of predictions.csv: each target utterance with each method's probabilities.

        Raises:
          InputError: the result is that of a sweep.
        """
        self._check_is_no_sweep()
        with (self.folder / "predictions.csv").open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    @cached_property
    def recogniser(self) -> Recogniser:
        """The trained recogniser: that of the last method that adapts to the target.

        Raises:
          InputError: the result is that of a sweep.
        """
        self._check_is_no_sweep()
        return Recogniser.load(self.workdir)

    def save(self, path: str | Path) -> Path:
        """Writes the recogniser to a folder; `Recogniser.load` reads it."""
        self.recogniser.save(path)
        return Path(path)

    @property
    def _is_sweep(self) -> bool:
        return self.results.get("kind") == "sweep"

    def _check_is_no_sweep(self) -> None:
        if self._is_sweep:
            raise InputError(
                "a sweep has no predictions and no recogniser; "
                "train the chosen point with jdann.train"
            )

    def __str__(self) -> str:
        return self.table


def train(
    source: Source,
    target: Source,
    *,
    target_labels: str | Path | Sequence[object] | None = None,
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

    Labels in `target` that exist are read after training, for scoring only.

    Args:
      source: the labelled domain.
      target: the domain to adapt to.
      target_labels: labels of some utterances of the target, to train on. These utterances are not
        scored. A table with the columns `file` and `emotion`, or, for a target in memory, one label
        per utterance, None where there is none.
      method: a name of `jdann.METHODS`, or several joined by "+"; it is trained beside
        "source_only", which does not adapt. A sequence names all methods to train. None:
        "co_training", or "mcc" for vectors.
      encoder: a name of `jdann.ENCODERS`; None: the config's.
      recipe: a name of `jdann.RECIPES`; None: the one that suits `encoder`; if that is None too,
        the config's.
      seeds: number of seeds; one compiled program trains all of them.
      config: a config file, or the name of one that comes with jdann.
      settings: other keys of configs/base.py, e.g. {"optimiser.learning_rate": 3e-4}. A key that
        is set by an argument is refused.
      workdir: folder for the results; None: a temporary folder that lives as long as the result.
      data_dir: folder of prepared corpora and cached features; None: that of TFDS.
      resume: continue the training in `workdir`.
      overwrite: replace the run in `workdir`, once the new one is finished.

    Returns:
      The Result.

    Raises:
      InputError: an argument or a corpus cannot be used.
      DivergenceError: a loss or parameter became infinite or NaN.
    """
    methods = _methods(method, source)
    values = {"methods": ",".join(methods), "seeds": seeds}
    values |= _encoder_settings(encoder, recipe, source)
    if isinstance(target_labels, str | Path):
        values["target_labels"] = str(target_labels)
    values = _merge_settings(settings, values)
    full_config = _configure(config, values, source, target)
    domains = _load_domains(source, target, full_config, _data_folder(data_dir))
    if target_labels is not None and not isinstance(target_labels, str | Path):
        domains = _with_target_labels(domains, target, target_labels, full_config)
    folder, temporary = _workdir_or_temporary(workdir)
    results = training.run(
        full_config,
        folder,
        _data_folder(data_dir),
        resume=resume,
        overwrite=overwrite,
        domains=domains,
    )
    arrays = _array_name(source), _array_name(target)
    return Result(results, folder, folder, temporary, arrays)


def evaluate(
    run: Result | str | Path,
    target: str | Path | None = None,
    *,
    layout: str = AUTO,
    data_dir: str | Path | None = None,
) -> Result:
    """Scores a finished run again, on its own target or on another corpus. Nothing is trained.

    Args:
      run: a `Result`, or the work directory of a run.
      target: a corpus, a folder or a manifest; None: the run's own target, with the labels that it
        has now.
      layout: how names of files in another target are read: "auto", "plain", or the name of a
        corpus such as "ravdess".
      data_dir: folder of prepared corpora and cached features; None: that of TFDS.

    Raises:
      InputError: there is no finished run, the corpus cannot be used, or the run's domains were
        arrays in memory, so that they cannot be read again.
    """
    workdir = run.workdir if isinstance(run, Result) else Path(run)
    temporary = run._temporary if isinstance(run, Result) else None
    arrays = run._arrays if isinstance(run, Result) else (None, None)
    spec = None if target is None else str(target)
    for name in arrays if spec is None else arrays[:1]:  # another target replaces the run's
        if name is not None:
            raise InputError(
                f"{name}: was in memory during the training, so it cannot be read again; use the "
                "result of jdann.train, or train from files"
            )
    results = evaluation.evaluate(workdir, _data_folder(data_dir), spec, layout)
    folder = evaluation.result_folder(workdir, spec)
    return Result(results, folder, workdir, temporary, arrays)


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
    config: str = "base",
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
      strengths: peak lambda of each grid point; empty: the config's.
      learning_rates: peak learning rate of each grid point; empty: the config's.
      weight_decays: weight decay of each grid point; empty: the config's.
      encoder: a name of `jdann.ENCODERS`; None: the config's.
      recipe: a name of `jdann.RECIPES`; None: the one that suits `encoder`; if that is None too,
        the config's.
      seeds: number of seeds at each grid point; one compiled program trains all of them.
      config: a config file, or the name of one that comes with jdann. The default is that of the
        command `jdann sweep`.
      settings: other keys of configs/base.py. A key that is set by an argument is refused.
      workdir: folder for the results; None: a temporary folder that lives as long as the result.
      data_dir: folder of prepared corpora and cached features; None: that of TFDS.
      resume: continue the sweep in `workdir`.
      overwrite: replace the sweep in `workdir`, once the new one is finished.

    Returns:
      The Result, without predictions and without a recogniser.

    Raises:
      InputError: an argument or a corpus cannot be used.
      DivergenceError: in every member of every method a loss or parameter became infinite or NaN.
    """
    methods = [method] if isinstance(method, str) else list(method)
    values = {"methods": ",".join(methods), "seeds": seeds}
    values |= _encoder_settings(encoder, recipe, source)
    grid = {
        "sweep.strength": strengths,
        "sweep.learning_rate": learning_rates,
        "sweep.weight_decay": weight_decays,
    }
    values |= {key: ",".join(map(str, points)) for key, points in grid.items() if len(points)}
    values = _merge_settings(settings, values)
    full_config = _configure(config, values, source, target)
    domains = _load_domains(source, target, full_config, _data_folder(data_dir))
    folder, temporary = _workdir_or_temporary(workdir)
    results = sweeping.sweep(
        full_config,
        folder,
        _data_folder(data_dir),
        resume=resume,
        overwrite=overwrite,
        domains=domains,
    )
    arrays = _array_name(source), _array_name(target)
    return Result(results, folder, folder, temporary, arrays)


def _methods(method: str | Sequence[str] | None, source: Source) -> list[str]:
    """The methods to train; a single one is trained beside source_only."""
    if method is None:
        method = "mcc" if isinstance(source, Vectors) else "co_training"
    if not isinstance(method, str):
        return list(method)
    return [method] if method == "source_only" else ["source_only", method]


def _encoder_settings(encoder: str | None, recipe: str | None, source: Source) -> dict[str, Any]:
    """The keys of the config that the two arguments set; neither if both are None."""
    values = {}
    if encoder is not None:
        values["encoder.name"] = encoder
        default = "vectors" if isinstance(source, Vectors) else _DEFAULT_RECIPES.get(encoder)
        recipe = recipe or default
    if recipe is not None:
        values["features.recipe"] = recipe
    return values


def _merge_settings(
    settings: Mapping[str, Any] | None, values: Mapping[str, Any]
) -> dict[str, Any]:
    """The settings together with the values that arguments set.

    Raises:
      InputError: a setting is a key that an argument sets, so that one of the two would be lost.
    """
    for key in settings or {}:
        if key in values or key in ("source", "target"):
            raise InputError(f"settings has {key!r}; give it as the argument {_ARGUMENTS[key]}=")
    return dict(settings or {}) | dict(values)


def _configure(config: str, values: Mapping[str, Any], source: Source, target: Source) -> Any:
    """The config with all settings; a domain in memory appears in it by its name.

    Raises:
      InputError: vectors are paired with audio, or they differ in size.
    """
    names = {"source": _spec(source), "target": _spec(target)}
    if names["source"] == names["target"] and isinstance(target, _IN_MEMORY):
        raise InputError(f"source and target are both called {names['source']}; give each a name=")
    overrides = [(key, _as_text(value)) for key, value in (names | dict(values)).items()]
    audio_config: Any = load_config(config, overrides)
    if not isinstance(source, Vectors) and not isinstance(target, Vectors):
        return audio_config
    if not isinstance(source, Vectors) or not isinstance(target, Vectors):
        raise InputError("source and target must both be Vectors, or both be audio")
    sizes = [np.shape(domain.values)[-1] for domain in (source, target)]
    if sizes[0] != sizes[1]:
        raise InputError(f"vectors of {sizes[0]} and of {sizes[1]} values; expected one size")
    _check_vector_settings(values)
    vector_config: Any = ConfigDict(audio_config.to_dict())
    vector_config.emotions = classes_of(source)
    vector_config.features.recipe = "vectors"
    vector_config.features.vector_size = int(sizes[0])
    vector_config.encoder.name = "mlp"
    vector_config.audio.sample_rate_hz = _VECTOR_RATE_HZ
    return FrozenConfigDict(vector_config)


def _check_vector_settings(values: Mapping[str, Any]) -> None:
    """Refuses an encoder or a recipe that vectors cannot use."""
    for key, only in (("encoder.name", "mlp"), ("features.recipe", "vectors")):
        if values.get(key, only) != only:
            raise InputError(
                f"{key}={values[key]}: vectors are trained with {key}={only}; leave it out"
            )


def _as_text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value)


def _spec(domain: Source) -> str:
    """The name of a domain in the config."""
    return domain.name if isinstance(domain, _IN_MEMORY) else str(domain)


def _array_name(domain: Source) -> str | None:
    """The name of a domain of arrays; None: it can be read again by its name in the config."""
    return domain.name if isinstance(domain, Waveforms | Vectors) else None


def _workdir_or_temporary(
    workdir: str | Path | None,
) -> tuple[Path, tempfile.TemporaryDirectory[str] | None]:
    """The work directory; if the caller names none, also the temporary folder that it is."""
    if workdir is not None:
        return Path(workdir).expanduser(), None
    temporary = tempfile.TemporaryDirectory(prefix="jdann-")
    return Path(temporary.name), temporary


def _data_folder(data_dir: str | Path | None) -> Path:
    return default_data_dir() if data_dir is None else Path(data_dir).expanduser()


def _load_domains(
    source: Source, target: Source, config: Any, data_folder: Path
) -> list[Domain] | None:
    """Loads both domains if at least one of them is in memory; None: the config names both."""
    if not isinstance(source, _IN_MEMORY) and not isinstance(target, _IN_MEMORY):
        return None
    settings, cache = make_feature_settings(config), features_folder(data_folder)
    if isinstance(source, Vectors) and isinstance(target, Vectors):
        return [domain_of_vectors(domain, settings, cache) for domain in (source, target)]
    listed = [
        _as_corpus(domain, settings.emotions, data_folder, naming_of(config, name))
        for domain, name in ((source, "source"), (target, "target"))
        if not isinstance(domain, Vectors)
    ]
    settings = with_chosen_layer(config, listed[0], listed[1], data_folder)
    return [load_domain(corpus, settings, cache) for corpus in listed]


def _with_target_labels(
    domains: list[Domain] | None,
    target: Source,
    labels: Sequence[object],
    config: Any,
) -> list[Domain]:
    """The domains, of which the target has the labels that the caller gives.

    Raises:
      InputError: the target is not in memory, so that a table has to name its utterances.
    """
    if domains is None or not isinstance(target, Waveforms | Vectors):
        raise InputError(
            f"target_labels: {len(labels)} labels for {_spec(target)}, which is not in memory; "
            "give a table with the columns `file` and `emotion`"
        )
    source_domain, domain = domains
    naming = naming_of(config, "target")
    rows = target_labels_of(target, labels, domain, config.emotions, naming)
    return [source_domain, domain._replace(target_labels=rows)]


def _as_corpus(
    domain: str | Path | Corpus | Waveforms,
    emotions: Sequence[str],
    data_folder: Path,
    naming: Naming,
) -> Corpus:
    if isinstance(domain, Corpus):
        return domain
    if isinstance(domain, Waveforms):
        return corpus_of_waveforms(domain, emotions, naming)
    return corpora.load_all(str(domain), emotions, data_folder, naming)
