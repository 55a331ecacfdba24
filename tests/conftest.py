"""What tests share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def corpora_dir() -> Path:
    """The folder of real corpora, RAVDESS and CASIA with their manifests; tests that need it skip where absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "corpora"
    folder = Path(os.environ.get("JDANN_CORPORA", default))
    if not (folder / "ravdess.csv").is_file():
        pytest.skip(
            f"no real corpora in {folder}: set JDANN_CORPORA to the folder that holds ravdess.csv and casia.csv"
        )
    return folder
