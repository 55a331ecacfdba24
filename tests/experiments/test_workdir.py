"""Files of a run that are damaged, foreign or of another version are refused in one line."""

import json

import numpy as np
import pytest

from jdann.errors import InputError
from jdann.experiments import workdir

WHOLE = {
    "config.json": {"source": "a.csv", "target": "b.csv", "emotions": ["happy", "sad"]},
    "results.json": {
        "schema": workdir.SCHEMA,
        "emotions": ["happy", "sad"],
        "directions": [{}],
        "protocol": "transductive",
    },
}
READ = {"config.json": workdir.read_config, "results.json": workdir.read_results}
FOREIGN = {
    "empty": b"",
    "truncated": b'{"source": "a',
    "a list": b"[1, 2]",
    "a number": b"7",
    "another file": b"\x89PNG\r\n\x00\xff",
    "an empty dict": b"{}",
}


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("name", WHOLE)
def test_a_foreign_file_is_refused(tmp_path, name, kind):
    (tmp_path / name).write_bytes(FOREIGN[kind])
    with pytest.raises(InputError, match=f"{name}: is .*--(overwrite|resume)") as error:
        READ[name](tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "key"), [(name, key) for name, content in WHOLE.items() for key in content]
)
@pytest.mark.parametrize("change", ["missing", "None", "a dict"])
def test_a_file_of_another_version_is_refused(tmp_path, name, key, change):
    (tmp_path / name).write_text(json.dumps(WHOLE[name]))
    READ[name](tmp_path)
    changed = {**WHOLE[name], key: None if change == "None" else {}}
    if change == "missing":
        del changed[key]
    (tmp_path / name).write_text(json.dumps(changed))
    with pytest.raises(InputError, match=f"another version of jdann wrote it .*{key}"):
        READ[name](tmp_path)


def test_results_of_a_later_form_are_refused(tmp_path):
    later = WHOLE["results.json"] | {"schema": workdir.SCHEMA + 1}
    (tmp_path / "results.json").write_text(json.dumps(later))
    with pytest.raises(InputError, match="this version of jdann knows the form 1; read it by"):
        workdir.read_results(tmp_path)


@pytest.mark.parametrize("kind", [*FOREIGN, "no groups"])
def test_damaged_groups_are_refused(tmp_path, kind):
    file = tmp_path / "normalisation-0.npz"
    if kind == "no groups":
        np.savez(file, source_mean=np.zeros(3))
    else:
        file.write_bytes(FOREIGN[kind])
    with pytest.raises(InputError, match=r"normalisation-0.npz: is damaged, .* by --overwrite"):
        workdir.check_groups(tmp_path, [None])  # pyright: ignore[reportArgumentType]
