"""Digests of what jdann predicts: they show that a change of the code changes no result.

    python benchmarks/digests.py --write digests.json      # before the change
    python benchmarks/digests.py --compare digests.json    # after it; exits with 1 if one differs
    python benchmarks/digests.py --tiny                    # one tiny case

Each case is a run of `run.py`; its digest is that of `predictions.csv`. Compare on one machine with
the same versions of all packages: another processor rounds differently. `best` needs RAVDESS and
CASIA, in `../shared/corpora` or in the folder that `JDANN_CORPORA` names. Without them it is left
out.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
CORPORA = Path(os.environ.get("JDANN_CORPORA") or ROOT.parent / "shared" / "corpora")
FEW_STEPS = ("epochs=2", "seeds=1", "tsne=false", "baseline=false")
OTHER_METHODS = (
    "deep_coral,dan,jan,deep_jdot,mcc,bnm,bsp,entropy,information_maximisation,adabn,dsbn,self_training,shot,fixmatch,adamatch,"
    "sup_con,cdan,cdan_e,speaker_adversary,mdd,mcd,adda,wdgrl,vada,dirt_t,cdan+mcc"
)

# name: demo sentences of each speaker and emotion, config, overrides
CASES: dict[str, tuple[int, str, tuple[str, ...]]] = {
    "en2zh": (10, "en2zh", ("source=demo:en", "target=demo:zh")),
    "best": (
        1,
        "best",
        (
            "seeds=1",
            f"source={CORPORA / 'ravdess.csv'}",
            f"target={CORPORA / 'casia.csv'}",
            "both_directions=true",
        ),
    ),
    "poster": (
        2,
        "poster",
        (
            "source=demo:en",
            "target=demo:zh",
            "encoder.name=conv1d",
            "epochs=2",
            "seeds=2",
            "folds=2",
            "tsne=false",
        ),
    ),
    "inductive": (
        2,
        "en2zh",
        ("source=demo:en", "target=demo:zh", "protocol=inductive", "folds=2", *FEW_STEPS),
    ),
    "methods": (
        2,
        "en2zh",
        ("source=demo:en", "target=demo:zh", f"methods={OTHER_METHODS}", *FEW_STEPS),
    ),
}
TINY = (
    1,
    "en2zh",
    (
        "source=demo:en",
        "target=demo:zh",
        "methods=source_only",
        "encoder.channels=8",
        "encoder.strides=2",
        *FEW_STEPS,
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", type=Path, help="write the digests to this file")
    parser.add_argument("--compare", type=Path, help="compare with the digests in this file")
    parser.add_argument(
        "--only", nargs="*", default=list(CASES), choices=list(CASES), metavar="CASE"
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        help="keep the demo corpora and features here; default: a temporary folder",
    )
    parser.add_argument(
        "--tiny", action="store_true", help="a check in seconds; figures mean nothing"
    )
    arguments = parser.parse_args()
    names = arguments.only
    if arguments.tiny:
        CASES["tiny"] = TINY
        names = ["tiny"]
    expected = json.loads(arguments.compare.read_text()) if arguments.compare else {}
    digests = (
        json.loads(arguments.write.read_text())
        if arguments.write and arguments.write.exists()
        else {}
    )
    differing = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            if name == "best" and not (CORPORA / "ravdess.csv").exists():
                print(f"{name}: left out, {CORPORA / 'ravdess.csv'} is missing")
                continue
            digests[name] = digest_of_case(
                name, Path(folder), arguments.data_dir or Path(folder) / "data"
            )
            same = digests[name] == expected.get(name)
            if arguments.compare and not same:
                differing.append(name)
            outcome = "" if not arguments.compare else "  as before" if same else "  DIFFERS"
            print(f"{name:10} {digests[name]}{outcome}", flush=True)
    if arguments.write:
        arguments.write.write_text(json.dumps(digests, indent=1) + "\n")
    if differing:
        sys.exit(1)


def digest_of_case(name: str, folder: Path, data_dir: Path) -> str:
    """Runs one case and returns the digest of its predictions.csv."""
    sentences, config, overrides = CASES[name]
    data_dir = data_dir / f"{sentences}-sentences"
    run = [sys.executable, str(ROOT / "run.py")]
    if "demo:en" in " ".join(overrides):
        prepare = [
            *run,
            "prepare",
            "demo",
            "--sentences",
            str(sentences),
            "--data-dir",
            str(data_dir),
        ]
        subprocess.run(prepare, check=True, stdout=subprocess.DEVNULL)
    workdir = folder / name
    command = [
        *run,
        "train",
        "--config",
        config,
        "--workdir",
        str(workdir),
        "--data-dir",
        str(data_dir),
    ]
    outcome = subprocess.run(
        [*command, *(f"--config.{o}" for o in overrides)], capture_output=True, text=True
    )
    if outcome.returncode:
        sys.exit(f"{name}: {outcome.stderr[-2000:]}")
    return hashlib.sha256((workdir / "predictions.csv").read_bytes()).hexdigest()[:16]


if __name__ == "__main__":
    main()
