"""Buffers of ONNX Runtime that are bound once: the same outputs, in the same arrays, and only where that can be."""

from __future__ import annotations

import numpy as np
import pytest

from .tiny import tiny_onnx, tiny_spec

pytest.importorskip("onnxruntime")


@pytest.fixture
def backend():
    from edgecompile.runtime.backends.onnxruntime import Backend

    return Backend({"model.onnx": tiny_onnx()}, tiny_spec(), 1, {})


def pictures(backend, count: int) -> list[np.ndarray]:
    entry = backend._session.get_inputs()[0]
    kind = np.float32 if "float" in entry.type else np.uint8
    generator = np.random.default_rng(5)
    return [(generator.random(entry.shape) * 255).astype(kind) for _ in range(count)]


def test_outputs_equal_those_of_a_plain_run_and_stay_where_they_are(backend):
    assert backend.bound_bytes == sum(output.nbytes for output in backend.infer(pictures(backend, 1)[0]))
    places = set()
    for picture in pictures(backend, 3):
        expected = backend._run(picture, {})
        found = backend.infer(picture)
        assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))
        places.add(tuple(output.ctypes.data for output in found))
    assert len(places) == 1


def test_a_picture_that_is_overwritten_is_read_anew(backend):
    picture, other = pictures(backend, 2)
    first = [output.copy() for output in backend.infer(picture)]
    picture[...] = other
    assert any(not np.array_equal(one, two) for one, two in zip(first, backend.infer(picture), strict=True))


def test_a_picture_in_another_order_of_memory_is_read_right(backend):
    (picture,) = pictures(backend, 1)
    expected = backend._run(picture, {})
    found = backend.infer(np.asfortranarray(picture))
    assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))


def test_outputs_of_unknown_shape_are_left_to_the_library(backend):
    import onnx

    from edgecompile.runtime.backends.onnxruntime import Backend

    model = onnx.load_from_string(tiny_onnx())
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "some"
    open_batch = Backend({"model.onnx": model.SerializeToString()}, tiny_spec(), 1, {})
    assert open_batch.bound_bytes == 0
    (picture,) = pictures(backend, 1)
    found, expected = open_batch.infer(picture), backend.infer(picture)
    assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))
