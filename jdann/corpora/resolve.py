"""From the name that a user writes, `auto:en`, a folder or a manifest, to a corpus."""

import difflib
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

from jdann import remote
from jdann.corpora import audformat, demo, esd, folder, manifest, tables
from jdann.corpora.index import Corpus, Utterance
from jdann.corpora.labels import EMOTIONS, canonical, language_name
from jdann.corpora.naming import AS_USUAL, AUTO, Naming
from jdann.errors import InputError
from jdann.files import default_data_dir

UNNAMED = "-unnamed"  # the end of a name: the demo corpus as one that nobody has described
NAMES = (
    *("auto:en", "auto:zh", "esd:en", "esd:zh", "demo:en", "demo:zh"),
    *(f"demo:en{UNNAMED}", f"demo:zh{UNNAMED}"),
)
_EXPECTED = f"expected {', '.join(NAMES)}, a folder of audio, or a manifest (.csv)"


def load(
    spec: str,
    emotions: Sequence[str],
    data_dir: Path | None = None,
    naming: Naming = AS_USUAL,
) -> Corpus:
    """Loads the corpus that `spec` names, restricted to `emotions`.

    Args:
      spec: `esd:en`, `esd:zh`, `demo:en`, `demo:zh`, a folder, or a manifest (.csv). `auto:en` and
        `auto:zh` mean ESD if it has been prepared, else the demo corpus. `demo:zh-unnamed` is the
        demo corpus without speaker ids and with file names that tell nothing. `FOLDER:en` and
        `MANIFEST:en` mean only the utterances in that language. A manifest may be a URL, such as
        s3://bucket/list.csv; then its files are, too.
      emotions: names in `labels.EMOTIONS`. Utterances without an emotion are kept. Utterances with
        another emotion are only counted.
      data_dir: the folder of prepared corpora and of the demo corpus; None: that of TFDS.
      naming: how the names in a folder or manifest are understood.

    Returns:
      The corpus. Its name is that of the corpus found: `auto:en` becomes `esd:en` or `demo:en`,
      and a note tells if it is the demo corpus.

    Raises:
      InputError: nothing has that name, no utterance can be used, or there is no such layout.
    """
    _check_emotions(emotions)
    folder.check_layout(naming)
    if spec in NAMES:
        kind, language = spec.removesuffix(UNNAMED).split(":")
        corpus = _load_named(kind, language, data_dir)
        name = "demo" if corpus.synthetic and kind != "esd" else "esd"
        corpus = corpus._replace(name=spec if UNNAMED in spec else f"{name}:{language}")
    elif remote.is_url(spec):
        corpus, language = _load_url(spec, naming)
    else:
        path, language = _parse_path(spec)
        is_manifest = path.suffix.lower() in tables.SUFFIXES
        if is_manifest:
            corpus = manifest.load_manifest(path, naming)
        elif naming.layout == AUTO and (path / audformat.HEADER).is_file():
            corpus = audformat.load_database(path, naming)
        else:
            corpus = folder.load_folder(path, naming)
        corpus = corpus._replace(name=f"{path.name}:{language}" if language else path.name)
    corpus = _keep_language(corpus, spec, language)
    if spec in NAMES and spec.endswith(UNNAMED):
        corpus = corpus._replace(utterances=_without_names(corpus.utterances))
    if corpus.utterances[0].corpus == "esd" and not corpus.synthetic:
        corpus = corpus._replace(notes=(*corpus.notes, *esd.missing(corpus.utterances)))
    return _with_speaker_note(_keep_emotions(corpus, spec, emotions))


def _load_url(spec: str, naming: Naming) -> tuple[Corpus, str | None]:
    """The manifest at a URL, and the language after it if there is one."""
    match = re.fullmatch(r"(.+):([a-z]{2,3})", spec)
    url, language = (match[1], match[2]) if match else (spec, None)
    if Path(url).suffix.lower() not in tables.SUFFIXES:
        raise InputError(f"{spec}: expected a manifest (.csv) at a URL, not a folder or audio")
    try:
        with remote.local_copy(url) as copy:
            corpus = manifest.load_manifest(copy, naming, remote.parent(url))
    except remote.RemoteError as error:
        raise InputError(f"{url}: {error}; {_EXPECTED}") from error
    name = f"{corpus.name}:{language}" if language else corpus.name
    return corpus._replace(name=name), language


def _check_emotions(emotions: Sequence[str]) -> None:
    for emotion in emotions:
        if emotion not in EMOTIONS:
            name = canonical(emotion)
            remedy = f"write {name}" if name else f"expected some of {', '.join(EMOTIONS)}"
            raise InputError(f"config.emotions: {emotion!r} is not a known emotion; {remedy}")


def _load_named(kind: str, language: str, data_dir: Path | None) -> Corpus:
    """ESD or the demo corpus, in both languages; `kind` is auto, esd or demo."""
    from jdann.corpora import prepared  # it imports TFDS, which no folder or manifest needs

    data_dir = data_dir or default_data_dir()
    if kind == "esd" or (kind == "auto" and prepared.is_prepared(data_dir)):
        corpus = prepared.load_prepared(data_dir)
        if kind == "esd" or any(u.language == language for u in corpus.utterances):
            return corpus
    corpus = folder.load_folder(demo.ensure(data_dir))
    if kind == "demo":
        return corpus
    note = (
        f"ESD has not been prepared in {data_dir} for {language_name(language)}, "
        f"so this is the demo corpus: synthesised speech, whose figures say nothing about people "
        f"(`jdann prepare esd FOLDER` prepares ESD)"
    )
    return corpus._replace(notes=(note, *corpus.notes))


def _parse_path(spec: str) -> tuple[Path, str | None]:
    """The folder or manifest that `spec` names, and the language after it if there is one."""
    if not spec:
        raise InputError(f"config.source or config.target is empty; {_EXPECTED}")
    match = re.fullmatch(r"(.+):([a-z]{2,3})", spec)
    candidates = [(spec, None)] + ([(match[1], match[2])] if match else [])
    for text, language in candidates:
        local = unquote(text.removeprefix("file://")) if text.startswith("file://") else text
        path = Path(local).expanduser()
        if path.is_dir() or (path.exists() and path.suffix.lower() in tables.SUFFIXES):
            return path.resolve() if path.name in ("", "..") else path, language
        if path.exists():
            raise InputError(f"{spec}: is a file, but not a manifest; {_EXPECTED}")
    if "/" in spec or spec.startswith(("~", ".")) or Path(candidates[-1][0]).suffix:
        raise InputError(f"{spec}: no such file or folder; {_EXPECTED}")
    similar = " or ".join(sorted(difflib.get_close_matches(spec, NAMES, n=2)))
    question = f" (did you mean {similar}?)" if similar else ""
    raise InputError(f"{spec!r} names no corpus, file or folder{question}; {_EXPECTED}")


def _without_names(utterances: Sequence[Utterance]) -> tuple[Utterance, ...]:
    """The utterances without speaker ids, under file names that are only numbers."""
    return tuple(
        u._replace(speaker=None, file=f"{number:05d}.wav") for number, u in enumerate(utterances)
    )


def _keep_language(corpus: Corpus, spec: str, language: str | None) -> Corpus:
    """The utterances in `language`, or all if it is None, with the languages in the description."""
    if not corpus.utterances:
        reasons = [*corpus.notes, *(f"{clip.file}: {clip.reason}" for clip in corpus.skipped[:1])]
        raise InputError(
            f"{spec}: holds no utterance that can be used ({'; '.join(reasons)}); "
            f"give another folder"
        )
    counts = Counter(u.language for u in corpus.utterances)
    is_esd_or_demo = corpus.utterances[0].corpus in ("esd", "demo")
    if language is None and is_esd_or_demo and {"en", "zh"} <= set(counts):
        raise InputError(
            f"{spec}: holds two languages; write {spec}:en or {spec}:zh for the one that is meant"
        )
    chosen = corpus.utterances
    if language is not None:
        chosen = tuple(u for u in chosen if u.language == language)
    if not chosen:
        listed = ", ".join(f"{code or 'unknown'} ({n:,})" for code, n in counts.most_common())
        raise InputError(
            f"{spec}: no utterance in {language}; "
            f"the languages of {corpus.description} are {listed}"
        )
    codes = dict.fromkeys(u.language for u in chosen)
    names = " and ".join(language_name(code) for code in codes if code)
    description = f"{corpus.description}, {names}" if names else corpus.description
    return corpus._replace(utterances=chosen, description=description)


def _keep_emotions(corpus: Corpus, spec: str, emotions: Sequence[str]) -> Corpus:
    """The utterances with one of `emotions` or without any; the others are counted."""
    kept = tuple(u for u in corpus.utterances if u.emotion is None or u.emotion in emotions)
    excluded = Counter(
        u.emotion for u in corpus.utterances if u.emotion is not None and u.emotion not in emotions
    )
    if not kept:
        listed = ", ".join(f"{emotion} ({count:,})" for emotion, count in excluded.most_common())
        raise InputError(
            f"{spec}: no utterance is {', '.join(emotions)}; it has {listed}: "
            f"choose some of these in config.emotions"
        )
    return corpus._replace(utterances=kept, excluded_emotions=tuple(sorted(excluded.items())))


def _with_speaker_note(corpus: Corpus) -> Corpus:
    """The corpus with a note if speakers are unknown."""
    unknown = sum(u.speaker is None for u in corpus.utterances)
    if not unknown:
        return corpus
    note = "no speaker ids"
    if unknown < len(corpus.utterances):
        note = f"{unknown:,} of {len(corpus.utterances):,} utterances have no speaker id"
    return corpus._replace(notes=(*corpus.notes, note))
