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
from typing import NamedTuple

from command_line import make_parser

ROOT = Path(__file__).parents[1]
CORPORA = Path(os.environ.get("JDANN_CORPORA") or ROOT.parent / "shared" / "corpora")
DEMO = ("source=demo:en", "target=demo:zh")
FEW_STEPS = ("epochs=2", "seeds=1", "tsne=false", "baseline=false")
OTHER_METHODS = (
    "deep_coral,dan,jan,deep_jdot,mcc,bnm,bsp,entropy,information_maximisation,adabn,dsbn,"
    "self_training,shot,fixmatch,adamatch,sup_con,cdan,cdan_e,speaker_adversary,mdd,mcd,adda,"
    "wdgrl,vada,dirt_t,cdan+mcc"
)


class Case(NamedTuple):
    """One run of `run.py`."""

    sentences: int  # demo sentences of each speaker and emotion
    config: str
    overrides: tuple[str, ...]


CASES = {
    "en2zh": Case(10, "base", DEMO),
    "best": Case(
        1,
        "best",
        (
            "seeds=1",
            f"source={CORPORA / 'ravdess.csv'}",
            f"target={CORPORA / 'casia.csv'}",
            "both_directions=true",
        ),
    ),
    "poster": Case(
        2,
        "poster",
        (*DEMO, "encoder.name=conv1d", "epochs=2", "seeds=2", "folds=2", "tsne=false"),
    ),
    "inductive": Case(2, "base", (*DEMO, "protocol=inductive", "folds=2", *FEW_STEPS)),
    "methods": Case(2, "base", (*DEMO, f"methods={OTHER_METHODS}", *FEW_STEPS)),
}
TINY_CASE = Case(
    1,
    "base",
    (*DEMO, "methods=source_only", "encoder.channels=8", "encoder.strides=2", *FEW_STEPS),
)


def digest_of_case(name: str, case: Case, folder: Path, data_dir: Path) -> str:
    """Runs one case and returns the digest of its predictions.csv."""
    run = [sys.executable, str(ROOT / "run.py")]
    data = ["--data-dir", str(data_dir / f"{case.sentences}-sentences")]
    if "source=demo:en" in case.overrides:
        prepare = [*run, "prepare", "demo", "--sentences", str(case.sentences), *data]
        subprocess.run(prepare, check=True, stdout=subprocess.DEVNULL)
    workdir = folder / name
    train = [*run, "train", "--config", case.config, "--workdir", str(workdir), *data]
    overrides = (f"--config.{override}" for override in case.overrides)
    result = subprocess.run([*train, *overrides], capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"{name}: {result.stderr[-2000:]}")
    return hashlib.sha256((workdir / "predictions.csv").read_bytes()).hexdigest()[:16]


def is_available(name: str) -> bool:
    """Whether the corpora of a case are there. If not, it says so."""
    manifest = CORPORA / "ravdess.csv"
    if name != "best" or manifest.exists():
        return True
    print(f"{name}: left out, {manifest} is missing")
    return False


def read_digests(path: Path | None) -> dict[str, str]:
    """The digests in a file; none without a file."""
    return json.loads(path.read_text()) if path else {}


def parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
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
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    cases = {name: CASES[name] for name in arguments.only}
    if arguments.tiny:
        cases = {"tiny": TINY_CASE}
    expected = read_digests(arguments.compare)
    is_written = arguments.write and arguments.write.exists()
    digests = read_digests(arguments.write if is_written else None)
    differing = []
    with tempfile.TemporaryDirectory() as folder:
        data_dir = arguments.data_dir or Path(folder) / "data"
        for name, case in cases.items():
            if not is_available(name):
                continue
            digests[name] = digest_of_case(name, case, Path(folder), data_dir)
            outcome = ""
            if arguments.compare:
                is_same = digests[name] == expected.get(name)
                outcome = "  as before" if is_same else "  DIFFERS"
                differing += [] if is_same else [name]
            print(f"{name:10} {digests[name]}{outcome}", flush=True)
    if arguments.write:
        arguments.write.write_text(json.dumps(digests, indent=1) + "\n")
    if differing:
        sys.exit(1)


if __name__ == "__main__":
    main()
