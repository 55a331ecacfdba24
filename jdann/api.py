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

from rich.console import Console

from jdann.api_arguments import (
    Source,
    array_name,
    configure,
    data_folder_or_default,
    encoder_settings,
    load_domains,
    merge_settings,
    methods_to_train,
    with_target_labels,
    workdir_or_temporary,
)
from jdann.corpora.naming import AUTO
from jdann.errors import InputError
from jdann.experiments import evaluate as evaluation
from jdann.experiments import sweep as sweeping
from jdann.experiments import train as training
from jdann.figures.sweep import render as render_sweep
from jdann.inference.recogniser import Recogniser
from jdann.report.table import render

_TABLE_WIDTH = 160  # columns


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
    methods = methods_to_train(method, source)
    values = {"methods": ",".join(methods), "seeds": seeds}
    values |= encoder_settings(encoder, recipe, source)
    if isinstance(target_labels, str | Path):
        values["target_labels"] = str(target_labels)
    values = merge_settings(settings, values)
    full_config = configure(config, values, source, target)
    domains = load_domains(source, target, full_config, data_folder_or_default(data_dir))
    if target_labels is not None and not isinstance(target_labels, str | Path):
        domains = with_target_labels(domains, target, target_labels, full_config)
    folder, temporary = workdir_or_temporary(workdir)
    results = training.run(
        full_config,
        folder,
        data_folder_or_default(data_dir),
        resume=resume,
        overwrite=overwrite,
        domains=domains,
    )
    arrays = array_name(source), array_name(target)
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
    results = evaluation.evaluate(workdir, data_folder_or_default(data_dir), spec, layout)
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
    values |= encoder_settings(encoder, recipe, source)
    grid = {
        "sweep.strength": strengths,
        "sweep.learning_rate": learning_rates,
        "sweep.weight_decay": weight_decays,
    }
    values |= {key: ",".join(map(str, points)) for key, points in grid.items() if len(points)}
    values = merge_settings(settings, values)
    full_config = configure(config, values, source, target)
    domains = load_domains(source, target, full_config, data_folder_or_default(data_dir))
    folder, temporary = workdir_or_temporary(workdir)
    results = sweeping.sweep(
        full_config,
        folder,
        data_folder_or_default(data_dir),
        resume=resume,
        overwrite=overwrite,
        domains=domains,
    )
    arrays = array_name(source), array_name(target)
    return Result(results, folder, folder, temporary, arrays)
