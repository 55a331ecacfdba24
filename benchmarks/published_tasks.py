"""The tasks of `published.py`: which clips train, which are adapted to, and which are scored."""

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from jdann import corpora
from jdann.corpora.index import Corpus, Utterance
from jdann.errors import InputError

FOUR_EMOTIONS = ("neutral", "happy", "angry", "sad")  # of EmoBox's lists
BERLIN_CASIA_EMOTIONS = ("angry", "fearful", "happy", "neutral", "sad")
SIX_EMOTIONS = ("angry", "fearful", "happy", "neutral", "sad", "surprise")  # of nEMO
LIST_ENDING = "_selected_balenced.jsonl"  # EmoBox spells it so
NEMO_TABLE, NEMO_COLUMNS = "data.tsv", ("file_id", "emotion", "speaker_id")


class PublishedScore(NamedTuple):
    """What others report for a task; None: they do not report this score."""

    system: str
    accuracy: float | None = None
    macro_f1: float | None = None


class Task(NamedTuple):
    """From one corpus to another."""

    name: str
    source: Corpus  # all its utterances are labelled
    target: Corpus  # all utterances that are adapted to; those that are scored have a label
    emotions: tuple[str, ...]
    adapted_to: str  # for the table
    published: tuple[PublishedScore, ...] = ()


_EMOBOX = {
    ("RAVDESS", "SAVEE"): (
        PublishedScore("Whisper-large-v3, frozen (EmoBox 2024)", 0.496),
        PublishedScore("HuBERT-base, frozen (EmoBox 2024)", 0.384),
    ),
    ("SAVEE", "RAVDESS"): (
        PublishedScore("Whisper-large-v3, frozen (EmoBox 2024)", 0.669),
        PublishedScore("HuBERT-base, frozen (EmoBox 2024)", 0.435),
    ),
}
_BERLIN_TO_CASIA = (PublishedScore("TLMLDA 2022, table 4", 0.410),)
_CASIA_TO_BERLIN = (PublishedScore("TLMLDA 2022, table 4", 0.571),)
_POLEVAL = (
    PublishedScore("HuBERT, utterances of a speaker clustered (winner of 2025)", None, 0.753),
    PublishedScore("the same without clusters", None, 0.619),
)


def emobox_tasks(data: Sequence[Path]) -> Iterator[Task]:
    """Yields the tasks of EmoBox's track 2, RAVDESS <-> SAVEE.

    The source is all clips of a corpus that have one of the four emotions of the lists. Only the
    clips of the target's list are scored. There are two tasks for each direction: one adapts to the
    clips of the list, and one to all clips of the corpus, whatever their emotions. No label of the
    target is used.

    Args:
      data: the folder of EmoBox's lists; both corpora, as manifests or folders.

    Raises:
      InputError: a list or a corpus is missing, or the list names clips that the corpus lacks.
    """
    for (source_name, target_name), published in _EMOBOX.items():
        path = _find_list(data, target_name)
        source = _labelled(_load_corpus(data, (source_name,), FOUR_EMOTIONS))
        target = _load_corpus(data, (target_name,), corpora.EMOTIONS)
        whole = label_only_list(target, read_list(path), path)
        scored = tuple(u for u in whole.utterances if u.emotion is not None)
        parts = {
            f"the {len(scored)} clips of the list": whole._replace(utterances=scored),
            f"all {len(whole.utterances)} clips of the corpus": whole,
        }
        for adapted_to, part in parts.items():
            name = f"{source_name} to {target_name}"
            yield Task(name, source, part, FOUR_EMOTIONS, adapted_to, published)


def berlin_casia_tasks(data: Sequence[Path]) -> Iterator[Task]:
    """Yields the tasks Berlin (EmoDB) <-> CASIA with five emotions.

    Args:
      data: both corpora, as manifests or folders.

    Raises:
      InputError: a corpus is missing.
    """
    berlin = _labelled(_load_corpus(data, ("emodb", "berlin"), BERLIN_CASIA_EMOTIONS))
    casia = _labelled(_load_corpus(data, ("casia",), BERLIN_CASIA_EMOTIONS))
    directions = (
        ("Berlin to CASIA", berlin, casia, _BERLIN_TO_CASIA),
        ("CASIA to Berlin", casia, berlin, _CASIA_TO_BERLIN),
    )
    for name, source, target, published in directions:
        adapted_to = f"all {len(target.utterances)} clips of the five emotions"
        yield Task(name, source, target, BERLIN_CASIA_EMOTIONS, adapted_to, published)


def poleval_tasks(data: Sequence[Path]) -> Iterator[Task]:
    """Yields task 4 of PolEval 2025: from other languages to nEMO, in Polish, with six emotions.

    Args:
      data: the folder of nEMO; one or more labelled corpora, which together are the source.

    Raises:
      InputError: nEMO or a source is missing.
    """
    folders = [path for path in data if (path / NEMO_TABLE).is_file()]
    if len(folders) != 1:
        raise InputError(
            f"{len(folders)} folders of --data hold {NEMO_TABLE}; give one, that of nEMO, with "
            f"{NEMO_TABLE} and samples/"
        )
    sources = _candidates([path for path in data if path not in folders])
    if not sources:
        raise InputError("--data has no source beside nEMO; add a labelled corpus or several")
    source = _labelled(corpora.load_all([str(path) for path in sources], SIX_EMOTIONS))
    target = read_nemo(folders[0])
    adapted_to = f"all {len(target.utterances)} clips"
    name = f"{source.name} to nEMO"
    yield Task(name, source, target, SIX_EMOTIONS, adapted_to, _POLEVAL)


TASKS = {
    "emobox": emobox_tasks,
    "berlin-casia": berlin_casia_tasks,
    "poleval": poleval_tasks,
}


def read_list(path: Path) -> dict[str, str]:
    """The emotion of each clip that a list of EmoBox names.

    Args:
      path: a file of JSON lines with the keys `wav_filename` and `label`.

    Raises:
      InputError: a line is not such an object, or its label is not one of the four emotions.
    """
    emotions = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            entry = json.loads(line)
            clip, label = str(entry["wav_filename"]), str(entry["label"])
        except (ValueError, KeyError, TypeError):
            raise InputError(
                f"{path}: line {number} is no JSON object with `wav_filename` and `label`; give "
                "the lists as EmoBox publishes them"
            ) from None
        emotion = corpora.canonical(label)
        if emotion not in FOUR_EMOTIONS:
            raise InputError(
                f"{path}: line {number} has the label {label!r}; expected one of "
                f"{', '.join(FOUR_EMOTIONS)}"
            )
        emotions[clip] = emotion
    return emotions


def label_only_list(corpus: Corpus, emotions: dict[str, str], path: Path) -> Corpus:
    """The corpus with the labels of a list and no others.

    Clips are compared by their folder and their name without its ending, because a corpus may
    have been converted to another format.

    Args:
      corpus: the whole corpus.
      emotions: the emotion of each clip of the list, from `read_list`.
      path: the list, for the message.

    Raises:
      InputError: the list names clips that the corpus does not hold.
    """
    emotion_of_key = {_key(clip): emotion for clip, emotion in emotions.items()}
    present = {_key(u.file) for u in corpus.utterances}
    missing = [clip for clip in emotions if _key(clip) not in present]
    if missing:
        raise InputError(
            f"{path}: names {len(missing)} clips that {corpus.name} does not hold, such as "
            f"{missing[0]}; give the whole corpus, with its folders"
        )

    def relabelled(utterance: Utterance) -> Utterance:
        return utterance._replace(emotion=emotion_of_key.get(_key(utterance.file)))

    return corpus._replace(utterances=tuple(map(relabelled, corpus.utterances)))


def _key(file: str) -> str:
    """The folder and the name of a clip, without the ending, in lower case."""
    path = PurePosixPath(file.replace("\\", "/"))
    return f"{path.parent.name}/{path.stem}".lower()


def read_nemo(folder: Path) -> Corpus:
    """Reads nEMO in the layout of its repository: `data.tsv` beside `samples/`.

    Args:
      folder: the repository.

    Raises:
      InputError: the table is not that of nEMO, or it names a file that is missing.
    """
    table = folder / NEMO_TABLE
    with table.open(newline="", encoding="utf-8") as file:
        # The texts contain single quotation marks, which csv would take for quoted fields.
        reader = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        rows = list(reader)
    absent = [name for name in NEMO_COLUMNS if name not in (reader.fieldnames or ())]
    if absent:
        raise InputError(f"{table}: has no column `{absent[0]}`; give the folder of nEMO")
    utterances = tuple(_nemo_utterance(folder, row) for row in rows)
    missing = [u.file for u in utterances if not Path(u.path).is_file()]
    if missing or not utterances:
        first = f", such as {missing[0]}" if missing else ""
        raise InputError(
            f"{table}: names {len(utterances)} clips, and {len(missing)} of them are missing"
            f"{first}; give the complete folder of nEMO"
        )
    return Corpus("nEMO", "nEMO, Polish", False, utterances)


def _nemo_utterance(folder: Path, row: dict[str, str]) -> Utterance:
    name, label = row["file_id"].strip(), row["emotion"].strip()
    emotion = corpora.canonical(label)
    if emotion not in SIX_EMOTIONS:
        raise InputError(
            f"{folder / NEMO_TABLE}: {name} has the label {label!r}; expected one of "
            f"{', '.join(SIX_EMOTIONS)}"
        )
    return Utterance(
        file=f"samples/{name}",
        path=str(folder.resolve() / "samples" / name),
        emotion=emotion,
        speaker=row["speaker_id"].strip() or None,
        language="pl",
        corpus="nEMO",
    )


def hide_speakers(corpus: Corpus) -> Corpus:
    """The corpus without speaker ids."""
    return corpus._replace(utterances=tuple(u._replace(speaker=None) for u in corpus.utterances))


def _find_list(data: Sequence[Path], corpus: str) -> Path:
    name = f"{corpus}{LIST_ENDING}"
    for path in data:
        if (path / name).is_file():
            return path / name
    raise InputError(
        f"no folder of --data holds {name}; add the folder of EmoBox's lists, data/track2 in its "
        "repository"
    )


def _candidates(data: Sequence[Path]) -> list[Path]:
    """The corpora among paths; a folder that contains manifests is replaced by its manifests."""
    paths = []
    for path in data:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder; correct --data")
        manifests = sorted(path.glob("*.csv")) if path.is_dir() else []
        paths += manifests or [path]
    return paths


def _load_corpus(data: Sequence[Path], names: Sequence[str], emotions: Sequence[str]) -> Corpus:
    """Loads the corpus whose manifest or folder has one of the names."""
    spellings = [name.lower() for name in names]
    for path in _candidates(data):
        has_name = any(spelling in path.name.lower() for spelling in spellings)
        if has_name and not list(path.glob(f"*{LIST_ENDING}")):
            return corpora.load(str(path), emotions)
    raise InputError(
        f"--data has no corpus called {' or '.join(names)}; add a manifest or a folder of this name"
    )


def _labelled(corpus: Corpus) -> Corpus:
    """The corpus without its unlabelled utterances.

    Raises:
      InputError: all are unlabelled.
    """
    labelled = tuple(u for u in corpus.utterances if u.emotion is not None)
    if not labelled:
        raise InputError(
            f"{corpus.name}: has no labels; give a manifest with the columns file, emotion, speaker"
        )
    return corpus._replace(utterances=labelled)
