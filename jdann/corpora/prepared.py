"""ESD prepared once as a TFDS dataset: 35,000 small files become twenty ArrayRecord files.

TensorFlow is not needed and never imported, neither to prepare nor to read. TFDS's `Audio` feature
imports it. So soundfile decodes the files, and the samples are an int16 `Tensor` encoded as bytes.
Each speaker is a split, because TFDS writes splits above 1000 MiB through TensorFlow.
"""

import contextlib
import functools
import hashlib
import io
import json
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import tensorflow_datasets as tfds
from tensorflow_datasets.core import constants

from jdann.corpora import esd, folder
from jdann.corpora.index import Corpus, Skipped, Utterance
from jdann.errors import InputError
from jdann.files import default_data_dir
from jdann.progress import track

_NAME = "esd"
_VERSION = "1.0.0"  # raise it when the records change, so that old ones are not read
_SPLIT = "speaker_{}"
_COMPLETE = (constants.DATASET_INFO_FILENAME, constants.METADATA_FILENAME)
_STALE_S = 24 * 3600.0
_TEXTS = ("file", "emotion", "speaker", "language", "gender", "sentence", "split")


class Preparation(NamedTuple):
    """The dataset that `prepare_esd` wrote, or that was there before."""

    path: Path  # the dataset's folder
    root: str  # the folder it was prepared from
    utterances: int
    speakers: int
    hours: float
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]
    existed_before: bool  # whether it had been prepared before, so that nothing was done


def dataset_dir(data_dir: Path) -> Path:
    """The folder of prepared ESD in a TFDS data folder; it need not exist."""
    return data_dir / _NAME / _VERSION


def is_prepared(data_dir: Path) -> bool:
    """Whether ESD has been prepared to the end: TFDS moves a dataset to its place at the end."""
    return all((dataset_dir(data_dir) / name).is_file() for name in _COMPLETE)


class Esd(tfds.core.GeneratorBasedBuilder):
    """The TFDS dataset `esd`. Its metadata lists the utterances in the order of the records."""

    VERSION = tfds.core.Version(_VERSION)
    RELEASE_NOTES = {  # noqa: RUF012 - TFDS expects a plain dict
        _VERSION: "The samples, and what the path of each file tells."
    }
    # Nothing is downloaded. Otherwise TFDS would look for checksums, which needs
    # importlib_resources.
    url_infos = None

    def __init__(self, corpus: Corpus, root: Path, data_dir: Path):
        self._corpus = corpus
        self._root = root
        self._metadata = tfds.core.MetadataDict()
        super().__init__(data_dir=data_dir, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Emotional Speech Dataset (ESD): Mandarin and English, 20 speakers, "
            "5 emotions. Research only.",
            homepage="https://hltsingapore.github.io/ESD/",
            features=tfds.features.FeaturesDict(
                {
                    "samples": tfds.features.Tensor(
                        shape=(None,), dtype=np.int16, encoding=tfds.features.Encoding.BYTES
                    ),
                    "sample_rate_hz": np.int32,
                    **{name: tfds.features.Text() for name in ("text", *_TEXTS)},
                }
            ),
            disable_shuffling=True,
            metadata=self._metadata,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        utterances = self._corpus.utterances
        self._metadata.update(
            utterances=[],
            skipped=list(self._corpus.skipped),
            notes=self._corpus.notes,
            synthetic=self._corpus.synthetic,
            root=str(self._root.resolve()),
        )
        self._digest = hashlib.blake2b(digest_size=16)
        self._bar = track(range(len(utterances)), "Preparing ESD", unit="files")
        speakers = sorted({str(u.speaker) for u in utterances})
        return {
            _SPLIT.format(s): self._generate_examples([u for u in utterances if u.speaker == s])
            for s in speakers
        }

    def _generate_examples(
        self, utterances: Sequence[Utterance]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        texts = _transcripts(self._root, utterances)
        for number, utterance in enumerate(utterances):
            next(self._bar, None)
            try:
                samples, sample_rate_hz = _decode(utterance.path)
            except (soundfile.SoundFileError, OSError, ValueError) as error:
                self._metadata["skipped"].append(Skipped(utterance.file, str(error)))
                continue
            row = utterance._replace(path="", duration_s=len(samples) / sample_rate_hz)._asdict()
            self._metadata["utterances"].append(row)
            header = f"{utterance.file} {len(samples)} {sample_rate_hz}"
            self._digest.update(header.encode() + samples.tobytes())
            self._metadata["identity"] = self._digest.hexdigest()
            record = {name: row[name] or "" for name in _TEXTS}
            record["text"] = texts.get(Path(utterance.file).stem, "")
            yield number, {"samples": samples, "sample_rate_hz": sample_rate_hz, **record}


def _transcripts(root: Path, utterances: Sequence[Utterance]) -> dict[str, str]:
    """The texts of a speaker, from `0001.txt` in any folder from the root down to the files."""
    name = f"{utterances[0].speaker}.txt"
    parents = {Path(u.file).parent for u in utterances}
    folders = {path for parent in parents for path in (parent, *parent.parents)}
    texts: dict[str, str] = {}
    for path in sorted(folders):
        texts |= esd.read_transcripts(root / path / name)
    return texts


def _decode(path: str) -> tuple[np.ndarray, int]:
    """Decodes a file; a mono file of 16 bit keeps its samples bit for bit.

    Returns:
      Samples, [samples] int16, and the sample rate in Hz.
    """
    samples, sample_rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    if not np.isfinite(samples).all():
        raise ValueError("samples that are not finite")
    scaled = samples.mean(axis=1) * 32768  # [samples, channels] -> [samples]
    return np.rint(scaled).clip(-32768, 32767).astype(np.int16), sample_rate_hz


def prepare_esd(root: Path, data_dir: Path | None = None, *, force: bool = False) -> Preparation:
    """Writes a copy of ESD into a TFDS data folder, for `esd:en` and `esd:zh`.

    If that has been done before, nothing happens. Only the samples of one speaker are in memory at
    a time. An interrupted preparation leaves no dataset behind.

    Args:
      root: the folder of ESD, in any known layout.
      data_dir: the TFDS data folder; None: `default_data_dir()`.
      force: prepare again and replace the dataset that is there.

    Raises:
      InputError: `root` is not ESD, or the data folder cannot be written or has too little space.
    """
    data_dir = data_dir or default_data_dir()
    target = dataset_dir(data_dir)
    if is_prepared(data_dir) and not force:
        return _preparation(data_dir, existed_before=True)
    if target.exists() and not force:
        raise InputError(
            f"{target}: exists, but its preparation is not complete; "
            f"move it away, or prepare with --force"
        )
    corpus, n_bytes = _load_usable(root)
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(data_dir).free + _size(target)
        if free < n_bytes:
            raise InputError(
                f"{data_dir}: {free / 2**20:,.0f} MiB are free, "
                f"ESD needs {n_bytes / 2**20:,.0f} MiB; "
                f"make room, or choose another folder with --data-dir"
            )
        if target.exists():
            shutil.rmtree(target)
        _remove_stale(target)
        _write(Esd(corpus, root, data_dir))
    except (OSError, RuntimeError) as error:  # TFDS raises RuntimeError when the disk is full
        raise InputError(
            f"{data_dir}: cannot be written ({error}); "
            f"make room, or choose another folder with --data-dir"
        ) from error
    return _preparation(data_dir, existed_before=False)


def _remove_stale(target: Path) -> None:
    """Removes what killed preparations left beside the dataset a day ago or earlier."""
    for unfinished in target.parent.glob("incomplete.*"):
        if time.time() - unfinished.stat().st_mtime > _STALE_S:
            shutil.rmtree(unfinished, ignore_errors=True)


def _write(builder: Esd) -> None:
    # Our own bar shows how many files are left, which those of TFDS do not know. TFDS also prints
    # the size of download and dataset, both "Unknown".
    tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()):
        builder.download_and_prepare()


def _size(target: Path) -> int:
    """Bytes in the files of a folder."""
    return sum(path.stat().st_size for path in target.glob("*")) if target.is_dir() else 0


def _load_usable(root: Path) -> tuple[Corpus, int]:
    """ESD without the files whose header cannot be read, and its size in bytes when prepared."""
    corpus = folder.load_folder(root)
    if not corpus.utterances or corpus.utterances[0].corpus not in ("esd", "demo"):
        raise InputError(
            f"{root}: is not ESD; expected files named like 0011_000351.wav below folders named "
            f"after emotions. Other corpora need no preparing: "
            f"give their folder or a manifest (.csv) as the domain"
        )
    usable, unusable, n_bytes = [], [], 0
    for utterance in track(corpus.utterances, "Checking ESD", unit="files"):
        try:
            frames = soundfile.info(utterance.path).frames
        except (soundfile.SoundFileError, OSError) as error:
            unusable.append(Skipped(utterance.file, str(error)))
            continue
        if frames:
            usable.append(utterance)
            n_bytes += 2 * frames
        else:
            unusable.append(Skipped(utterance.file, "no samples"))
    if not usable:
        raise InputError(
            f"{root}: none of its {len(unusable):,} files can be read, "
            f"e.g. {unusable[0].file}: {unusable[0].reason}"
        )
    corpus = corpus._replace(utterances=tuple(usable), skipped=(*corpus.skipped, *unusable))
    # About 1 MiB for the files of each speaker and 1000 bytes for each record's texts.
    overhead = 2**20 * len({u.speaker for u in usable}) + 1000 * len(usable)
    return corpus, n_bytes + overhead


def _preparation(data_dir: Path, *, existed_before: bool) -> Preparation:
    corpus = load_prepared(data_dir)
    return Preparation(
        path=dataset_dir(data_dir),
        root=_metadata(data_dir)["root"],
        utterances=len(corpus.utterances),
        speakers=len({u.speaker for u in corpus.utterances}),
        hours=sum(u.duration_s or 0.0 for u in corpus.utterances) / 3600,
        skipped=corpus.skipped,
        notes=corpus.notes,
        existed_before=existed_before,
    )


def load_prepared(data_dir: Path) -> Corpus:
    """Loads the prepared ESD of a TFDS data folder, in both languages.

    Returns:
      The corpus, whose `read` reads one record.

    Raises:
      InputError: ESD has not been prepared, or its files cannot be read.
    """
    if not is_prepared(data_dir):
        raise InputError(
            f"{data_dir}: ESD has not been prepared there; "
            f"run `jdann prepare esd FOLDER` on your copy of ESD"
        )
    path = dataset_dir(data_dir)
    try:
        metadata = _metadata(data_dir)
        utterances = tuple(Utterance(**row) for row in metadata["utterances"])
        sources: Any = tfds.builder_from_directory(path).as_data_source()  # one for each split
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: the prepared ESD cannot be read ({error}); prepare it again with --force"
        ) from error
    counter: Counter[str | None] = Counter()
    records: dict[str, tuple[str, int]] = {}  # split and position of the record of each file
    for utterance in utterances:
        records[utterance.file] = (_SPLIT.format(utterance.speaker), counter[utterance.speaker])
        counter[utterance.speaker] += 1
    return Corpus(
        name=_NAME,
        description="demo corpus (synthesised speech)" if metadata["synthetic"] else "ESD",
        synthetic=metadata["synthetic"],
        utterances=utterances,
        skipped=tuple(Skipped(*entry) for entry in metadata["skipped"]),
        notes=tuple(metadata["notes"]),
        read=functools.partial(_read, records, sources),
        identity=metadata["identity"],
    )


def _metadata(data_dir: Path) -> dict[str, Any]:
    path = dataset_dir(data_dir) / constants.METADATA_FILENAME
    return json.loads(path.read_text(encoding="utf-8"))


def _read(
    records: Mapping[str, tuple[str, int]],
    sources: Mapping[str, Sequence[Any]],
    utterance: Utterance,
) -> tuple[np.ndarray, int]:
    """Samples, [samples] int16, and sample rate in Hz of an utterance."""
    split, position = records[utterance.file]
    record = sources[split][position]
    samples = np.array(record["samples"])  # a copy, because TFDS returns a read-only view
    return samples, int(record["sample_rate_hz"])
