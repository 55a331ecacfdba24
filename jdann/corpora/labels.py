"""The names of emotions, languages and genders, and their names in other corpora."""

import difflib
import functools
import unicodedata

SYNONYMS = {
    "neutral": (
        "neu neut neutrality 中立 中性 平静中立 neutrale neutro neutre neutralna ουδέτερο "
        "нейтральный нейтрально غیرجانبدار 中立的 ニュートラル 중립 nötr neutraal neutralny "
        "neutrální semleges neutraali netral trung_tính محايد तटस्थ neutraalne neutru"
    ),
    "calm": "calmness serene relaxed 平静 冷静 ruhig calmo calma calme спокойный спокойствие",
    "happy": (
        "hap happiness joy joyful joyous happily 快乐 高兴 开心 喜悦 喜 freude fröhlich "
        "glücklich gioia gio felice felicità joie heureux heureuse alegría feliz felicidad "
        "радость радостный خوشی خوش خوشحال سعادة 喜び 기쁨 행복 mutlu mutluluk blij vreugde "
        "gelukkig glädje glæde szczęśliwy szczęście radość radost šťastný boldog öröm "
        "iloinen senang bahagia gembira vui_vẻ hạnh_phúc سعيد खुश खुशी χαρά χαρούμενος "
        "bucurie fericit 嬉しい 행복함"
    ),
    "sad": (
        "sadness sadly sorrow 伤心 悲伤 难过 悲 trauer traurig tristezza tri triste tristesse "
        "tristeza печаль грусть грустный اداس اداسی غمگین حزن 悲しみ 슬픔 üzgün üzüntü "
        "verdrietig verdriet ledsen sorg trist smutek smutny smutný szomorú szomorúság "
        "surullinen sedih buồn حزين दुखी उदास λύπη λυπημένος kurbus tristețe"
    ),
    "angry": (
        "ang anger angrily rage 生气 愤怒 怒 wut wütend ärger rabbia rab arrabbiato colère "
        "enojo enfado ira raiva злость гнев غصہ غصه خشم غضب 怒り 분노 kızgın kızgınlık öfke "
        "öfkeli sinirli boos woede ilska vred vrede złość gniew vztek hněv dühös vihainen "
        "viha tức_giận غاضب गुस्सा क्रोध θυμός θυμωμένος"
    ),
    "fearful": (
        "fear fea fearfully afraid scared scary terror 恐惧 害怕 惊恐 恐 angst ängstlich furcht "
        "paura pau peur miedo medo страх خوف ڈر ترس 恐れ 공포 korku korkmuş rädsla rädd frygt "
        "strach félelem pelko takut sợ_hãi خائف डर भय φόβος frică"
    ),
    "disgust": (
        "dis disgusted disgusting 厌恶 恶心 ekel disgusto dégoût asco desgosto nojo отвращение "
        "نفرت 嫌悪 혐오 iğrenme tiksinti walging afkeer avsky afsky wstręt obrzydzenie "
        "znechucení undor inho jijik ghê_tởm اشمئزاز घृणा αηδία dezgust"
    ),
    "surprise": (
        "sur surp surprised surprising surprisingly ps pleasant_surprise pleasant_surprised "
        "pleasantly_surprised 惊喜 惊讶 吃惊 惊 überraschung überrascht sorpresa sor surpresa "
        "удивление حیرت تعجب 驚き 놀람 şaşkın şaşkınlık sürpriz verrast verrassing förvånad "
        "överraskning overrasket zaskoczenie zdziwienie překvapení meglepett meglepetés "
        "yllättynyt yllätys terkejut ngạc_nhiên مفاجأة متفاجئ دهشة आश्चर्य έκπληξη surpriză"
    ),
    "boredom": "bored boring bor 无聊 langeweile gelangweilt noia ennui aburrimiento tédio скука",
    "contempt": "contemptuous 轻蔑 蔑视 verachtung disprezzo mépris desprecio desprezo презрение",
    "excited": (
        "excitement exc excite enthusiasm enthusiastic 兴奋 激动 aufgeregt begeisterung энтузиазм"
    ),
    "frustrated": "frustration fru 沮丧 frustriert",
    "anxious": "anxiety anx nervous worried 焦虑 担心 nervös anxiété ansia ansiedad",
    "amused": "amusement amu 逗乐",
    "sleepy": "sleepiness tired 困倦 müde",
    "sarcastic": "sarcasm irony ironic 讽刺 sarcasme ironie",
    "other": "others oth 其他 其它 andere autre altro otro outro другое",
}
EMOTIONS = tuple(SYNONYMS)

LANGUAGES = {
    "en": ("English", "eng englisch anglais 英语 英文"),
    "zh": ("Mandarin", "zho chi cmn chinese mandarin_chinese putonghua 中文 汉语 普通话 国语"),
    "ar": ("Arabic", "ara"),
    "bn": ("Bengali", "ben bangla"),
    "de": ("German", "deu ger deutsch"),
    "el": ("Greek", "ell gre"),
    "es": ("Spanish", "spa español castellano"),
    "et": ("Estonian", "est"),
    "fa": ("Persian", "fas per farsi"),
    "fr": ("French", "fra fre français"),
    "hi": ("Hindi", "hin"),
    "id": ("Indonesian", "ind"),
    "it": ("Italian", "ita italiano"),
    "ja": ("Japanese", "jpn 日本語"),
    "ko": ("Korean", "kor 한국어"),
    "nl": ("Dutch", "nld dut"),
    "pl": ("Polish", "pol polski"),
    "pt": ("Portuguese", "por português"),
    "ru": ("Russian", "rus русский"),
    "th": ("Thai", "tha"),
    "tr": ("Turkish", "tur türkçe"),
    "ur": ("Urdu", "urd اردو"),
    "vi": ("Vietnamese", "vie"),
}
GENDERS = {"female": "f fem w woman weiblich 女 女性 女声", "male": "m man männlich 男 男性 男声"}


# Letters that Unicode does not decompose into a plain one and an accent.
_WITHOUT_STROKE = str.maketrans("ıłøđ", "ilod")


def normal_form(text: str) -> str:
    """Normal form of a spelling, so that equal labels compare equal.

    It has no capital letters, accents, full-width characters and outer spaces, and `_` between
    words.
    """
    decomposed = unicodedata.normalize("NFKD", text.casefold().translate(_WITHOUT_STROKE))
    letters = "".join(c for c in decomposed if not unicodedata.combining(c))
    return "_".join(letters.replace("-", " ").replace("_", " ").split())


def _lookup(synonyms: dict[str, str]) -> dict[str, str]:
    """Maps the normal form of each spelling to the canonical name."""
    return {
        normal_form(word): name
        for name, words in synonyms.items()
        for word in (name, *words.split())
    }


_EMOTION = _lookup(SYNONYMS)
_LANGUAGE = _lookup({code: f"{name} {words}" for code, (name, words) in LANGUAGES.items()})
_GENDER = _lookup(GENDERS)
# Maps the normal form of each spelling of an emotion to the spelling itself, with its accents.
_EMOTION_SPELLING = {
    normal_form(word): word.replace("_", " ")
    for name, words in SYNONYMS.items()
    for word in (name, *words.split())
}


def canonical(label: str) -> str | None:
    """The name in `EMOTIONS` of an emotion in any known spelling, such as "Surprised" or "惊喜".

    Returns:
      The name; None if the label is not known.
    """
    return _EMOTION.get(normal_form(label))


def suggest_spelling(label: str) -> str | None:
    """The known spelling that is most similar to a wrong one, for a "did you mean".

    Returns:
      The spelling, with its accents; None if no known spelling is similar.
    """
    similar = difflib.get_close_matches(normal_form(label), _EMOTION, n=1, cutoff=0.7)
    return _EMOTION_SPELLING[similar[0]] if similar else None


@functools.lru_cache(maxsize=4096)
def nearest_emotion(folders: str) -> str | None:
    """The emotion of the innermost folder whose name is an emotion.

    Args:
      folders: a path of folders, such as "0011/Angry/train".

    Returns:
      A name in `EMOTIONS`; None if no folder names an emotion.
    """
    emotions = (canonical(part) for part in reversed(folders.split("/")))
    return next((emotion for emotion in emotions if emotion), None)


def canonical_language(text: str) -> str:
    """The ISO 639-1 code of a language in any known spelling ("English", "en-US", "普通话").

    Only the first word has to be known: "English Creole" is "en". An unknown language is returned
    in its normal form: lower case, no accents, `_` between words.
    """
    normal = normal_form(text)
    return _LANGUAGE.get(normal) or _LANGUAGE.get(normal.split("_")[0]) or normal


def language_name(code: str) -> str:
    """The English name of a language code; an unknown code is returned as it is."""
    return LANGUAGES[code][0] if code in LANGUAGES else code


def canonical_gender(text: str) -> str:
    """The gender, "female" or "male", in any known spelling.

    Any other text is returned in its normal form: lower case, no accents, `_` between words.
    """
    normal = normal_form(text)
    return _GENDER.get(normal, normal)
