"""Writes small ONNX files, by the numbers of fields in onnx.proto."""

from collections.abc import Iterable

import numpy as np

KINDS = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7}


def model(*parts: bytes) -> bytes:
    """A file whose graph has these tensors and nodes."""
    return field(1, 10) + field(7, b"".join(parts))  # version of the format, graph


def tensor(
    name: str,
    values: np.ndarray | np.generic,
    *,
    field: int = 9,
    content: bytes | None = None,
    kind: int | None = None,
) -> bytes:
    """A stored tensor; its values stand in the field of raw bytes, or as `content` in another."""
    dimensions = b"".join(_field(1, size) for size in values.shape)
    described = _field(2, kind or KINDS[values.dtype.name]) + _field(8, name.encode())
    stored = _field(field, values.tobytes() if content is None else content)
    return _field(5, dimensions + described + stored)


def node(operation: str, inputs: Iterable[str], output: str, axis: int | None = None) -> bytes:
    message = b"".join(_field(1, name.encode()) for name in inputs)
    message += _field(2, output.encode()) + _field(4, operation.encode())
    if axis is not None:
        message += _field(5, _field(1, b"axis") + _field(3, axis))
    return _field(1, message)


def packed(values: Iterable[int]) -> bytes:
    return b"".join(map(_varint, values))


def field(number: int, value: int | bytes) -> bytes:
    """A field of a message, whose value is an integer or of a stated size."""
    if isinstance(value, int):
        return _varint(8 * number) + _varint(value)
    return _varint(8 * number + 2) + _varint(len(value)) + value


_field = field  # `tensor` has an argument of this name


def _varint(value: int) -> bytes:
    """In base 128, lowest digits first; a negative number as its complement of two."""
    value %= 2**64
    digits = []
    while True:
        digits.append(value % 128 + 128 * (value > 127))
        value //= 128
        if not value:
            return bytes(digits)
