"""Voice descriptors against openSMILE and Praat; `benchmarks/voice.py` has the whole table."""

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("opensmile", reason="needs the extra `bench`")
pytest.importorskip("parselmouth", reason="needs the extra `bench`")

PATH = Path(__file__).parents[2] / "benchmarks" / "voice.py"


@pytest.mark.slow
def test_descriptors_correlate_with_those_of_opensmile_and_praat(corpora_dir):
    spec = importlib.util.spec_from_file_location("voice", PATH)
    voice = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(voice)
    clips = [
        clip
        for name in ("ravdess", "casia")
        for clip in voice.clips(str(corpora_dir / f"{name}.csv"), 8, 0, None)
    ]

    def frames(name, peer):
        return voice.compared(clips, name, lambda c: c.ours, peer)[1]

    for name in ("log_f0", "loudness", "hammarberg", "flux", "mfcc1", "mfcc2", "mfcc3", "mfcc4"):
        assert frames(name, lambda c: c.smile) > 0.9, name
    for name, least in (
        ("log_f0", 0.9),
        ("hnr", 0.8),
        ("h1_h2", 0.7),
        ("h1_a3", 0.7),
        ("f1_frequency", 0.6),
        ("f2_frequency", 0.7),
    ):
        assert frames(name, lambda c: c.praat) > least, name
