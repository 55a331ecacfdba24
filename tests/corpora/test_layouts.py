"""Layouts that the user chooses: one for each corpus, and what the messages call them."""

import json

import pytest

from jdann import corpora
from jdann.cli import main
from jdann.configuration import load_config
from jdann.corpora import Naming
from jdann.corpora.folder import LAYOUTS
from jdann.errors import InputError
from jdann.experiments.settings import naming_of
from tests.support.runs import fail

EMOTIONS = ("neutral", "happy", "angry", "sad", "surprise")
ESD = "0011/Angry/0011_000351.wav"


@pytest.fixture
def folders(tmp_path):
    """Three folders whose files are named as in ESD, but lie in folders of other emotions."""
    for name in ("a", "b", "c"):
        file = tmp_path / name / "Sad" / ESD.rpartition("/")[2]
        file.parent.mkdir(parents=True)
        file.touch()
    return [str(tmp_path / name) for name in ("a", "b", "c")]


def layouts_read(folders, layout):
    """What each folder was read as: "esd", or None for a plain folder."""
    naming = Naming(layout)
    parts = [
        corpora.load(folder, EMOTIONS, naming=of_folder)
        for folder, of_folder in zip(folders, corpora.namings_of_each(naming, folders), strict=True)
    ]
    merged = corpora.load_all(folders, EMOTIONS, naming=naming)
    speakers = [u.speaker for part in parts for u in part.utterances]
    known = [None if u.speaker is None else u.speaker.split("/")[1] for u in merged.utterances]
    assert known == speakers
    return [u.corpus for part in parts for u in part.utterances]


def test_each_corpus_has_its_layout(folders):
    assert layouts_read(folders, "auto") == ["esd"] * 3
    assert layouts_read(folders, "plain") == [None] * 3
    assert layouts_read(folders, "plain, ESD,auto") == [None, "esd", "esd"]
    for layout in ("plain,esd", "plain,esd,auto,auto"):
        with pytest.raises(InputError, match=r"names \d layouts, and there are 3 corpora; give"):
            corpora.load_all(folders, EMOTIONS, naming=Naming(layout))


@pytest.mark.parametrize("domain", ["source", "target"])
def test_source_and_target_have_their_own(folders, domain):
    other = {"source": "target", "target": "source"}[domain]
    config = load_config("base", [(f"{domain}_layout", "plain")])
    for name, expected in ((domain, None), (other, "esd")):
        naming = naming_of(config, name)
        (utterance,) = corpora.load_all(folders[0], EMOTIONS, naming=naming).utterances
        assert utterance.corpus == expected
    with pytest.raises(InputError, match=rf"^--config\.{domain}_layout=x: no such layout"):
        corpora.load_all(
            folders[0], EMOTIONS, naming=naming_of(config, domain)._replace(layout="x")
        )


def test_a_name_of_no_layout_is_refused_for_tables_too(folders, tmp_path):
    table = tmp_path / "a.csv"
    table.write_text(f"file\na/Sad/{ESD.rpartition('/')[2]}\n")
    with pytest.raises(InputError, match=r"--layout=emobd: no such layout; expected auto, plain"):
        corpora.load_all(str(table), EMOTIONS, naming=Naming("emobd"))


# For each corpus: names in it, a name with a value that does not occur, and a name with a date.
NAMES = {
    "ESD": (
        "Angry/0011_000351.wav Sad/0012_001051.wav Happy/0011_000701.wav Neutral/0012_000001.wav",
        "Angry/0021_000351.wav",
        "2101_231127.wav",
    ),
    "RAVDESS": (
        "03-01-05-01-01-01-01.wav 03-01-04-01-01-01-02.wav 03-01-03-01-01-01-03.wav "
        "03-01-01-01-01-01-04.wav",
        "03-01-05-01-01-01-25.wav",
        "2023-11-27-14-22-11-01.wav",
    ),
    "CASIA": (
        "wangzhe/angry/1.wav liuchanhg/sad/2.wav zhaoquanyin/happy/1.wav wangzhe/sad/2.wav",
        "zhangsan/angry/201.wav",
        "231127.wav",
    ),
    "EmoDB": ("03a01Fa.wav 16b10Ta.wav 08a01Wa.wav 11a05Na.wav", "17a01Fa.wav", "20231127a.wav"),
    "SAVEE": ("DC_a01.wav JE_sa15.wav KL_n30.wav JK_su02.wav", "DC_a31.wav", "DC_231127.wav"),
    "TESS": (
        "OAF_bar_sad.wav YAF_dog_ps.wav OAF_back_angry.wav YAF_bar_fear.wav",
        "OAF_bar_bored.wav",
        "OAF_20231127_1.wav",
    ),
    "EMOVO": (
        "rab-f1-b1.wav gio-m2-n4.wav neu-f3-l1.wav tri-m1-d1.wav",
        "rab-f4-b1.wav",
        "neu-2023-11.wav",
    ),
    "CREMA-D": (
        "1001_DFA_ANG_XX.wav 1091_WSI_SAD_LO.wav 1002_IEO_SAD_LO.wav 1003_TIE_NEU_XX.wav",
        "1092_DFA_ANG_XX.wav",
        "1001_20231127_120000.wav",
    ),
    "nEMO": (
        "EB0_anger_1.wav SK1_fear_4.wav EB0_neutral_3.wav SK1_sadness_90.wav",
        "EB0_boredom_1.wav",
        "EB0_20231127_1.wav",
    ),
}


def printed(capsys, folder, files, *options):
    """What `jdann corpora` prints of a folder with these files, on one line."""
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    main(["corpora", "-q", str(folder), *options])
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("title", LAYOUTS)
def test_the_command_says_what_a_folder_is_and_what_is_left_out(tmp_path, capsys, title):
    good, wrong, date = NAMES[title]
    for kind, name in (("value", wrong), ("date", date)):
        text = printed(capsys, tmp_path / kind, [*good.split(), name])
        assert "labelled 4" in text and "unreadable 4" in text and "left out 1" in text
        assert f"1 file left out: {name}: not named like a file of {title}, such as" in text
        assert "--layout=plain also reads files" in text and "--config" not in text
        text = printed(capsys, tmp_path / f"only-{kind}", [name])
        assert "left out 0" in text and title not in text
    other = "EmoDB" if title == "SAVEE" else "SAVEE"
    text = printed(capsys, tmp_path / "two", [*good.split(), NAMES[other][0].split()[0]])
    assert f"understood as 4 files of {title} and 1 file of {other}; --layout chooses" in text


def test_options_name_the_corpus_whose_layout_does_not_fit(tmp_path, capsys, folders):
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "a.wav").touch()
    options = [
        f"--config.source={folders[0]}",
        f"--config.target={tmp_path / 'plain'}",
        *("--config.source_layout=esd", "--config.target_layout=esd"),
        *("--workdir", tmp_path / "run", "--data-dir", tmp_path),
    ]
    message = fail(capsys, "train", "--config", "base", *options)
    assert (
        "plain: no file is named as in ESD" in message and "--config.target_layout=plain" in message
    )
    message = fail(capsys, "evaluate", tmp_path, "--layout", "esd")
    assert "--layout: tells how names in the folder of --target are read" in message


@pytest.mark.parametrize("form", ["py", "json", "override"])
def test_layout_of_an_earlier_config_holds_for_both(tmp_path, form):
    path, overrides = tmp_path / f"config.{form}", []
    if form == "py":
        path.write_text(
            "from jdann.configuration import base_config\n\ndef get_config():\n"
            "    config = base_config()\n    config.layout = 'plain'\n    return config\n"
        )
    elif form == "json":
        path.write_text(json.dumps({"source": "a", "layout": "plain"}))
    else:
        path, overrides = "base", [("layout", "plain")]
    config = load_config(str(path), overrides)
    assert config.source_layout == config.target_layout == "plain" and "layout" not in config


@pytest.mark.parametrize("domain", ["source", "target"])
def test_a_model_of_an_earlier_version_keeps_its_layout(domain):
    assert naming_of({"layout": "esd"}, domain).layout == "esd"
    assert naming_of({}, domain).layout == "auto"
