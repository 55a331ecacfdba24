"""Configs: found, overridden, refused by name."""

import pytest

from jdann import configuration
from jdann.errors import InputError


def load(*overrides):
    return configuration.load_config("en2zh", [tuple(o.split("=", 1)) for o in overrides])


def test_overrides_take_the_type_of_the_default():
    config = load("methods=source_only,dann", "seeds=8", "optimiser.learning_rate=3e-4", "both_directions=true",
                  "encoder.name=resnet50", "encoder.channels=8,16", "source=a.csv")  # fmt: skip
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
        ("seeds=0", "config.seeds is 0; expected at least 1"),
        ("label_smoothing=1.5", "fraction between 0 and 1"),
        ("emotions=happy", "at least two"),
        ("methods=dann,dann", "each once"),
        ("protocol=clairvoyant", "transductive or inductive"),
        ("optimiser.learning_rate=nan", "at least 0"),
    ],
)
def test_mistakes_are_refused_by_name(override, message):
    with pytest.raises(InputError, match=message):
        load(override)


def test_every_shipped_config_loads():
    names = [path.stem for path in configuration.config_folder().glob("*.py")]
    assert {"base", "en2zh", "zh2en", "poster"} <= set(names)
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


def test_a_shipped_name_is_found_beside_a_folder_that_has_it_too(tmp_path, monkeypatch):
    (tmp_path / "en2zh").mkdir()
    monkeypatch.chdir(tmp_path)
    assert configuration.load_config("en2zh").emotions
    with pytest.raises(InputError, match="is a folder"):
        configuration.load_config(str(tmp_path / "en2zh"))
