"""Corpora whose file names tell speaker and emotion: a pattern and a table for each."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from jdann.corpora.index import Listing, Skipped, Utterance

NOT_NAMED_LIKE = "not named like a file of"  # how the reason begins why a file is skipped


class NameScheme(NamedTuple):
    """How the files of a corpus are named. The values are checked, not only the form."""

    title: str
    corpus: str  # `Utterance.corpus`
    # Groups `speaker`, `emotion` and perhaps `sentence`; it is searched in a path with / between
    # folders.
    pattern: re.Pattern[str]
    emotions: Mapping[str, str]  # from the code in lower case
    language: str
    gender: Callable[[str], str | None]  # of a speaker
    example: str
    speakers: frozenset[str] | None = None  # None: any that fits the pattern
    suffix: str = ""  # of the speaker's name

    def match(self, file: str) -> re.Match[str] | None:
        """The match if the file is of this corpus."""
        match = self.pattern.search(file)
        if match is None or (self.speakers and match["speaker"].upper() not in self.speakers):
            return None
        return match


def read(scheme: NameScheme, root: Path, files: Sequence[str]) -> Listing:
    """Lists the utterances of a corpus.

    Args:
      scheme: how its files are named.
      root: the folder of the corpus.
      files: paths below `root`.
    """
    utterances, skipped = [], []
    for file in files:
        match = scheme.match(file)
        if match is None:
            skipped.append(Skipped(file, not_named_like(scheme.title, scheme.example)))
            continue
        speaker = match["speaker"].upper() + scheme.suffix
        utterances.append(
            Utterance(
                file=file,
                path=f"{root}/{file}",
                emotion=scheme.emotions[match["emotion"].lower()],
                speaker=speaker,
                language=scheme.language,
                gender=scheme.gender(speaker),
                sentence=match.groupdict().get("sentence"),
                corpus=scheme.corpus,
            )
        )
    return Listing(utterances, skipped, [])


def not_named_like(title: str, example: str) -> str:
    """Why a file of a folder in a known layout is skipped."""
    return f"{NOT_NAMED_LIKE} {title}, such as {example}, with speakers and codes that occur there"


def _pattern(text: str) -> re.Pattern[str]:
    """A pattern for the end of a path, whatever its case."""
    return re.compile(rf"(?:^|/){text}\.\w+$", re.IGNORECASE)


def _codes(text: str) -> dict[str, str]:
    """The emotion of each code, from "code=emotion ..."."""
    return dict(pair.split("=") for pair in text.split())


def _among(women: str, men: str, speaker: str) -> str | None:
    return "female" if speaker in women.split() else "male" if speaker in men.split() else None


def _by_first_letter(letters: Mapping[str, str], speaker: str) -> str | None:
    return letters.get(speaker[0])


SCHEMES = (
    NameScheme(
        title="EmoDB",
        corpus="emodb",
        pattern=_pattern(
            r"(?P<speaker>03|08|09|1[0-6])(?P<sentence>[ab]\d\d)(?P<emotion>[wleaftn])[a-z]?"
        ),
        emotions=_codes("w=angry l=boredom e=disgust a=fearful f=happy t=sad n=neutral"),
        language="de",
        gender=partial(_among, "08 09 13 14 16", "03 10 11 12 15"),
        example="03a01Fa.wav",
    ),
    NameScheme(
        title="SAVEE",
        corpus="savee",
        # The speaker is the beginning of the name or, in the original, the folder. The same number
        # is another sentence in each emotion.
        pattern=_pattern(
            r"(?P<speaker>DC|JE|JK|KL)[_/](?P<emotion>sa|su|[adfhn])(?:0[1-9]|[12]\d|30)"
        ),
        emotions=_codes("a=angry d=disgust f=fearful h=happy n=neutral sa=sad su=surprise"),
        language="en",
        gender=lambda speaker: "male",
        example="DC_a01.wav",
    ),
    NameScheme(
        title="TESS",
        corpus="tess",
        pattern=_pattern(
            r"(?P<speaker>[OY]A)F?_(?P<sentence>[a-z]+)_"  # one file lacks the F
            r"(?P<emotion>angry|disgust|fear|happy|neutral|ps|sad)"
        ),
        emotions=_codes(
            "angry=angry disgust=disgust fear=fearful happy=happy neutral=neutral ps=surprise "
            "sad=sad"
        ),
        language="en",
        gender=lambda speaker: "female",
        example="OAF_back_angry.wav",
        suffix="F",
    ),
    NameScheme(
        title="EMOVO",
        corpus="emovo",
        pattern=_pattern(
            r"(?P<emotion>dis|gio|pau|rab|sor|tri|neu)-(?P<speaker>[mf][1-3])-"
            r"(?P<sentence>[a-z]\d)"
        ),
        emotions=_codes(
            "dis=disgust gio=happy pau=fearful rab=angry sor=surprise tri=sad neu=neutral"
        ),
        language="it",
        gender=partial(_by_first_letter, {"F": "female", "M": "male"}),
        example="rab-f1-b1.wav",
    ),
    NameScheme(
        title="CREMA-D",
        corpus="crema-d",
        pattern=_pattern(
            r"(?P<speaker>10[0-9]\d)_"
            r"(?P<sentence>IEO|TIE|IOM|IWW|TAI|MTI|IWL|ITH|DFA|ITS|TSI|WSI)_"
            r"(?P<emotion>ANG|DIS|FEA|HAP|NEU|SAD)_(?:LO|MD|HI|XX|X)"
        ),
        emotions=_codes("ang=angry dis=disgust fea=fearful hap=happy neu=neutral sad=sad"),
        language="en",
        gender=lambda speaker: None,
        example="1001_DFA_ANG_XX.wav",
        speakers=frozenset(str(number) for number in range(1001, 1092)),
    ),
    NameScheme(
        title="nEMO",
        corpus="nemo",
        pattern=_pattern(
            r"(?P<speaker>[A-Z]{2}\d)_"
            r"(?P<emotion>anger|fear|happiness|neutral|sadness|surprise)_(?P<sentence>\d{1,3})"
        ),
        emotions=_codes(
            "anger=angry fear=fearful happiness=happy neutral=neutral sadness=sad surprise=surprise"
        ),
        language="pl",
        gender=lambda speaker: None,
        example="EB0_anger_1.wav",
    ),
)
