"""Tensors of ONNX files: those that the format can store, integers as floats, damaged files."""

import numpy as np
import pytest

from jdann.errors import InputError
from jdann.pretrained.onnx_weights import dequantised, read_graph
from tests.support.onnx_files import model, node, packed, tensor


def test_tensors_are_read_however_they_are_stored():
    values = np.arange(-3, 3, dtype=np.float32).reshape(2, 3)
    data = model(
        tensor("raw", values),
        tensor("bytes", np.arange(6, dtype=np.uint8)),
        tensor("integers", np.int8(-5), field=5, content=packed([-5])),
        tensor("floats", np.float32(0.5), field=4, content=np.float32(0.5).tobytes()),
    )
    tensors = read_graph(data).tensors
    np.testing.assert_array_equal(tensors["raw"], values)
    np.testing.assert_array_equal(tensors["bytes"], np.arange(6))
    assert (tensors["integers"].shape, tensors["integers"].item()) == ((), -5)
    assert tensors["floats"].item() == 0.5


def test_integers_stand_for_floats():
    """The formula of ONNX's DequantizeLinear; a scale for all values, or for each index."""
    stored = np.array([[1, 2, 3], [-4, 5, -128]], np.int8)
    scales, zeros = np.float32([0.5, 2.0]), np.int8([0, 10])
    columns, no_zeros = np.float32([1.0, 10.0, 100.0]), np.int8([0, 0, 0])
    graph = read_graph(
        model(
            tensor("stored", stored),
            tensor("scales", scales),
            tensor("zeros", zeros),
            tensor("columns", columns),
            tensor("no_zeros", no_zeros),
            tensor("scale", np.float32(0.25)),
            tensor("zero", np.int8(1)),
            node("DequantizeLinear", ("stored", "scales", "zeros"), "by row", axis=0),
            node("DequantizeLinear", ("stored", "columns", "no_zeros"), "by column", axis=-1),
            node("DequantizeLinear", ("stored", "scale", "zero"), "whole"),
            node("DequantizeLinear", ("input", "scale", "zero"), "not a weight"),
        )
    )
    floats = dequantised(graph)
    np.testing.assert_array_equal(floats["by row"], [[0.5, 1.0, 1.5], [-28.0, -10.0, -276.0]])
    np.testing.assert_array_equal(floats["by column"], stored * columns[None])
    np.testing.assert_array_equal(floats["whole"], (stored.astype(np.float32) - 1) / 4)
    assert "not a weight" not in floats and "stored" not in floats


def test_other_types_are_refused():
    text = tensor("text", np.float32(0), kind=8)  # strings
    with pytest.raises(InputError, match="not an ONNX file with weights"):
        read_graph(model(text))


def test_damaged_files_are_refused():
    data = model(tensor("x", np.arange(100, dtype=np.float32)), node("Add", ("x", "y"), "z"))
    rng = np.random.default_rng(0)
    for end in range(0, len(data), 7):
        with pytest.raises(InputError, match="not an ONNX file"):
            read_graph(data[:end])
    for _ in range(200):
        damaged = bytearray(data)
        for position in rng.integers(0, 40, 3):
            damaged[position] = rng.integers(256)
        try:
            read_graph(bytes(damaged))
        except InputError:
            continue
