"""The examples in deploy/ for schedulers: their fields exist, and their commands can be typed."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

from jdann.arguments.parser import make_parser
from tests.support.documented import ROOT, understood

DEPLOY = ROOT / "deploy"
KUBERNETES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
SKYPILOT = DEPLOY / "skypilot" / "train.yaml"
SLURM = sorted((DEPLOY / "slurm").glob("*.sbatch"))
VARIABLES = {  # what each scheduler sets in the second of two processes
    "JOB_COMPLETION_INDEX": "1",
    "SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2",
    "SKYPILOT_NODE_RANK": "1",
    "SKYPILOT_NUM_NODES": "2",
    "SLURM_ARRAY_TASK_ID": "2",
    "SLURM_ARRAY_TASK_COUNT": "64",
}
NAME, COUNT = {"type": "string", "pattern": "^[a-z0-9][a-z0-9.-]*$"}, {"type": "integer"}


def only(**fields):
    """The schema of a mapping with exactly these fields."""
    return {
        "type": "object",
        "properties": fields,
        "required": list(fields),
        "additionalProperties": False,
    }


def list_of(item):
    return {"type": "array", "items": item, "minItems": 1}


CONTAINER = only(
    name=NAME,
    image={"type": "string"},
    command={"const": ["sh", "-euc"]},
    args={"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 1},
    resources=only(limits=only(**{"nvidia.com/gpu": COUNT, "memory": {"type": "string"}})),
    volumeMounts=list_of(only(name=NAME, mountPath={"type": "string", "pattern": "^/"})),
)
CONTAINER["properties"]["ports"] = list_of(only(containerPort=COUNT))
JOB = only(
    completionMode={"const": "Indexed"},
    completions=COUNT,
    parallelism=COUNT,
    backoffLimit=COUNT,
    template=only(
        spec=only(
            restartPolicy={"const": "Never"},
            terminationGracePeriodSeconds=COUNT,
            containers=list_of(CONTAINER),
            volumes=list_of(only(name=NAME, persistentVolumeClaim=only(claimName=NAME))),
        )
    ),
)
JOB["properties"]["podReplacementPolicy"] = {"enum": ["Failed", "TerminatingOrFailed"]}
SCHEMAS = {
    "Job": only(apiVersion={"const": "batch/v1"}, kind={}, metadata=only(name=NAME), spec=JOB),
    "JobSet": only(
        apiVersion={"const": "jobset.x-k8s.io/v1alpha2"},
        kind={},
        metadata=only(name=NAME),
        spec=only(
            network=only(enableDNSHostnames={"const": True}, subdomain=NAME),
            failurePolicy=only(maxRestarts=COUNT),
            replicatedJobs=list_of(only(name=NAME, replicas=COUNT, template=only(spec=JOB))),
        ),
    ),
}
SKYPILOT_SCHEMA = only(
    name=NAME,
    num_nodes=COUNT,
    resources=only(infra={"type": "string"}, accelerators={"type": "string"}),
    volumes={"type": "object"},
    setup={"type": "string"},
    run={"type": "string"},
)


def read(path: Path) -> dict:
    return yaml.safe_load(path.read_text())


def job_of(path: Path) -> dict:
    """The Job of a file; that of a JobSet stands inside it."""
    spec = read(path)["spec"]
    return spec["replicatedJobs"][0]["template"]["spec"] if "replicatedJobs" in spec else spec


def script(path: Path) -> str:
    """The shell script that a file holds."""
    if path in KUBERNETES:
        return job_of(path)["template"]["spec"]["containers"][0]["args"][0]
    return read(path)["run"] if path == SKYPILOT else path.read_text()


def commands(path: Path, folder: Path) -> list[list[str]]:
    """The words of each jdann command, as a shell hands them over."""
    programs, log = folder / "bin", folder / "words"
    programs.mkdir()
    for name, body in {
        "jdann": f'for word in "$@"; do printf "%s\\n" "$word"; done >> {log}; echo >> {log}',
        "srun": 'exec "$@"',
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (programs / name).chmod(0o755)
    environment = VARIABLES | {"PATH": f"{programs}:{os.environ['PATH']}"}
    subprocess.run(["sh", "-euc", script(path)], env=environment, check=True)
    return [words.split("\n") for words in log.read_text().strip("\n").split("\n\n")]


FILES = [*KUBERNETES, *SLURM, SKYPILOT]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_commands_can_be_typed(path, tmp_path, monkeypatch):
    (words,) = commands(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    understood(words, monkeypatch)


@pytest.mark.parametrize("path", [*KUBERNETES, SKYPILOT], ids=lambda path: path.name)
def test_fields_are_those_of_the_scheduler(path):
    content = read(path)
    schema = SKYPILOT_SCHEMA if path == SKYPILOT else SCHEMAS[content["kind"]]
    jsonschema.validate(content, schema)


def test_the_pods_of_a_training_are_those_that_the_command_expects(tmp_path):
    path = DEPLOY / "kubernetes" / "jobset.yaml"
    content, job = read(path), job_of(path)
    (words,) = commands(path, tmp_path)
    arguments = make_parser().parse_known_args(words)[0]
    assert arguments.processes == job["completions"] == job["parallelism"]
    host, _, port = arguments.coordinator.partition(":")
    name, replicated = content["metadata"]["name"], content["spec"]["replicatedJobs"][0]["name"]
    assert host == f"{name}-{replicated}-0-0.{content['spec']['network']['subdomain']}"
    container = job["template"]["spec"]["containers"][0]
    assert int(port) == container["ports"][0]["containerPort"]


@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.name)
def test_what_is_written_lies_in_the_shared_volume(path, tmp_path):
    (words,) = commands(path, tmp_path)
    arguments = make_parser().parse_known_args(words)[0]
    spec = job_of(path)["template"]["spec"]
    mount = spec["containers"][0]["volumeMounts"][0]
    assert mount["name"] == spec["volumes"][0]["name"]
    for place in (arguments.workdir, arguments.data_dir):
        assert place.is_relative_to(mount["mountPath"])


def test_workers_of_a_tuning_have_directories_of_their_own(tmp_path, monkeypatch):
    workdirs = set()
    for index in "01":
        monkeypatch.setitem(VARIABLES, "JOB_COMPLETION_INDEX", index)
        (tmp_path / index).mkdir()
        (words,) = commands(DEPLOY / "kubernetes" / "tune.yaml", tmp_path / index)
        workdirs.add(make_parser().parse_known_args(words)[0].workdir)
    assert len(workdirs) == 2


@pytest.mark.parametrize("path", SLURM, ids=lambda path: path.name)
def test_options_of_sbatch_come_before_the_first_command(path):
    lines = path.read_text().splitlines()
    assert lines[0] == "#!/bin/bash"
    options = [i for i, line in enumerate(lines) if line.startswith("#SBATCH")]
    first = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    assert options and max(options) < first  # Slurm ignores later ones without a word
    names = [shlex.split(lines[i])[1].partition("=")[0] for i in options]
    assert {"--time", "--output", "--requeue"} <= set(names)
    assert all(re.fullmatch(r"--[a-z-]+", name) for name in names)
