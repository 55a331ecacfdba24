"""The same run leaves the same bytes."""

import json

import pytest

from jdann.cli import main
from tests.support.runs import arguments, without_clock


@pytest.mark.slow
def test_a_run_trained_twice(tones, data_dir, tmp_path):
    for name in ("first", "second"):
        main(arguments(*tones, tmp_path / name, data_dir))
        main(["export", str(tmp_path / name), str(tmp_path / name / "model.jdann")])
    first, second = tmp_path / "first", tmp_path / "second"
    models = sorted(path.relative_to(first) for path in (first / "recogniser").glob("*/model.*"))
    assert len(models) == 4
    for file in ("predictions.csv", "history.csv", *models):
        if (first / file).suffix != ".json":
            assert (first / file).read_bytes() == (second / file).read_bytes(), file
    dates = set()
    for file in ("results.json", *(file for file in models if file.suffix == ".json")):
        contents = [json.loads((folder / file).read_text()) for folder in (first, second)]
        assert without_clock(contents[0]) == without_clock(contents[1])
        dates |= {content["date"] for content in contents}
    if len(dates) == 1:  # no midnight came between the two
        for file in (*models, "model.jdann"):
            assert (first / file).read_bytes() == (second / file).read_bytes(), file
