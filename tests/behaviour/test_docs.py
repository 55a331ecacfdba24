"""README.md and docs/: every command is one that can be typed, every key of the config exists, every link leads somewhere.

What runs them is `tests/behaviour/test_documented.py`.
"""

import re
from pathlib import Path

import pytest

from jdann.configuration import base_config, load_config
from tests import documented
from tests.support.documented import (
    CONFIG,
    LANGUAGES,
    PAGES,
    ROOT,
    Command,
    blocks,
    check,
    options_of,
    skeleton,
    spans,
    typed,
)

COMMANDS = [command for page in PAGES for command in typed(page)]


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A folder where configs and work directories are found as the documentation names them."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    for name in ("tune_poster/best.json", "en2zh-sweep/best-dann-conv1d.json"):
        path = tmp_path / "runs" / name
        path.parent.mkdir(parents=True)
        path.write_text(base_config().to_json())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c.name)
def test_commands_can_be_typed(command, place, monkeypatch):
    check(command, monkeypatch)


def test_there_are_commands_on_every_page_that_is_about_one():
    assert len(COMMANDS) > 30
    assert {page.name for page in PAGES if typed(page)} >= {
        "README.md", "predict.md", "report.md", "serve.md", "sweep.md", "tutorial.md"}  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "jdann predikt runs/best clip.wav",
        "jdann predict runs/best clip.wav --timelines",
        "jdann predict runs/best",
        "jdann serve runs/best --ports 9000",
        "jdann report",
        "python run.py --config configs/none.py",
        "python run.py --config configs/best.py --config.seedz=3",
        "python run.py --config configs/best.py --config.features.normalise.by=corpus",
        "jdann sweep --strength 0,1",
        "jdann evaluate runs/mine [--targets other.csv]",
        "python benchmarks/none.py",
        "python benchmarks/features.py --pitches",
        "python benchmarks/startup.py corpus.csv",
        'pip install "jdann[server]"',
        "python -m pytest tests/test_none.py",
        'python -m pytest -m "not slowly"',
        "jdan corpora",
    ],
)
def test_a_wrong_command_is_found(text, place, monkeypatch):
    with pytest.raises((AssertionError, SystemExit)):
        check(Command(ROOT / "README.md", 1, text), monkeypatch)


def test_blocks_say_what_they_are_and_none_hides():
    for page in PAGES:
        for block in blocks(page):
            assert block.language in LANGUAGES, f"{page.name}:{block.line}: {block.language}"
            if block.language not in ("bash", "console"):
                assert not re.search(r"(?m)^(\$ |jdann |python3? |pip |curl )", block.text), (
                    f"{page.name}:{block.line}: a command"
                )
        for number, line in enumerate(page.read_text().splitlines(), 1):
            assert not re.match(r" {4,}(\$ |jdann |python |pip )", line), (
                f"{page.name}:{number}: put commands in a fenced block"
            )


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_spans_of_code_name_what_exists(page, place, monkeypatch, capsys):
    config = base_config()
    for number, text in spans(page):
        where = f"{page.name}:{number}: {text}"
        words = text.split()
        if words[0] == "jdann" and len(words) > 1:
            help_ = options_of(words[1], capsys)
            for word in words[2:]:
                named = word.strip("[]")
                assert (
                    not named.startswith("--")
                    or CONFIG.fullmatch(named)
                    or re.search(rf"{named}\b", help_)
                ), where
            if any(not word.startswith("-") for word in words[2:]):  # else it names options alone
                check(Command(page, number, text), monkeypatch)
        elif words[0] in ("python", "pip"):
            check(Command(page, number, text), monkeypatch)
        elif words[0] == "--config":
            check(Command(page, number, f"jdann {text}"), monkeypatch)
        if all(CONFIG.fullmatch(word) for word in words) and "=" in text and "..." not in text:
            load_config("en2zh", [tuple(w.removeprefix("--config.").split("=", 1)) for w in words])
        for key in re.findall(r"\bconfig\.([a-z_]+(?:\.[a-z_]+)*)\b(?!\.py|\.json)", text):
            if key not in ("json", "py", "get"):
                _exists(config, key, where)
        key = words[0].partition("=")[0]
        section, _, rest = key.partition(".")
        if (
            rest not in ("", "csv", "json", "db")
            and section in config
            and hasattr(config[section], "keys")
        ):
            _exists(config, key, where)


def _exists(config, key, where):
    for part in key.split("."):
        assert part in config, f"{where}: there is no key {key}"
        config = config[part]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        assert target.startswith("https://") or (page.parent / target).exists(), (
            f"{page.name}: {target}"
        )


def test_all_pages_are_in_the_index():
    index = (ROOT / "docs" / "README.md").read_text()
    assert all(f"({page.name})" in index for page in PAGES if page.name != "README.md")


def test_skeletons_keep_words_and_drop_values():
    assert (
        skeleton("5 rows: sad 4, angry 1")
        == skeleton("12 rows: happy 12")
        != skeleton("12 files: happy 12")
    )
    assert skeleton("a.flac  sad   0.97") == "a.flac @ #"
    assert documented.expanded(["no/such*"]) == ["no/such*"]
