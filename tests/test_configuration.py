"""Configs: found, overridden, refused by name."""

import pytest

from jdann import configuration
from jdann.errors import InputError
from jdann.methods import METHODS


def load(*overrides):
    return configuration.load_config("en2zh", [tuple(o.split("=", 1)) for o in overrides])


def test_overrides_take_the_type_of_the_default():
    config = load(
        "methods=source_only,dann",
        "seeds=8",
        "optimiser.learning_rate=3e-4",
        "both_directions=true",
        "encoder.name=resnet50",
        "encoder.channels=8,16",
        "source=a.csv",
    )
    assert config.methods == ("source_only", "dann")
    assert config.seeds == 8
    assert config.optimiser.learning_rate == 3e-4
    assert config.both_directions is True
    assert config.encoder.channels == (8, 16)
    assert config.source == "a.csv"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sedes=3", "config.sedes: no such key .did you mean seeds"),
        ("optimizer.learning_rate=1", "no such key .did you mean optimiser.learning_rate"),
        ("seeds=many", "config.seeds=many: expected a whole number"),
        ("seeds=2.5", "expected a whole number"),
        ("optimiser.learning_rate=fast", "expected a number"),
        ("both_directions=perhaps", "expected true or false"),
        ("encoder=resnet50", "is a group.*encoder.name"),
        ("seeds=0", "config.seeds is 0; expected a whole number of at least 1"),
        ("label_smoothing=1.5", "a number of at least 0 and at most 1"),
        ("emotions=happy", "at least two"),
        ("methods=dann,dann", "each once"),
        ("protocol=clairvoyant", "one of transductive, inductive"),
        ("optimiser.learning_rate=nan", "at least 0"),
        ("methods=source_only,danm", "'danm'; did you mean dan"),
        ("methods=supervised,shot+mcc", "shot trains in an order of its own"),
        ("ema=1.5", "config.ema is 1.5; expected a number of at least 0 and at most 1"),
        ("encoder.input_dropout=3", "config.encoder.input_dropout is 3.0"),
        ("encoder.channels=64,0", "config.encoder.channels .* one or more whole numbers"),
        ("augment.time_masks=-1", "config.augment.time_masks is -1"),
        ("strength.gamma=-1", "config.strength.gamma is -1"),
        ("tune.prune_after=-1", "config.tune.prune_after is -1"),
        ("validation_fraction=1", "config.validation_fraction is 1.0; .* below 1"),
        ("sweep.strength=0,-1", "config.sweep.strength"),
        ("dan.kernels=0", "config.dan.kernels is 0; expected a whole number of at least 1"),
        ("co_training.prior=flat", "config.co_training.prior is 'flat'"),
        ("self_training.prior=0.5,0.5", "config.self_training.prior .* give 5 shares"),
    ],
)
def test_mistakes_are_refused_by_name(override, message):
    with pytest.raises(InputError, match=message):
        load(override)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("emotions", "happy"), ("emotions", 1.5), ("emotions", [1, 2]), ("methods", None)),
        *(("methods", [float("nan")]), ("methods", [["dann"]]), ("sweep.strength", 3)),
        *(("sweep.learning_rate", "1e-3"), ("seeds", None), ("encoder.hidden", None)),
        *(("protocol", ["inductive"]), ("batch_size", 2**31), ("strength.gamma", 1e300)),
    ],
)
def test_a_value_of_another_type_in_a_config_file_is_refused(key, value):
    """A config file is Python, so it can set any value whatever."""
    config = configuration.base_config()
    *groups, leaf = key.split(".")
    node = config
    for group in groups:
        node = node[group]
    with node.ignore_type():
        node[leaf] = value
    with pytest.raises(InputError, match=f"config.{key} is .*; expected "):
        configuration.check(config)


def test_a_number_of_json_that_fits_no_float_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"strength": {"gamma": 1' + 400 * "0" + "}}")
    with pytest.raises(
        InputError, match=r"strength\.gamma is 1000.*\.\.\.; expected a value like 10"
    ):
        configuration.load_config(str(tmp_path / "config.json"))


def leaves(section, prefix=""):
    """The dotted names of all keys."""
    for name, value in section.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_every_key_has_a_range():
    """Outside the methods' sections, of which `tests/methods/test_contract.py` asks the same."""
    elsewhere = {"emotions", "methods", "tune.space"}
    elsewhere |= {f"sweep.{name}" for name in ("strength", "learning_rate", "weight_decay")}
    keys = {key for key in leaves(configuration.base_config().to_dict())}
    keys = {key for key in keys if key.split(".")[0] not in METHODS}
    assert keys == set(configuration.RANGES) | elsewhere


def test_every_shipped_config_loads():
    names = [path.stem for path in configuration.config_folder().glob("*.py")]
    assert {"base", "en2zh", "best", "poster", "tune_poster"} <= set(names)
    for name in names:
        assert configuration.load_config(name).emotions


def test_broken_config_files_are_named(tmp_path):
    broken = tmp_path / "broken.py"
    broken.write_text("def get_config():\n    return unknown\n")
    with pytest.raises(InputError, match="broken.py: NameError"):
        configuration.load_config(str(broken))
    broken.write_text("def get_config():\n    return {}\n")
    with pytest.raises(InputError, match="returns dict"):
        configuration.load_config(str(broken))
    with pytest.raises(InputError, match="no such file.*en2zh"):
        configuration.load_config(str(tmp_path / "absent.py"))


@pytest.mark.parametrize("name", ["runs/mine/best.json", "best.json", "en2zh.py", "./best", "bset"])
def test_only_a_bare_name_is_looked_up_among_the_shipped_configs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=rf"config {name}: no such file"):
        configuration.load_config(name)
    assert configuration.load_config("best").encoder.name == "mlp"


def test_a_shipped_name_is_found_beside_a_folder_that_has_it_too(tmp_path, monkeypatch):
    (tmp_path / "en2zh").mkdir()
    monkeypatch.chdir(tmp_path)
    assert configuration.load_config("en2zh").emotions
    with pytest.raises(InputError, match="is a folder"):
        configuration.load_config(str(tmp_path / "en2zh"))
