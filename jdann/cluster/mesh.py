"""Devices as a grid: one axis for the members of a training, one for the utterances of a batch.

All devices of all processes run the same program, as JAX calls it: a step is a function of the
whole batch, and XLA divides the work. So a mean over a batch is that over the whole batch, and
models and methods know nothing of devices. With one device all functions here change nothing.
"""

import logging
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jdann.errors import InputError

log = logging.getLogger("jdann")
MEMBERS, DATA = "members", "data"  # the axes
WHOLE = PartitionSpec()  # each device has all of an array
BY_MEMBER = PartitionSpec(MEMBERS)  # the leading axis is that of members
BY_UTTERANCE = PartitionSpec(MEMBERS, DATA)  # the leading axes are members and utterances


def make_mesh(members: int, batch_size: int) -> Mesh:
    """Lays members and batches over the devices of all processes.

    Every device trains as many members and as many utterances of each batch as any other. So not
    all devices of a machine can be used where the numbers do not divide. As many as possible go to
    the members, which need not wait for each other.

    Args:
      members: how many are trained.
      batch_size: utterances of each domain in a step.

    Raises:
      InputError: there are more processes than can share the work equally.
    """
    per_process: dict[int, list[Any]] = {}
    for device in jax.devices():
        per_process.setdefault(device.process_index, []).append(device)
    most = min(map(len, per_process.values()))
    shape = mesh_shape(len(per_process), most, members, batch_size)
    used = shape[0] * shape[1] // len(per_process)  # of each process
    if used < most:
        log.info(
            "%d of %d devices are used, because %d trainings and batches of %d utterances cannot "
            "be divided equally over more",
            used * len(per_process),
            len(jax.devices()),
            members,
            batch_size,
        )
    chosen = [device for devices in per_process.values() for device in devices[:used]]
    return Mesh(np.array(chosen).reshape(shape), (MEMBERS, DATA))


def mesh_shape(processes: int, devices: int, members: int, batch_size: int) -> tuple[int, int]:
    """How many parts members and batches are divided into: `make_mesh` with numbers.

    Args:
      processes: how many train together.
      devices: of each process; some may stay idle.
      members: as for `make_mesh`.
      batch_size: as for `make_mesh`.

    Raises:
      InputError: not even one device of each process can be used.
    """
    for used in range(devices, 0, -1):
        count = used * processes
        for rows in range(min(count, members), 0, -1):
            if count % rows == 0 and members % rows == 0 and batch_size % (count // rows) == 0:
                return rows, count // rows
    raise InputError(
        f"{processes} processes cannot share batches of {batch_size} utterances and {members} "
        f"trainings equally; choose --config.batch_size so that {processes} divides it"
    )


def one_device() -> Mesh:
    """A mesh of the first device of this process."""
    return Mesh(np.array(jax.local_devices()[:1]).reshape(1, 1), (MEMBERS, DATA))


def place(mesh: Mesh, tree: Any, layout: PartitionSpec = WHOLE) -> Any:
    """Puts arrays onto the devices of a mesh.

    Args:
      mesh: the devices.
      tree: arrays that all processes have alike.
      layout: which axes are divided; the same for each array.
    """
    if mesh.size == 1:
        return tree
    sharding = NamedSharding(mesh, layout)

    def place_array(x: Any) -> jax.Array:
        if layout == WHOLE:  # without a second copy on the device where it is already
            copies = [jax.device_put(x, device) for device in mesh.local_devices]
            return jax.make_array_from_single_device_arrays(np.shape(x), sharding, copies)
        values = np.asarray(x)
        return jax.make_array_from_callback(values.shape, sharding, lambda index: values[index])

    return jax.tree.map(place_array, tree)


def place_parts(
    mesh: Mesh,
    shape: tuple[int, ...],
    read: Callable[[tuple[slice, ...]], tuple[np.ndarray, ...]],
) -> tuple[jax.Array, ...]:
    """Puts arrays [members, utterances, ...] onto the devices; a process makes its own part only.

    Args:
      mesh: the devices.
      shape: (members, utterances).
      read: from slices of members and of utterances to the values of several arrays there.
    """
    if mesh.size == 1:
        return tuple(jnp.asarray(x) for x in read((slice(None), slice(None))))
    sharding = NamedSharding(mesh, BY_UTTERANCE)
    parts: dict[Any, tuple[np.ndarray, ...]] = {}  # devices of one place share what was read
    pieces = []
    for device, index in sharding.addressable_devices_indices_map(shape).items():
        assert index is not None
        name = tuple(axis.indices(size)[:2] for axis, size in zip(index, shape, strict=True))
        if name not in parts:
            parts[name] = read(index)
        pieces.append([jax.device_put(x, device) for x in parts[name]])
    return tuple(
        jax.make_array_from_single_device_arrays((*shape, *same[0].shape[2:]), sharding, list(same))
        for same in zip(*pieces, strict=True)
    )


def gather(tree: Any) -> Any:
    """Arrays of any layout as NumPy arrays, whole on every process."""
    leaves, structure = jax.tree.flatten(tree)
    if all(getattr(x, "is_fully_addressable", True) for x in leaves):
        return jax.device_get(tree)
    return jax.tree.unflatten(structure, multihost_utils.process_allgather(leaves, tiled=True))


def split_members(
    mesh: Mesh, function: Callable[..., Any], axes: Iterable[int | None]
) -> Callable[..., Any]:
    """A function of members, computed by each row of the mesh for its own ones.

    Args:
      mesh: the devices.
      function: its results have a leading axis of members.
      axes: for each argument 0, a leading axis of members, or None, shared by all.
    """
    if mesh.size == 1:
        return function
    return jax.shard_map(
        function,
        mesh=mesh,
        in_specs=tuple(WHOLE if axis is None else BY_MEMBER for axis in axes),
        out_specs=BY_MEMBER,
        axis_names={MEMBERS},
        check_vma=False,
    )


def split_batch(x: jax.Array) -> jax.Array:
    """Divides the leading axis of a batch over the devices of the program that computes it."""
    if DATA not in jax.sharding.get_abstract_mesh().axis_names:
        return x
    return jax.lax.with_sharding_constraint(x, PartitionSpec(DATA))
