"""The modules that the benchmark scripts share: times in turn, and tables in Markdown."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from jdann import audio
from jdann.audio import AudioSettings
from jdann.features.speech_part import keep_speech

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def timing(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("timing")


@pytest.fixture
def markdown_table(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("markdown_table")


def test_ways_take_turns(timing):
    calls = []
    ways = {"a": lambda: calls.append("a") or 1, "b": lambda: calls.append("b") or 2}
    results = timing.measure_in_turn(ways, 2, lambda: calls.append("end of a round"))
    assert calls == ["a", "b", "end of a round"] * 2
    assert results == {"a": [1, 1], "b": [2, 2]}


def test_ratios_are_those_of_each_round(timing):
    assert timing.round_ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]
    with pytest.raises(ValueError):
        timing.round_ratios([1.0], [])


def test_a_process_is_measured_and_its_output_returned(timing):
    code = "import os; print(os.environ['WORD']); sum(range(3_000_000))"
    result = timing.run_process([sys.executable, "-c", code], {"WORD": "hello"})
    assert result.output == "hello\n"
    assert result.cost.wall_s > 0 and result.cost.cpu_s > 0
    assert 1 < result.peak_mib < 2**14


def test_a_process_that_fails_ends_the_script_with_its_message(timing):
    with pytest.raises(SystemExit, match="no such thing"):
        timing.run_process([sys.executable, "-c", "raise SystemExit('no such thing')"], {})


def test_a_table_has_as_many_cells_in_each_line(markdown_table):
    lines = markdown_table.header(("way", "s"), ("---", "---:")).splitlines()
    lines += [markdown_table.row("jdann", ""), markdown_table.missing_row("PyTorch", 2)]
    assert lines == ["| way | s |", "|---|---:|", "| jdann | |", "| PyTorch | not installed |"]
    with pytest.raises(ValueError):
        markdown_table.header(("way", "s"), ("---",))


@pytest.mark.parametrize("rate_hz", [16000, 48000])
def test_synthetic_speech_counts_as_speech(monkeypatch, rate_hz):
    monkeypatch.syspath_prepend(FOLDER)
    synthetic = importlib.import_module("synthetic_speech")
    samples = synthetic.synthetic_speech(3.0, np.random.default_rng(0), rate_hz)
    settings = AudioSettings(sample_rate_hz=rate_hz)
    assert keep_speech(samples, settings) is samples


def test_the_clip_with_a_pause_is_searched_for_speech(monkeypatch, tmp_path):
    """Else the benchmark of start-up would not measure that search."""
    monkeypatch.syspath_prepend(FOLDER)
    importlib.import_module("startup_models").write_clips(tmp_path)
    samples, rate_hz = audio.read(tmp_path / "paused.wav")
    assert len(keep_speech(samples.ravel(), AudioSettings())) < len(samples) - rate_hz
