"""Features of an encoder are computed for hours. A kill at any moment costs little of that.

Each run continues the one before it, and the last one ends with the bytes of a run that nobody
killed.
"""

import itertools
import signal
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.kills import explained, in_parallel
from tests.support.processes import kill, started

pytestmark = pytest.mark.slow
ENCODER = Path(__file__).parents[1] / "pretrained" / "references" / "hubert_base"
IN_A_ROW, MOST_NOTES, LONGEST_S = 3, 24, 240.0
FLUSH_S, SECONDS_A_CLIP = 0.4, 0.05
# It prints "found N", the number of clips that are there, and "noted SECONDS" before each note.
EXTRACT = f"""
import logging, sys, time
from pathlib import Path
from jdann import audio, corpora
from jdann.features import journal, store
journal._FLUSH_S = {FLUSH_S}
note = journal.Journal._note
def slow_note(self, i, entry):
    time.sleep({SECONDS_A_CLIP})  # a large encoder is slower than this small one
    print("noted", time.monotonic(), file=sys.stderr, flush=True)
    note(self, i, entry)
journal.Journal._note = slow_note
open_journal, opened = journal.Journal.__init__, []
def reported_open(self, *arguments):
    open_journal(self, *arguments)
    opened.append(self)
    print("found", len(self.entries), file=sys.stderr, flush=True)
journal.Journal.__init__ = reported_open
manifest, data, cache = sys.argv[1:]
corpus = corpora.load(manifest, ("neutral", "happy", "angry", "sad", "surprise"), Path(data))
features = store.extract(
    corpus, recipe_name="layer_statistics", settings={{"encoder": {str(ENCODER)!r}}},
    audio_settings=audio.AudioSettings(speech_only=False), cache=Path(cache),
)
assert len(features.utterances) == 60 and features.bins == 3 * 2 * 24
if not opened:
    print("found 60", file=sys.stderr, flush=True)
"""


class Run(NamedTuple):
    """What a run printed."""

    found: int  # clips that earlier runs have left
    noted_at: list[float]  # when each further clip was noted, s of the monotonic clock


def run(words: tuple[Path, ...], notes: int | None = None, more_s: float = 0.0) -> Run:
    """Computes features. The process is killed so long after so many notes, or ends by itself."""
    printed: dict[str, list[str]] = {"found": [], "noted": []}
    with started(EXTRACT, *words) as process:
        assert process.stderr
        for line in process.stderr:
            word, _, value = line.strip().partition(" ")
            printed.setdefault(word, []).append(value)
            if process.returncode is None and printed["found"] and len(printed["noted"]) == notes:
                time.sleep(more_s)
                kill(process)
        process.wait(LONGEST_S)
    assert process.returncode in (0, -signal.SIGKILL), printed
    (found,) = printed["found"]
    return Run(int(found), list(map(float, printed["noted"])))


def contents(cache: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(cache)): path.read_bytes()
        for path in cache.rglob("*")
        if path.is_file()
    }


def assert_little_is_lost(killed: Run, following: Run) -> None:
    """Of the clips that a killed run noted, only those of its last `FLUSH_S` may be missing."""
    kept = following.found - killed.found
    assert kept >= 0
    # The kill may have come before the note of the newest clip.
    lost = killed.noted_at[kept:-1]
    assert not lost or lost[-1] - lost[0] <= FLUSH_S, (kept, killed.noted_at)


def test_killed_runs_keep_what_they_computed(tones, chance, tmp_path):
    words = (tones[0], tmp_path)
    whole = run((*words, tmp_path / "whole"), None)
    assert (whole.found, len(whole.noted_at)) == (0, 60)
    expected = contents(tmp_path / "whole")
    assert {Path(name).name for name in expected} == {"index.npz", "skipped.json", "values.f16"}

    def kill_and_continue(item) -> int:
        number, moments = item
        folder = tmp_path / str(number)
        runs = [run((*words, folder), *moment) for moment in (*moments, ())]
        with explained([f"killed after {moments} (notes, s)"]):
            for killed, following in itertools.pairwise(runs):
                assert_little_is_lost(killed, following)
            assert runs[-1].found + len(runs[-1].noted_at) == 60
            assert contents(folder) == expected
        return runs[-1].found

    moments = [(chance.randint(0, MOST_NOTES), chance.uniform(0, 0.1)) for _ in range(2 * IN_A_ROW)]
    series = enumerate((moments[:IN_A_ROW], moments[IN_A_ROW:]))
    assert sum(in_parallel(kill_and_continue, series)) > 0
