"""Checkpoints on disk."""

import shutil

import numpy as np

from jdann.training.checkpoint import open_checkpoints


def test_a_removal_that_a_kill_interrupted_is_completed(tmp_path):
    items = {"state": {"weights": np.arange(3.0)}}
    with open_checkpoints(tmp_path) as checkpoints:
        for epochs_done in (1, 2, 3):
            checkpoints.save(epochs_done, items)
    assert {path.name for path in tmp_path.iterdir()} == {"2", "3"}
    shutil.copytree(tmp_path / "2", tmp_path / "1")
    shutil.rmtree(tmp_path / "1" / "state")
    with open_checkpoints(tmp_path) as checkpoints:
        checkpoints.tidy(3)
        restored = checkpoints.restore(items)
    assert {path.name for path in tmp_path.iterdir()} == {"2", "3"}
    assert restored is not None and restored[0] == 3
