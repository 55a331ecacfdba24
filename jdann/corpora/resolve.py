"""From what a user writes, `auto:en`, a folder or a manifest, to a corpus."""

import difflib
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from jdann.corpora import demo, esd, folder, manifest
from jdann.corpora.index import Corpus
from jdann.corpora.labels import EMOTIONS, canonical, language_name
from jdann.errors import InputError

NAMES = ("auto:en", "auto:zh", "esd:en", "esd:zh", "demo:en", "demo:zh")
_ACCEPTED = f"expected {', '.join(NAMES)}, a folder of audio, or a manifest (.csv)"


def load(spec: str, emotions: Sequence[str], data_dir: Path | None = None) -> Corpus:
    """The corpus that `spec` names, restricted to `emotions`.

    Args:
      spec: `auto:en` or `auto:zh` (ESD where it has been prepared, else the demo corpus), `esd:en`, `esd:zh`,
        `demo:en`, `demo:zh`, a folder, or a manifest (.csv). `FOLDER:en` and `MANIFEST:en` take one language of it.
      emotions: names of `labels.EMOTIONS`. Utterances without an emotion are kept, those of other emotions counted.
      data_dir: where prepared corpora and the demo corpus are; None: TFDS's own folder.

    Returns:
      The corpus, named as it was found: `auto:en` becomes `esd:en` or `demo:en`, with a note that says so.

    Raises:
      InputError: where nothing has that name, or nothing of it can be used.
    """
    _check_emotions(emotions)
    if spec in NAMES:
        kind, language = spec.split(":")
        corpus = _named(kind, language, data_dir)
        corpus = corpus._replace(
            name=f"{'demo' if corpus.synthetic and kind != 'esd' else 'esd'}:{language}"
        )
    else:
        path, language = _path(spec)
        corpus = (
            manifest.load_manifest(path) if path.suffix.lower() in manifest.SUFFIXES else folder.load_folder(path)
        )
        corpus = corpus._replace(name=f"{path.name}:{language}" if language else path.name)
    corpus = _in_language(corpus, spec, language)
    if corpus.utterances[0].corpus == "esd" and not corpus.synthetic:
        corpus = corpus._replace(notes=(*corpus.notes, *esd.missing(corpus.utterances)))
    return _with_speaker_note(_restricted(corpus, spec, emotions))


def _check_emotions(emotions: Sequence[str]) -> None:
    for emotion in emotions:
        if emotion not in EMOTIONS:
            meant = canonical(emotion)
            remedy = f"write {meant}" if meant else f"expected some of {', '.join(EMOTIONS)}"
            raise InputError(f"config.emotions: {emotion!r} is no emotion's name here; {remedy}")


def _named(kind: str, language: str, data_dir: Path | None) -> Corpus:
    from jdann.corpora import prepared  # imports TFDS, which a manifest or a folder does not need

    data_dir = data_dir or prepared.default_data_dir()
    if kind == "esd" or (kind == "auto" and prepared.is_prepared(data_dir)):
        corpus = prepared.load(data_dir)
        if kind == "esd" or any(u.language == language for u in corpus.utterances):
            return corpus
    corpus = folder.load_folder(demo.ensure(data_dir))
    if kind == "demo":
        return corpus
    note = (
        f"ESD has not been prepared in {data_dir} for {language_name(language)}, so this is the demo corpus: "
        f"synthesised speech, whose figures say nothing about people (`jdann prepare esd FOLDER` prepares ESD)"
    )
    return corpus._replace(notes=(note, *corpus.notes))


def _path(spec: str) -> tuple[Path, str | None]:
    """The existing path that `spec` names, and the language after it where there is one."""
    match = re.fullmatch(r"(.+):([a-z]{2,3})", spec)
    if not spec:
        raise InputError(f"config.source or config.target is empty; {_ACCEPTED}")
    candidates = [(spec, None)] + ([(match[1], match[2])] if match else [])
    for text, language in candidates:
        path = Path(text).expanduser()
        if path.is_dir() or (path.exists() and path.suffix.lower() in manifest.SUFFIXES):
            return path.resolve() if path.name in ("", "..") else path, language
        if path.exists():
            raise InputError(f"{spec}: is a file that is no manifest; {_ACCEPTED}")
    if "/" in spec or spec.startswith(("~", ".")) or Path(candidates[-1][0]).suffix:
        raise InputError(f"{spec}: no such file or folder; {_ACCEPTED}")
    close = " or ".join(sorted(difflib.get_close_matches(spec, NAMES, n=2)))
    meant = f" (did you mean {close}?)" if close else ""
    raise InputError(f"{spec!r} names no corpus, file or folder{meant}; {_ACCEPTED}")


def _in_language(corpus: Corpus, spec: str, language: str | None) -> Corpus:
    """The utterances of `corpus` in `language`, all of them where it is None, and the language in the description."""
    if not corpus.utterances:
        why = [*corpus.notes, *(f"{file}: {reason}" for file, reason in corpus.skipped[:1])]
        raise InputError(
            f"{spec}: holds no utterance that can be used ({'; '.join(why)}); give another folder"
        )
    languages = Counter(u.language for u in corpus.utterances)
    if (
        language is None
        and {"en", "zh"} <= set(languages)
        and corpus.utterances[0].corpus in ("esd", "demo")
    ):
        raise InputError(
            f"{spec}: holds two languages; write {spec}:en or {spec}:zh for the one that is meant"
        )
    chosen = (
        corpus.utterances
        if language is None
        else tuple(u for u in corpus.utterances if u.language == language)
    )
    if not chosen:
        held = ", ".join(
            f"{code or 'unknown'} ({count:,})" for code, count in languages.most_common()
        )
        raise InputError(
            f"{spec}: no utterance in {language}; the languages of {corpus.description} are {held}"
        )
    names = " and ".join(
        language_name(code) for code in dict.fromkeys(u.language for u in chosen) if code
    )
    return corpus._replace(
        utterances=chosen, description=f"{corpus.description}{', ' if names else ''}{names}"
    )


def _restricted(corpus: Corpus, spec: str, emotions: Sequence[str]) -> Corpus:
    kept = tuple(u for u in corpus.utterances if u.emotion is None or u.emotion in emotions)
    outside = Counter(
        u.emotion for u in corpus.utterances if u.emotion is not None and u.emotion not in emotions
    )
    if not kept:
        held = ", ".join(f"{emotion} ({count:,})" for emotion, count in outside.most_common())
        wanted = ", ".join(emotions)
        raise InputError(
            f"{spec}: no utterance is {wanted}; it has {held}: choose some of these in config.emotions"
        )
    return corpus._replace(
        utterances=kept, outside=tuple(sorted((str(e), n) for e, n in outside.items()))
    )


def _with_speaker_note(corpus: Corpus) -> Corpus:
    unknown = sum(u.speaker is None for u in corpus.utterances)
    if not unknown:
        return corpus
    total = len(corpus.utterances)
    note = (
        "no speaker ids"
        if unknown == total
        else f"{unknown:,} of {total:,} utterances have no speaker id"
    )
    return corpus._replace(notes=(*corpus.notes, note))
