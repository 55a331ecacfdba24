"""Random values of every key of a config: each is refused by name, or a run with it ends an epoch.

The seed is printed; set JDANN_CAMPAIGN_SEED to repeat a campaign.

Runs take the smallest and the largest value of each number of training, of its features and of
each method. A number whose range has no end is as large as a run of a test can be; the numbers of
`LARGE` are those. No run tries the keys of `NOT_RUN`.
"""

import contextlib
import json
import time
from collections import Counter
from typing import Any

import numpy as np
import pytest

from jdann import api, configuration
from jdann.cli import main
from jdann.errors import DivergenceError, InputError
from jdann.methods import METHODS
from jdann.parameters import Parameter, parameters
from tests.support.corpora import write_tones
from tests.support.random_settings import as_text, keys, random_value
from tests.support.runs import arguments, fail

pytestmark = pytest.mark.slow
VALUES = 1_000
LONGEST_S = 5.0  # until a value is refused or taken
LONGEST_MESSAGE = 1_500  # characters; the longest ones list all methods
LOOKED_UP = {  # a stage looks these names up; the rest of the message is its own
    "features.recipe": "statistic",
    "features.channel": "phone",
    "features.normalise": "person",
    "encoder.name": "conv2d",
    "optimiser.name": "lion",
    "optimiser.schedule": "linear",
    "strength.schedule": "step",
    "seeds_in": "pmap",
    "precision": "float16",
    "selection": "best",
}
LARGE = {"hidden": 512, "layers": 8, "projection": 512, "direct": 8192, "kernels": 16}
LARGE |= {"iterations": 100, "rounds": 8, "rounds_first": 8, "rounds_per_speaker": 8}
LARGE_COUNT, LARGE_NUMBER = 16, 100.0
NOT_RUN = (
    *("tune and sweep, which `train` does not read", "more seeds or epochs than one"),
    *("encoder.channels and encoder.hidden above their defaults", "features.vector_size"),
    *("layout and speaker_pattern, which only corpora without labels or speakers need",),
)
LOW = {
    "folds": 2,
    "validation_fraction": 0,
    "max_failed_fraction": 1,
    "audio.offset_s": 0,
    "audio.sample_rate_hz": 13000,
    "audio.max_duration_s": 0.1,
    "audio.trim_db": 0,
    "audio.level_db": -3.4e38,
    "features.n_fft": 400,
    "features.hop_length": 64,
    "features.n_mels": 1,
    "features.n_mfcc": 1,
    "features.relevance": 0,
    "features_gib": 0,
    "augment.crop_frames": 0,
    "augment.time_masks": 0,
    "augment.time_mask_frames": 0,
    "augment.frequency_masks": 0,
    "augment.frequency_mask_bins": 0,
    "encoder.channels": 1,
    "encoder.strides": 1,
    "encoder.kernel_size": 1,
    "encoder.dropout": 0,
    "batch_size": 1,
    "strength.maximum": 0,
    "strength.gamma": 0,
    "optimiser.learning_rate": 0,
    "ema": 0,
    "optimiser.warmup_fraction": 0,
    "optimiser.weight_decay": 0,
    "optimiser.clip_norm": 0,
    "label_smoothing": 0,
    "evaluate_every": 1,
    "checkpoint_every_s": 0,
    "seed": 0,
}
HIGH = {
    "folds": 2**31 - 1,
    "validation_fraction": 0.999,
    "audio.offset_s": 0.1,
    "audio.sample_rate_hz": 32000,
    "audio.max_duration_s": 3.4e38,
    "audio.trim_db": 3.4e38,
    "audio.level_db": 300,
    "features.n_fft": 8192,
    "features.hop_length": 5000,
    "features.n_mels": 256,
    "features.n_mfcc": 256,
    "features.relevance": 3.4e38,
    "features_gib": 1e6,
    "augment.crop_frames": 2**31 - 1,
    "augment.time_masks": 100,
    "augment.time_mask_frames": 2**31 - 1,
    "augment.frequency_masks": 100,
    "augment.frequency_mask_bins": 2**31 - 1,
    "encoder.kernel_size": 64,
    "encoder.dropout": 1,
    "batch_size": 512,
    "strength.maximum": 3.4e38,
    "strength.gamma": 3.4e38,
    "optimiser.learning_rate": 1e30,
    "ema": 1,
    "optimiser.warmup_fraction": 1,
    "optimiser.weight_decay": 1e30,
    "optimiser.clip_norm": 3.4e38,
    "label_smoothing": 1,
    "evaluate_every": 2**31 - 1,
    "checkpoint_every_s": 3.4e38,
    "seed": 2**32 - 1,
}


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """Manifests of two corpora of ten utterances, and a folder for their features."""
    folder = tmp_path_factory.mktemp("few")
    source = write_tones(folder / "source", 0, 150.0, speakers=2, takes=1)
    target = write_tones(folder / "target", 1, 230.0, speakers=2, takes=1)
    return source, target, folder / "data"


def load_from_text(key: str, value: Any, _) -> Any:
    return configuration.load_config("base", [(key, as_text(value))])


def load_from_json(key: str, value: Any, folder) -> Any:
    for name in reversed(key.split(".")):
        value = {name: value}
    (folder / "config.json").write_text(json.dumps(value))
    return configuration.load_config(str(folder / "config.json"))


def load_from_python(key: str, value: Any, _) -> Any:
    """A config file that sets a value by force, as Python can."""
    config = configuration.base_config()
    *groups, leaf = key.split(".")
    node = config
    for group in groups:
        node = node[group]
    with node.ignore_type():
        node[leaf] = value
    configuration.check(config)
    return config


def value_of(config: Any, key: str) -> Any:
    for name in key.split("."):
        config = config[name]
    return config


def test_each_value_is_refused_by_name_or_taken(rng, tmp_path):
    known, base = keys(), configuration.base_config()
    ways = (load_from_text, load_from_json, load_from_python)
    outcomes: Counter[str] = Counter()
    names = list(known)
    while sum(outcomes.values()) < max(VALUES, 3 * len(names)):
        key = names[sum(outcomes.values()) % len(names)]
        value = random_value(rng, known[key], value_of(base, key))
        way = ways[rng.integers(len(ways))]
        begun = time.monotonic()
        try:
            config = way(key, value, tmp_path)
        except InputError as error:
            line = str(error)
            assert len(line.splitlines()) == 1 and len(line) < LONGEST_MESSAGE, (key, value, line)
            # An empty group of JSON names no key.
            named = key.split(".")[-1] in line or (key == "methods" and "method" in line)
            assert named or "holds no keys" in line, (key, value, line)
            outcomes["refused"] += 1
        except (
            TypeError,
            ValueError,
            OverflowError,
        ) as error:  # JSON or ConfigDict cannot hold the value
            assert way is not load_from_text, (key, value, error)
            assert "not JSON serializable" in str(error) or "convert" in str(error), (key, value)
            continue
        else:
            parameter = known[key]
            taken = value_of(config, key)
            assert parameter is None or parameter.problem(taken) is None, (key, value)
            outcomes["taken"] += 1
        assert time.monotonic() - begun < LONGEST_S, (key, value)
    print(dict(outcomes))


@pytest.mark.parametrize("key", LOOKED_UP)
def test_a_name_that_does_not_exist_is_refused_before_any_work(key, few, tmp_path, capsys):
    source, target, data_dir = few
    for value in (LOOKED_UP[key], "é\n", "x" * 500):
        options = arguments(source, target, tmp_path / "run", data_dir, f"--config.{key}={value}")
        lines = fail(capsys, *options).splitlines()
        assert lines[-1].startswith("jdann: ") and key.split(".")[-1] in lines[-1], lines
        assert len(lines[-1]) < LONGEST_MESSAGE


@pytest.mark.parametrize("values", [LOW, HIGH], ids=["low", "high"])
def test_a_run_at_the_borders_ends(values, few, tmp_path):
    source, target, data_dir = few
    options = [f"--config.{key}={value}" for key, value in values.items()]
    small = ("epochs=1", "seeds=1", "baseline=false", "tsne=false")
    workdir = tmp_path / "run"
    main(
        [
            *arguments(source, target, workdir, data_dir),
            *(f"--config.{override}" for override in small),
            *options,
        ]
    )
    assert (workdir / "results.json").exists()


def border(parameter: Parameter, is_low: bool) -> Any:
    """The smallest or the largest value of a method's parameter that a test can run."""
    low, high = parameter.range.low, parameter.range.high
    if parameter.kind is int:
        largest = high if np.isfinite(high) else LARGE.get(parameter.name, LARGE_COUNT)
        return int(low if is_low else largest)
    if is_low:
        return low + 1e-6 if parameter.range.above else low
    largest = high if np.isfinite(high) else LARGE_NUMBER
    return largest - 1e-6 if parameter.range.below else largest


def borders_of(name: str, is_low: bool) -> dict[str, Any]:
    """The smallest or largest values of a method's parameters, by their keys."""
    values = {}
    for parameter, described in parameters(METHODS[name]).items():
        if described.choices:
            values[f"{name}.{parameter}"] = described.choices[0 if is_low else -1]
        elif described.kind in (int, float) and described.range is not None:
            values[f"{name}.{parameter}"] = border(described, is_low)
    return values


@pytest.mark.parametrize("name", [name for name in METHODS if borders_of(name, True)])
def test_each_method_runs_at_the_borders_of_its_parameters(name, few, tmp_path):
    """Some methods have two phases. A large weight may make a training diverge."""
    source, target, data_dir = few
    small = {"epochs": 2, "batch_size": 8, "encoder.hidden": "8", "evaluate_every": 1}
    small |= {"baseline": False, "tsne": False, "audio.speech_only": False}
    for is_low in (True, False):
        with contextlib.suppress(DivergenceError):
            result = api.train(
                source,
                target,
                method=[name],
                encoder="mlp",
                recipe="statistics",
                seeds=1,
                config="base",
                settings=small | borders_of(name, is_low),
                workdir=tmp_path / str(is_low),
                data_dir=data_dir,
            )
            assert result.rows
