"""How trainings and batches are divided over devices."""

import pytest

from jdann.cluster.mesh import mesh_shape
from jdann.errors import InputError


@pytest.mark.parametrize(
    "processes, devices, members, batch_size, expected",
    [
        (1, 1, 3, 32, (1, 1)),
        (1, 8, 3, 32, (1, 8)),  # three trainings cannot be divided over eight devices
        (1, 8, 40, 32, (8, 1)),
        (2, 1, 3, 32, (1, 2)),
        (2, 1, 4, 32, (2, 1)),
        (2, 4, 6, 32, (2, 4)),
        (1, 8, 3, 36, (3, 2)),  # two devices stay idle
        (1, 3, 1, 32, (1, 2)),  # one device stays idle
        (3, 2, 1, 6, (1, 6)),
    ],
)
def test_every_device_has_equal_work(processes, devices, members, batch_size, expected):
    assert mesh_shape(processes, devices, members, batch_size) == expected


def test_processes_without_equal_work_are_refused():
    with pytest.raises(InputError, match="so that 3 divides it"):
        mesh_shape(3, 4, 2, 32)
