"""Tiny corpora in the layouts that `benchmarks/published.py` reads."""

import csv
import json
from pathlib import Path

from tests.support.corpora import EMOTIONS, write_tones

NEMO_HEADER = (
    "file_id",
    "emotion",
    "raw_text",
    "normalized_text",
    "speaker_id",
    "gender",
    "age",
)
NEMO_NAMES = ("neutral", "happiness", "anger", "sadness", "surprised")
NEMO_EMOTION = dict(zip(EMOTIONS, NEMO_NAMES, strict=True))


def write_named_tones(folder: Path, name: str, seed: int, base_hz: float) -> Path:
    """Writes tones into a folder of this name, with a manifest of this name; returns the latter."""
    manifest = write_tones(folder / name, seed, base_hz, speakers=4, takes=3)
    return manifest.rename(manifest.with_name(f"{name}.csv"))


def write_list(folder: Path, corpus: str, manifest: Path, takes: tuple[str, ...]) -> Path:
    """Writes a list in the form of EmoBox: the four emotions and these takes of each speaker."""
    path = folder / f"{corpus}_selected_balenced.jsonl"
    folder.mkdir(exist_ok=True)
    with manifest.open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["emotion"] != "surprise"]
    chosen = [r for r in rows if Path(r["file"]).stem.endswith(takes)]
    lines = (
        json.dumps({"wav_filename": r["file"], "label": r["emotion"], "speaker": r["speaker"]})
        for r in chosen
    )
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def write_nemo(folder: Path) -> Path:
    """Writes tones in the layout of nEMO's repository; returns the folder."""
    manifest = write_tones(folder / "tones", 2, 190.0)
    samples = folder / "nEMO" / "samples"
    samples.mkdir(parents=True)
    lines = ["\t".join(NEMO_HEADER)]
    with manifest.open(newline="") as file:
        for i, utterance in enumerate(csv.DictReader(file)):
            speaker, emotion = utterance["speaker"].upper(), NEMO_EMOTION[utterance["emotion"]]
            name = f"{speaker}_{emotion}_{i}.wav"
            (manifest.parent / utterance["file"]).rename(samples / name)
            # nEMO's speaker ids begin with blanks, and its texts have unpaired quotation marks.
            texts = ('"Ucho', "ucho")
            lines.append("\t".join((name, emotion, *texts, f"        {speaker}", "male", "23")))
    (samples.parent / "data.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return samples.parent


def published_arguments(folder: Path) -> list[str]:
    """A command line of the script: PolEval's task on tiny corpora."""
    nemo = write_nemo(folder)
    source = write_named_tones(folder, "english", 0, 150.0)
    places = ["--workdir", str(folder / "runs"), "--data-dir", str(folder / "data")]
    speakers = ["--speakers", "known", "similar"]  # no test fetches the speaker encoder
    return ["poleval", "--data", str(nemo), str(source), *speakers, *places]
