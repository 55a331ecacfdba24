"""Pretrained encoders that are known: size, licence, and what they have heard in training.

The facts are those of the model cards on the Hub and of the papers that `source` names.
"""

from typing import NamedTuple

LIBRISPEECH = "LibriSpeech, read English audiobooks, 960 h"
LIBRI_LIGHT = "Libri-Light, read English audiobooks, 60,000 h"
WAVLM_94K = f"{LIBRI_LIGHT}; GigaSpeech, 10,000 h; VoxPopuli, English, 24,000 h"
WHISPER_680K = "recordings from the internet with transcripts, 680,000 h, 65 % of them English"
# The card of WavLM names the licence of the repository microsoft/UniSpeech.
WAVLM_LICENCE = "CC BY-SA 3.0"
NONE_NAMED = "none"
RESEMBLYZER = "resemblyzer"  # it groups voices, and is no encoder for features
NOT_PUBLISHED = "unknown: no list of its recordings is published"


class Published(NamedTuple):
    """What is known about a published encoder."""

    family: str
    parameters_m: float  # millions, of the whole model; jdann uses the encoder only
    megabytes: int  # to fetch
    licence: str
    languages: str
    trained_on: str  # corpora and hours
    emotional_corpora: str  # those among what it was trained on
    source: str  # a paper or a page
    safetensors_revision: str | None = None  # where they are if the main revision has none
    package: str | None = None  # of pip, for what is not on the Hub


def _whisper(parameters_m: int, megabytes: int) -> Published:
    return Published(
        family="whisper",
        parameters_m=parameters_m,
        megabytes=megabytes,
        licence="Apache-2.0",
        languages="99",
        trained_on=WHISPER_680K,
        emotional_corpora=NOT_PUBLISHED,
        source="arXiv:2212.04356",
    )


def _wavlm(
    parameters_m: float, megabytes: int, trained_on: str, safetensors_revision: str
) -> Published:
    return Published(
        family="wavlm",
        parameters_m=parameters_m,
        megabytes=megabytes,
        licence=WAVLM_LICENCE,
        languages="English",
        trained_on=trained_on,
        emotional_corpora=NONE_NAMED,
        source="arXiv:2110.13900",
        safetensors_revision=safetensors_revision,
    )


# by the name that `load_encoder` takes
CATALOGUE: dict[str, Published] = {
    "facebook/wav2vec2-base": Published(
        family="wav2vec2",
        parameters_m=95,
        megabytes=380,
        licence="Apache-2.0",
        languages="English",
        trained_on=LIBRISPEECH,
        emotional_corpora=NONE_NAMED,
        source="arXiv:2006.11477",
        safetensors_revision="f30924bbbfbf6058e04aab549531ea55c74928d0",
    ),
    "facebook/wav2vec2-large-xlsr-53": Published(
        family="wav2vec2",
        parameters_m=317,
        megabytes=1270,
        licence="Apache-2.0",
        languages="53",
        trained_on="Multilingual LibriSpeech, CommonVoice and BABEL, 56,000 h",
        emotional_corpora=NONE_NAMED,
        source="arXiv:2006.13979",
    ),
    "facebook/wav2vec2-xls-r-300m": Published(
        family="wav2vec2",
        parameters_m=317,
        megabytes=1270,
        licence="Apache-2.0",
        languages="128",
        trained_on="VoxPopuli, Multilingual LibriSpeech, CommonVoice, VoxLingua107 and BABEL, "
        "436,000 h",
        emotional_corpora=NONE_NAMED,
        source="arXiv:2111.09296",
        safetensors_revision="refs/pr/2",
    ),
    "facebook/hubert-base-ls960": Published(
        family="hubert",
        parameters_m=95,
        megabytes=378,
        licence="Apache-2.0",
        languages="English",
        trained_on=LIBRISPEECH,
        emotional_corpora=NONE_NAMED,
        source="arXiv:2106.07447",
        safetensors_revision="refs/pr/2",
    ),
    "facebook/hubert-large-ll60k": Published(
        family="hubert",
        parameters_m=317,
        megabytes=1260,
        licence="Apache-2.0",
        languages="English",
        trained_on=LIBRI_LIGHT,
        emotional_corpora=NONE_NAMED,
        source="arXiv:2106.07447",
        safetensors_revision="refs/pr/1",
    ),
    "TencentGameMate/chinese-hubert-base": Published(
        family="hubert",
        parameters_m=95,
        megabytes=378,
        licence="MIT",
        languages="Mandarin",
        trained_on="WenetSpeech, Mandarin from YouTube and podcasts (also drama), 10,000 h",
        emotional_corpora=NONE_NAMED,
        source="github.com/TencentGameMate/chinese_speech_pretrain",
        safetensors_revision="refs/pr/1",
    ),
    "microsoft/wavlm-base": _wavlm(94.7, 378, LIBRISPEECH, "refs/pr/1"),
    "microsoft/wavlm-base-plus": _wavlm(94.7, 378, WAVLM_94K, "refs/pr/1"),
    "microsoft/wavlm-large": _wavlm(316.6, 1260, WAVLM_94K, "refs/pr/2"),
    "facebook/data2vec-audio-base": Published(
        family="data2vec-audio",
        parameters_m=93,
        megabytes=373,
        licence="Apache-2.0",
        languages="English",
        trained_on=LIBRISPEECH,
        emotional_corpora=NONE_NAMED,
        source="arXiv:2202.03555",
        safetensors_revision="refs/pr/1",
    ),
    "openai/whisper-tiny": _whisper(39, 151),
    "openai/whisper-base": _whisper(74, 290),
    "openai/whisper-small": _whisper(244, 967),
    "openai/whisper-medium": _whisper(769, 3060),
    "openai/whisper-large-v3": _whisper(1550, 3090)._replace(
        trained_on="recordings from the internet with transcripts, 1,000,000 h, and with "
        "transcripts by Whisper large-v2, 4,000,000 h",
        source="arXiv:2212.04356; card of openai/whisper-large-v3",
    ),
    "smart-turn-v3.2": Published(
        family="whisper",
        parameters_m=8,
        megabytes=12,
        licence="BSD-2-Clause",
        languages="23",
        trained_on=f"that of Whisper tiny: {WHISPER_680K}; then ends of turns in human and "
        "synthesised speech",
        emotional_corpora=NOT_PUBLISHED,
        source="github.com/pipecat-ai/smart-turn",
        package="pipecat-ai",
    ),
    RESEMBLYZER: Published(
        family="ge2e",
        parameters_m=1.4,
        megabytes=16,
        licence="Apache-2.0",
        languages="English",
        trained_on="LibriSpeech, VoxCeleb 1 and VoxCeleb 2",
        emotional_corpora=NONE_NAMED,
        source="arXiv:1710.10467; github.com/resemble-ai/Resemblyzer",
        package="Resemblyzer",
    ),
}


def training_data_sentence(name: str) -> str:
    """A sentence about what an encoder was trained on.

    Args:
      name: as `jdann.pretrained.load.load_encoder` takes it.
    """
    known = CATALOGUE.get(name.partition("@")[0])
    if known is None:
        return (
            f"jdann does not know what the encoder {name} was trained on; find it out, and name it "
            "beside each result"
        )
    return (
        f"the encoder {name} was trained on {known.trained_on}; emotional corpora among that: "
        f"{known.emotional_corpora}"
    )
