"""The weights in an ONNX file, in float32 also where the file stores them in 8 bits.

An ONNX file is one message of Protocol Buffers. We read the few fields that weights need, and skip
all others. Nothing is run, and no other file is opened. The `onnx` package would read the same
fields; it would be one more dependency, with code of its own for all the fields that we leave out.
The numbers of fields and types are those of onnx.proto (https://github.com/onnx/onnx).
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from jdann.errors import InputError

_GRAPH = 7  # field of a model
_NODE, _INITIALISER = 1, 5  # fields of a graph
_INPUT, _OUTPUT, _OPERATION, _ATTRIBUTE = 1, 2, 4, 5  # fields of a node
_ATTRIBUTE_NAME, _ATTRIBUTE_INTEGER = 1, 3
_DIMENSIONS, _TYPE, _FLOATS, _INTEGERS, _NAME, _BYTES = 1, 2, 4, 5, 8, 9  # fields of a tensor
_TYPES = {1: "<f4", 2: "u1", 3: "i1", 6: "<i4", 7: "<i8"}  # all others are refused
_VARINT, _EIGHT_BYTES, _SIZED, _FOUR_BYTES = 0, 1, 2, 5  # how the value of a field is stored


class Node(NamedTuple):
    """An operation of the graph."""

    operation: str
    inputs: tuple[str, ...]
    output: str  # its first
    axis: int


class Graph(NamedTuple):
    """What an ONNX file says about its weights."""

    tensors: dict[str, np.ndarray]  # as they are stored
    nodes: list[Node]


def read_graph(data: bytes) -> Graph:
    """Reads the tensors and the operations of an ONNX file.

    Args:
      data: the whole file. The caller has checked its digest.

    Raises:
      InputError: it is not such a file, or a tensor has a type that is not allowed.
    """
    try:
        fields = list(_fields(_only(memoryview(data), _GRAPH)))
        tensors = dict(_read_tensor(value) for field, value in fields if field == _INITIALISER)
        return Graph(tensors, [_read_node(value) for field, value in fields if field == _NODE])
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise InputError(f"this is not an ONNX file with weights ({error})") from None


def dequantised(graph: Graph) -> dict[str, np.ndarray]:
    """The float tensors of the graph, and those that its nodes make from integers.

    A stored integer q stands for (q - zero point) * scale. A scale belongs to the whole tensor, or
    to one index of an axis.
    """
    floats = {name: x for name, x in graph.tensors.items() if x.dtype == np.float32}
    for node in graph.nodes:
        if node.operation == "DequantizeLinear" and set(node.inputs) <= graph.tensors.keys():
            stored, scale, zero = (graph.tensors[name] for name in node.inputs)
            shape = [1] * stored.ndim
            if scale.size > 1:
                shape[node.axis] = -1
            steps = stored.astype(np.float32) - zero.reshape(shape).astype(np.float32)
            floats[node.output] = steps * scale.reshape(shape)
    return floats


def _read_tensor(message: memoryview) -> tuple[str, np.ndarray]:
    """The name and the values of a tensor."""
    shape, values, name = [], b"", ""
    dtype = np.dtype(_TYPES[_only(message, _TYPE)])
    for field, value in _fields(message):
        if field == _DIMENSIONS:
            shape += [value] if isinstance(value, int) else list(_varints(value))
        elif field == _NAME:
            name = str(value, "utf-8")
        elif field in (_BYTES, _FLOATS):
            values = value
        elif field == _INTEGERS:
            values = np.array(list(_varints(value)), np.uint64).astype(dtype)
    return name, np.frombuffer(values, dtype).reshape(shape)


def _read_node(message: memoryview) -> Node:
    fields = list(_fields(message))
    inputs, outputs, operation = (
        [str(value, "utf-8") for field, value in fields if field == wanted]
        for wanted in (_INPUT, _OUTPUT, _OPERATION)
    )
    axis = 1  # ONNX's default
    for field, value in fields:
        if field == _ATTRIBUTE and bytes(_only(value, _ATTRIBUTE_NAME)) == b"axis":
            axis = _signed(_only(value, _ATTRIBUTE_INTEGER))
    return Node(operation[0], tuple(inputs), outputs[0], axis)


def _only(message: memoryview, wanted: int) -> Any:
    """The value of a field that a message has once."""
    (value,) = (value for field, value in _fields(message) if field == wanted)
    return value


def _fields(message: memoryview) -> Iterator[tuple[int, Any]]:
    """The fields of a message: number, and an integer or the bytes of the value."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        if key % 8 == _VARINT:
            value, position = _varint(message, position)
            yield key >> 3, value
            continue
        if key % 8 == _SIZED:
            size, position = _varint(message, position)
        else:
            size = {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}[key % 8]
        if position + size > len(message):
            raise ValueError("it ends too early")
        yield key >> 3, message[position : position + size]
        position += size


def _varints(values: memoryview) -> Iterator[int]:
    position = 0
    while position < len(values):
        value, position = _varint(values, position)
        yield value


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """An integer in base 128, lowest digits first; and the position after it."""
    value = shift = 0
    while True:
        byte = message[position]
        value |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return value, position
        if shift > 63:
            raise ValueError("an integer is too long")


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value
