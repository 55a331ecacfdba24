"""Ten thousand broken audio files: each is read as it should be, or refused in one line.

The seed is printed; set JDANN_CAMPAIGN_SEED to repeat a campaign.
"""

import csv
import os
import re
import subprocess
import sys
from collections import Counter

import pytest

from jdann.corpora.folder import list_audio
from jdann.inference import model
from tests.support.audio_worker import answers
from tests.support.fuzzed_audio import Fuzzed, Original, fuzz, originals, originals_of_ffmpeg
from tests.support.models import make_model

pytestmark = pytest.mark.slow
FILES, FILES_OF_FFMPEG, FILES_OF_COMMAND = 10_000, 60, 48
LONGEST_S = 5.0  # until a file is answered
MOST_MIB = 1024  # of memory, with that of JAX
LEVEL = 10 ** (-26 / 20)  # RMS of a prepared clip
# The decoder of mp3 files in libsndfile prints such notes on damaged files. Nobody can stop that
# without taking the standard error of the whole process away.
NOTES_OF_MPG123 = re.compile(
    rb"\s*|(Note|Warning|\[src/libmpg123/|mpg123|Illegal|Skipped|Big change).*"
)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """The originals of libsndfile and those of ffmpeg."""
    return originals(), originals_of_ffmpeg(tmp_path_factory.mktemp("encoded"))


def fuzzed_files(rng, sources) -> list[Fuzzed]:
    """Changed files; few are for ffmpeg, because it is started for each."""
    of_libsndfile, of_ffmpeg = sources
    n_converted = FILES_OF_FFMPEG if of_ffmpeg else 0
    files = [fuzz(rng, of_libsndfile, i) for i in range(FILES - n_converted)]
    return files + [fuzz(rng, of_ffmpeg, len(files) + i) for i in range(n_converted)]


def faults(file: Fuzzed, outcome: dict, digest_of: dict[Original, str]) -> list[str]:
    """What is wrong with the answer to a file; nothing if it is right."""
    if "error" in outcome:
        return [outcome["error"]]
    found = []
    reason = outcome.get("refused") or outcome.get("not_prepared")
    if reason is not None and len(reason.splitlines()) != 1:
        found.append(f"its reason is not one line: {reason!r}")
    if outcome["peak_mib"] > MOST_MIB:
        found.append(f"{outcome['peak_mib']} MiB of memory")
    digest = outcome.get("digest")
    if digest != outcome["digest_of_bytes"]:
        found.append("its bytes are read otherwise than the file")
    if file.is_intact and file.original is not None and digest != digest_of[file.original]:
        found.append("another answer than that of the original")
    # A part of an Ogg stream is a whole one.
    if file.is_shortened and digest is not None and file.original.format != "OGG":
        found.append("a part of the audio is taken for all")
    if digest is not None and not (
        outcome["type"] == "float32"
        and 1 <= len(outcome["shape"]) <= 2
        and min(outcome["shape"]) > 0
        and outcome["rate_hz"] > 0
    ):
        found.append("these are no samples")
    if "prepared" in outcome and not (
        len(outcome["prepared"]) == 1
        and 1600 <= outcome["prepared"][0] <= 80_000
        and 1000 <= outcome["rate_hz"] <= 768_000
        and outcome["level"] == pytest.approx(LEVEL, rel=1e-3)  # also finite
    ):
        found.append("this is no prepared clip")
    return found


def test_changed_files_are_refused_or_read_as_they_are(rng, sources, tmp_path):
    """A file that fails is kept in the folder of the test, under the name in the message."""
    whole = [original for part in sources for original in part]
    folder = tmp_path / "files"
    folder.mkdir()
    paths = [folder / f"original-{i}.{original.suffix}" for i, original in enumerate(whole)]
    for path, original in zip(paths, whole, strict=True):
        path.write_bytes(original.data)
    digest_of = {}
    for original, (_, outcome) in zip(whole, answers(paths, tmp_path, LONGEST_S), strict=True):
        assert "prepared" in outcome and outcome["digest"] == outcome["digest_of_bytes"], outcome
        digest_of[original] = outcome["digest"]

    files = fuzzed_files(rng, sources)
    paths = [folder / file.name for file in files]
    for path, file in zip(paths, files, strict=True):
        path.write_bytes(file.data)
    wrong, outcomes = [], Counter()
    for file, (path, outcome) in zip(files, answers(paths, tmp_path, LONGEST_S), strict=True):
        found = faults(file, outcome, digest_of)
        made_of = file.original and (file.original.format, file.original.coding)
        wrong += [f"{file.name} {made_of}: {fault}" for fault in found]
        outcomes[file.kind, "read" if "digest" in outcome else "refused"] += 1
        if not found:
            path.unlink()
    for (kind, outcome), count in sorted(outcomes.items()):
        print(f"{kind}: {outcome} {count}")
    assert not wrong, "\n".join(wrong[:50])
    assert sum(n for (_, outcome), n in outcomes.items() if outcome == "refused") > len(files) / 5
    printed = (tmp_path / "printed.txt").read_bytes().splitlines()
    assert [line for line in printed if not NOTES_OF_MPG123.fullmatch(line)] == []


def predict(folder, recogniser, table):
    """Runs the command; its exit status, its rows by the name of the file, and its errors."""
    command = [
        *(sys.executable, "-m", "jdann", "predict", str(recogniser), str(folder)),
        *("--csv", str(table)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    assert "Traceback" not in done.stderr, done.stderr
    with table.open(newline="", encoding="utf-8") as file:
        rows = {os.path.basename(row["file"]): row for row in csv.DictReader(file)}  # noqa: PTH119
    for row in rows.values():
        del row["file"]
    return done.returncode, rows, done.stderr


def test_good_files_keep_their_answers_among_broken_ones(rng, sources, tmp_path):
    recogniser, folder = tmp_path / "model", tmp_path / "clips"
    model.save_model(recogniser, make_model())
    folder.mkdir()
    of_libsndfile, _ = sources
    for i, original in enumerate(of_libsndfile[:: len(of_libsndfile) // 12]):
        (folder / f"good-{i}.{original.suffix}").write_bytes(original.data)
    status, alone, _ = predict(folder, recogniser, tmp_path / "alone.csv")
    assert status == 0 and len(alone) == len(list(folder.iterdir()))

    for i in range(FILES_OF_COMMAND):
        file = fuzz(rng, of_libsndfile, i)
        (folder / file.name).write_bytes(file.data)
    status, rows, errors = predict(folder, recogniser, tmp_path / "all.csv")
    assert {name: row for name, row in rows.items() if name in alone} == alone
    left_out = set(re.findall(rf"^left out: {re.escape(str(folder))}/(.+?): ", errors, re.M))
    listed, _ = list_audio(folder)
    assert left_out.isdisjoint(rows) and left_out | set(rows) == set(listed)
    assert left_out and status == 1
