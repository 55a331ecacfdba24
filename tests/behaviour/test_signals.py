"""A run that is asked to end says so, ends with the right status, and can be continued."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jdann.experiments.owner import LOCK
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
