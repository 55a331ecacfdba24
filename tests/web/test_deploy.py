"""The Dockerfile and the systemd unit in deploy/: their commands, options and paths exist."""

import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason='needs pip install -e ".[serve]"')

from jdann.arguments.parser import make_parser
from jdann.web.limits import Limits
from tests.support.serving import running

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
UNIT = ROOT / "deploy" / "jdann.service"
TOKEN = "a-token-for-a-test"


def instructions() -> list[tuple[str, str]]:
    """Name and arguments of each instruction of the Dockerfile."""
    text = DOCKERFILE.read_text("utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines)]


def only(name: str) -> str:
    """The arguments of the only instruction with this name."""
    (arguments,) = [rest for n, rest in instructions() if n == name]
    return arguments


def image_environment() -> dict[str, str]:
    return dict(word.split("=", 1) for word in shlex.split(only("ENV")))


def unit() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(
        delimiters="=", comment_prefixes="#", interpolation=None, strict=True
    )
    parser.optionxform = str  # pyright: ignore[reportAttributeAccessIssue]
    parser.read(UNIT)
    return parser["Service"]


def health_check(port: int) -> int:
    """Runs the health check of the image against a port."""
    words = json.loads(only("HEALTHCHECK").partition(" CMD ")[2])
    assert words[:2] == ["python", "-c"]
    script = words[2].replace("8000", str(port))
    environment = {**os.environ, "http_proxy": "http://127.0.0.1:1"}
    return subprocess.run(
        [sys.executable, "-c", script], env=environment, stderr=subprocess.DEVNULL, check=False
    ).returncode


def test_the_image_starts_the_server_on_its_port():
    words = json.loads(only("ENTRYPOINT")) + json.loads(only("CMD"))
    arguments = make_parser().parse_args(words[1:])
    assert words[0] == "jdann" and arguments.command == "serve"
    assert (str(arguments.model), arguments.host) == ("/model", "0.0.0.0")
    assert str(arguments.port) == only("EXPOSE")


def test_the_image_is_built_from_files_that_exist_and_holds_no_model():
    assert only("FROM") == "python:3.12-slim"
    copied = [shlex.split(rest)[:-1] for name, rest in instructions() if name == "COPY"]
    names = [name for group in copied for name in group]
    assert sorted(names) == ["LICENSE", "README.md", "configs", "jdann", "pyproject.toml"]
    assert all((ROOT / name).exists() for name in names)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (extra,) = re.findall(r"/source\[(\w+)\]", str(instructions()))
    assert extra in project["optional-dependencies"]
    assert "://" not in DOCKERFILE.read_text().replace("http://127.0.0.1", "")


def test_the_image_runs_as_nobody_and_writes_to_one_folder():
    assert only("USER") == "65534:65534"
    places = [v for k, v in image_environment().items() if k != "PYTHONDONTWRITEBYTECODE"]
    assert all(Path(place).is_relative_to(only("VOLUME")) for place in places)
    last_rights = max(i for i, (name, _) in enumerate(instructions()) if name == "RUN")
    assert [name for name, _ in instructions()].index("USER") > last_rights


def test_the_health_check_asks_the_server(server):
    assert health_check(server.port) == 0
    with running(server.recogniser, server.workdir, Limits()) as stopped:
        pass
    assert health_check(stopped.port) != 0


def test_the_unit_starts_the_server(tmp_path):
    words = shlex.split(unit()["ExecStart"])
    arguments = make_parser().parse_args(words[1:])
    assert words[0].endswith("/bin/jdann") and arguments.command == "serve"
    assert arguments.host == "127.0.0.1" and arguments.token_file.name == "token"
    assert unit()["LoadCredential"].startswith("token:/etc/")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_systemd_accepts_the_unit(tmp_path):
    copy = tmp_path / "jdann.service"
    program = unit()["ExecStart"].split()[0]
    copy.write_text(UNIT.read_text().replace(program, sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "jdann.service" not in done.stderr, done.stderr
