"""The place of a process, from flags and from what schedulers leave in the environment."""

import pytest

from jdann.cluster.places import Place, find_place
from jdann.errors import InputError

SLURM = {
    "SLURM_JOB_ID": "4097",
    "SLURM_STEP_NODELIST": "node[07-08]",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
}
MPI = {
    "OMPI_COMM_WORLD_SIZE": "3",
    "OMPI_COMM_WORLD_RANK": "2",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
}
URI = {"OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911"}
POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}


def find(monkeypatch, environment, *flags) -> Place | None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return find_place(*(flags or (None, None, None)), 1)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        POD,  # a pod that is no part of a Job with an index
        SLURM | {"SLURM_NTASKS": "1"},
        {name: value for name, value in SLURM.items() if name != "SLURM_STEP_NODELIST"},  # no srun
        MPI | URI | {"OMPI_COMM_WORLD_SIZE": "1"},
    ],
)
def test_one_process_is_alone(environment, monkeypatch):
    assert find(monkeypatch, environment) is None


def test_slurm_tells_the_place(monkeypatch):
    assert find(monkeypatch, SLURM) == Place("node07:61441", 2, 1, [0])


def test_open_mpi_tells_the_place(monkeypatch):
    place = find(monkeypatch, MPI | URI)
    assert place is not None
    assert (place.coordinator.split(":")[0], place.count, place.index) == ("10.96.0.1", 3, 2)


def test_flags_win(monkeypatch):
    flags = ("host:5000", 4, 3)
    assert find(monkeypatch, SLURM, *flags) == Place("host:5000", 4, 3)
    assert find(monkeypatch, SLURM, None, 1, None) is None
    assert find(monkeypatch, SLURM, "host:5000", None, None) == Place("host:5000", 2, 1, [0])


@pytest.mark.parametrize(
    "environment, flags, message",
    [
        ({}, ("host:5000", None, None), "--processes and --process-id: needed"),
        ({}, ("host:5000", 2, None), "--process-id: needed"),
        ({}, ("host", 2, 0), "--coordinator is 'host'"),
        ({}, (":5000", 2, 0), "expected the host and a free port"),
        ({}, ("host:500000", 2, 0), "expected the host and a free port"),
        ({}, ("host:5000", 2, 2), "--process-id is 2 of --processes 2"),
        ({}, ("host:5000", 0, 0), "--process-id is 0 of --processes 0"),
        (MPI, (None, None, None), "Open MPI started this process beside others"),
        (POD | {"JOB_COMPLETION_INDEX": "1"}, (None, None, None), "pip install kubernetes"),
    ],
)
def test_an_unclear_place_is_refused(environment, flags, message, monkeypatch):
    with pytest.raises(InputError, match=message):
        find(monkeypatch, environment, *flags)
