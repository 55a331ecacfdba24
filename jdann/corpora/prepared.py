"""ESD prepared once as a TFDS dataset: 35,000 small files become twenty ArrayRecord files with random access.

TensorFlow is not needed and never imported, neither to prepare nor to read: the samples are an int16 `Tensor` encoded
as bytes (TFDS's `Audio` feature imports TensorFlow), decoded with soundfile, and every speaker is a split of its own
(splits above 1000 MiB would be written through TensorFlow).
"""

import contextlib
import functools
import hashlib
import io
import json
import shutil
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
from jdann.progress import track

_NAME = "esd"
_VERSION = "1.0.0"  # to be raised when the records change, so that old ones are not read
_SPLIT = "speaker_{}"
_COMPLETE = (constants.DATASET_INFO_FILENAME, constants.METADATA_FILENAME)
_TEXTS = ("file", "emotion", "speaker", "language", "gender", "sentence", "split")


class Preparation(NamedTuple):
    """What `prepare_esd` made, or found made."""

    path: Path  # the dataset's folder
    root: str  # the folder it was prepared from
    utterances: int
    speakers: int
    hours: float
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]
    already: bool  # True where it had been prepared before and nothing was done


def default_data_dir() -> Path:
    """TFDS's own: `$TFDS_DATA_DIR`, else `~/tensorflow_datasets`."""
    return Path(constants.get_default_data_dir()).expanduser()


def dataset_dir(data_dir: Path) -> Path:
    """The folder of prepared ESD in a TFDS data folder, existing or not."""
    return data_dir / _NAME / _VERSION


def is_prepared(data_dir: Path) -> bool:
    """True where ESD has been prepared to the end: TFDS moves a finished dataset into place as its last act."""
    return all((dataset_dir(data_dir) / name).is_file() for name in _COMPLETE)


class Esd(tfds.core.GeneratorBasedBuilder):
    """The TFDS dataset `esd`; its metadata lists the utterances of every split in the order of the records."""

    VERSION = tfds.core.Version(_VERSION)
    RELEASE_NOTES = {_VERSION: "The samples, and what the path of each file tells."}  # noqa: RUF012 - as TFDS has it
    url_infos = None  # nothing is downloaded; TFDS would look for checksums, for which it needs importlib_resources

    def __init__(self, corpus: Corpus, root: Path, data_dir: Path):
        self._corpus = corpus
        self._root = root
        self._metadata = tfds.core.MetadataDict()
        super().__init__(data_dir=data_dir, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Emotional Speech Dataset (ESD): Mandarin and English, 20 speakers, 5 emotions. Research only.",
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
            self._digest.update(
                f"{utterance.file} {len(samples)} {sample_rate_hz}".encode() + samples.tobytes()
            )
            self._metadata["identity"] = self._digest.hexdigest()
            known = {name: row[name] or "" for name in _TEXTS}
            text = texts.get(Path(utterance.file).stem, "")
            yield (
                number,
                {"samples": samples, "sample_rate_hz": sample_rate_hz, "text": text, **known},
            )


def _transcripts(root: Path, utterances: Sequence[Utterance]) -> dict[str, str]:
    """The texts of one speaker, from `SSSS.txt` in any folder between the root and the speaker's files."""
    name = f"{utterances[0].speaker}.txt"
    folders = {
        folder
        for path in {Path(u.file).parent for u in utterances}
        for folder in (path, *path.parents)
    }
    texts: dict[str, str] = {}
    for below in sorted(folders):
        texts |= esd.read_transcripts(root / below / name)
    return texts


def _decode(path: str) -> tuple[np.ndarray, int]:
    """Samples, int16 [samples], and sample rate in Hz; what was 16 bit and mono comes out bit by bit as it was."""
    samples, sample_rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    if not np.isfinite(samples).all():
        raise ValueError("samples that are not finite")
    return np.rint(samples.mean(axis=1) * 32768).clip(-32768, 32767).astype(
        np.int16
    ), sample_rate_hz


def prepare_esd(root: Path, data_dir: Path | None = None, *, force: bool = False) -> Preparation:
    """Writes a copy of ESD into a TFDS data folder, for `esd:en` and `esd:zh`; does nothing where that has been done.

    Only one speaker's samples are held in memory at a time. An interrupted preparation leaves no dataset behind.

    Args:
      root: the folder of ESD, in any known layout.
      data_dir: the TFDS data folder; None: `default_data_dir()`.
      force: prepare again, in place of what is there.

    Raises:
      InputError: where `root` is not ESD, or the data folder cannot be written or has too little space.
    """
    data_dir = data_dir or default_data_dir()
    target = dataset_dir(data_dir)
    if is_prepared(data_dir) and not force:
        return _preparation(data_dir, already=True)
    if target.exists() and not force:
        raise InputError(
            f"{target}: exists and is no complete preparation; move it away, or prepare with --force"
        )
    corpus, n_bytes = _checked(root)
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(data_dir).free + _size(target)
        if free < n_bytes:
            raise InputError(
                f"{data_dir}: {free / 2**20:,.0f} MiB are free, ESD needs {n_bytes / 2**20:,.0f} MiB; "
                f"make room, or choose another folder with --data-dir"
            )
        if target.exists():
            shutil.rmtree(target)
        _write(Esd(corpus, root, data_dir))
    except (
        OSError,
        RuntimeError,
    ) as error:  # a RuntimeError is TFDS's word for a disk that fills up
        raise InputError(
            f"{data_dir}: cannot be written ({error}); make room, or choose another folder with --data-dir"
        ) from error
    return _preparation(data_dir, already=False)


def _write(builder: Esd) -> None:
    tfds.disable_progress_bar()  # ours says how many files are left, TFDS's do not know
    with contextlib.redirect_stdout(
        io.StringIO()
    ):  # TFDS announces download and size, both "Unknown"
        builder.download_and_prepare()


def _size(target: Path) -> int:
    return sum(path.stat().st_size for path in target.glob("*")) if target.is_dir() else 0


def _checked(root: Path) -> tuple[Corpus, int]:
    """The corpus at `root` without the files whose header cannot be read, and how many bytes it takes prepared."""
    corpus = folder.load_folder(root)
    if not corpus.utterances or corpus.utterances[0].corpus not in ("esd", "demo"):
        raise InputError(
            f"{root}: is not ESD; expected files named like 0011_000351.wav below folders named after emotions. "
            f"Other corpora need no preparing: give their folder or a manifest (.csv) as the domain"
        )
    good, bad, n_bytes = [], [], 0
    for utterance in track(corpus.utterances, "Checking ESD", unit="files"):
        try:
            frames = soundfile.info(utterance.path).frames
        except (soundfile.SoundFileError, OSError) as error:
            bad.append(Skipped(utterance.file, str(error)))
            continue
        if frames:
            good.append(utterance)
            n_bytes += 2 * frames
        else:
            bad.append(Skipped(utterance.file, "no samples"))
    if not good:
        raise InputError(
            f"{root}: none of its {len(bad):,} files can be read, e.g. {bad[0].file}: {bad[0].reason}"
        )
    overhead = 2**20 * len({u.speaker for u in good}) + 1000 * len(good)
    return corpus._replace(
        utterances=tuple(good), skipped=(*corpus.skipped, *bad)
    ), n_bytes + overhead


def _preparation(data_dir: Path, *, already: bool) -> Preparation:
    corpus = load_prepared(data_dir)
    return Preparation(
        path=dataset_dir(data_dir),
        root=_metadata(data_dir)["root"],
        utterances=len(corpus.utterances),
        speakers=len({u.speaker for u in corpus.utterances}),
        hours=sum(u.duration_s or 0.0 for u in corpus.utterances) / 3600,
        skipped=corpus.skipped,
        notes=corpus.notes,
        already=already,
    )


def load_prepared(data_dir: Path) -> Corpus:
    """The prepared ESD of a TFDS data folder, both languages; `read` fetches one record.

    Raises:
      InputError: where it has not been prepared, or where its files cannot be read.
    """
    if not is_prepared(data_dir):
        raise InputError(
            f"{data_dir}: ESD has not been prepared there; run `jdann prepare esd FOLDER` on your copy of ESD"
        )
    try:
        metadata = _metadata(data_dir)
        utterances = tuple(Utterance(**row) for row in metadata["utterances"])
        sources: Any = tfds.builder_from_directory(
            dataset_dir(data_dir)
        ).as_data_source()  # one for each split
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{dataset_dir(data_dir)}: the prepared ESD cannot be read ({error}); prepare it again with --force"
        ) from error
    counter: Counter[str | None] = Counter()
    records: dict[str, tuple[str, int]] = {}
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
    return json.loads(
        (dataset_dir(data_dir) / constants.METADATA_FILENAME).read_text(encoding="utf-8")
    )


def _read(
    records: Mapping[str, tuple[str, int]],
    sources: Mapping[str, Sequence[Any]],
    utterance: Utterance,
) -> tuple[np.ndarray, int]:
    split, number = records[utterance.file]
    record = sources[split][number]
    return np.array(record["samples"]), int(
        record["sample_rate_hz"]
    )  # a copy: TFDS returns a read-only view
