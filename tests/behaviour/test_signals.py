"""A run that is asked to end says so, ends with the right status, and can be continued."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jdann.configuration import load_config
from jdann.corpora import fingerprint, load
from jdann.experiments.owner import LOCK
from jdann.experiments.settings import features_folder, make_feature_settings
from jdann.features.store import cache_name
from jdann.folders import unfinished
from tests.support.corpora import EMOTIONS
from tests.support.processes import line_with
from tests.support.runs import arguments, read

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_continues(tones, data_dir, tmp_path, number, status):
    words = [*arguments(*tones, tmp_path, data_dir), "--config.epochs=20"]
    command = [sys.executable, "run.py", *words]
    with subprocess.Popen(
        command, cwd=ROOT, env=os.environ, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "epochs of" in line:
                process.send_signal(number)
        assert process.wait() == status, lines
    assert lines[-1] == "jdann: interrupted; continue a training by --resume\n"
    assert not (tmp_path / LOCK).exists()
    finished = subprocess.run(
        [*command, "--resume"],
        cwd=ROOT,
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert read(tmp_path / "predictions.csv")


@pytest.mark.slow
def test_a_run_that_waits_for_another_one_ends_at_once(tones, tmp_path):
    data = tmp_path / "data"
    words = [*arguments(*tones, tmp_path / "run", data), "--config.epochs=1"]
    command = [sys.executable, "run.py", *words]
    # The first run computes the features of the source for ever.
    cache = features_folder(data)
    corpus = load(str(tones[0]), EMOTIONS, data)
    config = load_config("base", [("audio.speech_only", "false")])
    settings = make_feature_settings(config)
    name = cache_name(
        fingerprint(corpus), settings.recipe_name, settings.recipe_settings, settings.audio
    )
    with (
        unfinished(cache, name, "", ""),
        subprocess.Popen(
            command, cwd=ROOT, env=os.environ, stderr=subprocess.PIPE, text=True
        ) as process,
    ):
        line = line_with(process, "which has computed these features for")
        assert f"waits for process {os.getpid()} on " in line
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        lines = process.stderr.readlines()
        assert process.wait() == 130
    assert lines == ["jdann: interrupted; continue a training by --resume\n"]
