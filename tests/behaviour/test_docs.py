"""README.md and docs/: commands, config keys, links and module names are correct.

`tests/behaviour/test_documented.py` runs the commands.
"""

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

from jdann.configuration import base_config, load_config
from tests.support.documented import (
    CONFIG,
    LANGUAGES,
    PAGES,
    ROOT,
    Command,
    blocks,
    check,
    expanded,
    help_text,
    imports,
    skeleton,
    spans,
    typed,
)

COMMANDS = [command for page in PAGES for command in typed(page)]


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A folder with the configs and work directories that the documentation names."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    for name in ("tune_poster/best.json", "base-sweep/best-dann-conv1d.json"):
        path = tmp_path / "runs" / name
        path.parent.mkdir(parents=True)
        path.write_text(base_config().to_json())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c.name)
def test_commands_can_be_typed(command, place, monkeypatch):
    check(command, monkeypatch)


def test_each_page_about_a_command_has_commands():
    assert len(COMMANDS) > 30
    pages = {page.name for page in PAGES if typed(page)}
    assert pages >= {
        f"{n}.md" for n in ("README", "predict", "report", "serve", "sweep", "tutorial")
    }


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
def test_a_wrong_command_is_refused(text, place, monkeypatch):
    with pytest.raises((AssertionError, SystemExit)):
        check(Command(ROOT / "README.md", 1, text), monkeypatch)


def test_each_block_names_its_language_and_hides_no_command():
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
def test_commands_and_keys_in_prose_exist(page, place, monkeypatch, capsys):
    config = base_config()
    for number, text in spans(page):
        where = f"{page.name}:{number}: {text}"
        words = text.split()
        if words[0] == "jdann" and len(words) > 1:
            help_ = help_text(words[1], capsys)
            for word in words[2:]:
                named = word.strip("[]")
                assert (
                    not named.startswith("--")
                    or CONFIG.fullmatch(named)
                    or re.search(rf"{named}\b", help_)
                ), where
            if any(not word.startswith("-") for word in words[2:]):  # not only options
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


PYTHON = [block for page in PAGES for block in blocks(page) if block.language == "python"]


@pytest.mark.parametrize("block", PYTHON, ids=lambda b: f"{b.page.name}:{b.line}")
def test_python_blocks_compile_and_their_imports_resolve(block):
    for module, name in imports(block):
        imported = importlib.import_module(module)
        if name is not None and not hasattr(imported, name):
            importlib.import_module(f"{module}.{name}")


TEXTS = sorted([*PAGES, *(ROOT / "benchmarks").glob("**/*.md")])


@pytest.mark.parametrize("page", TEXTS, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_paths_and_dotted_names_exist(page):
    text = page.read_text(encoding="utf-8")
    for path in re.findall(
        r"(?<![\w/.])(?:jdann|tests|benchmarks|configs)/[\w/]+\.(?:py|md)\b", text
    ):
        assert (ROOT / path).exists(), f"{page.name}: there is no {path}"
    for name in re.findall(r"`(jdann(?:\.\w+)+)", text):
        if not name.startswith("jdann.configs"):
            assert pkgutil.resolve_name(name) is not None


def test_all_pages_are_in_the_index():
    index = (ROOT / "docs" / "README.md").read_text()
    assert all(f"({page.name})" in index for page in PAGES if page.name != "README.md")


def test_a_skeleton_keeps_words_and_drops_values():
    assert (
        skeleton("5 rows: sad 4, angry 1")
        == skeleton("12 rows: happy 12")
        != skeleton("12 files: happy 12")
    )
    assert skeleton("a.flac  sad   0.97") == "a.flac @ #"
    assert expanded(["no/such*"]) == ["no/such*"]
