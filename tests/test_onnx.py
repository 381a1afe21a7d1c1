"""The messages of onnx without its package, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from inspector.graph import attributes
from inspector.graph.element_types import find_numpy_type

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "models" / "efficientnet-lite0.onnx"
ALONE = "import sys\nfrom inspector import onnx as parts\nparts.load_parts_alone()\n"


@pytest.fixture
def run_alone() -> Callable[..., str]:
    """What a new interpreter prints."""

    def run(code: str) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_parts_alone_are_those_of_the_package(run_alone: Callable[..., str]) -> None:
    """What was made before the package came is of its classes, and its own functions take it."""
    code = f"""{ALONE}
proto = parts.ModelProto.FromString(open({str(MODEL)!r}, "rb").read())
inferred = parts.run_shape_inference(proto)
schema = parts.get_schema("Conv", 13)
assert "onnx" not in sys.modules
assert parts.helper.make_node is not None
import onnx
assert isinstance(proto, onnx.ModelProto) and onnx.onnx_ml_pb2.ModelProto is parts.ModelProto
assert onnx.onnx_cpp2py_export.ONNX_ML
assert inferred == onnx.shape_inference.infer_shapes(proto, data_prop=True)
assert parts.run_shape_inference(proto) == inferred
there = onnx.defs.get_schema("Conv", 13, "")
assert (schema.name, schema.since_version, schema.min_input) == (there.name, there.since_version, there.min_input)
onnx.checker.check_model(proto)
try: parts.nothing
except AttributeError as error: print(error)
"""
    assert run_alone(code) == "module 'onnx' has no attribute 'nothing'\n"


def test_threads_that_ask_at_once_get_one_package(run_alone: Callable[..., str]) -> None:
    code = f"""{ALONE}
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
start = Barrier(8)
def ask(number):
    start.wait()
    if number == 7:
        import onnx
    assert parts.get_schema("Conv", 13).min_input == 2
    assert parts.run_shape_inference(parts.ModelProto(ir_version=8)).ir_version == 8
    return (parts.helper, parts.numpy_helper, parts.checker)[number % 3], parts.TensorProto
with ThreadPoolExecutor(8) as pool: found = list(pool.map(ask, range(8)))
import onnx
for number, (module, message) in enumerate(found):
    assert module is (onnx.helper, onnx.numpy_helper, onnx.checker)[number % 3] and message is onnx.TensorProto
"""
    run_alone(code)


def test_functions_that_look_different_are_asked_of_the_package(run_alone: Callable[..., str]) -> None:
    """What is asked without the package is no promise of onnx's, and its errors are waited for elsewhere."""
    code = f"""{ALONE}
from types import SimpleNamespace
from inspector.graph.check import _signature
from inspector.graph.shapes import infer_types
proto = parts.ModelProto.FromString(open({str(MODEL)!r}, "rb").read())
def refuse(*given): raise TypeError("incompatible function arguments")
there = parts._load_part
other = SimpleNamespace(shape_inference=SimpleNamespace(infer_shapes=refuse), defs=SimpleNamespace(get_schema=refuse))
parts._load_part = lambda name: other if name == parts._COMPILED else there(name)
print(len(infer_types(proto)) > 100, _signature("Conv", 13)[0])
"""
    assert run_alone(code) == "True 2\n"


def test_in_other_programs_the_package_is_the_package(run_alone: Callable[..., str]) -> None:
    code = "import inspector.graph, sys; assert sys.modules['onnx'].onnx_ml_pb2 is sys.modules['onnx.onnx_ml_pb2']"
    run_alone(code)


def test_attributes_are_those_of_the_package() -> None:
    tensor = helper.make_tensor("t", onnx.TensorProto.FLOAT, [1], [2.5])
    sparse = onnx.SparseTensorProto(values=tensor, dims=[1])
    graph = helper.make_graph([], "g", [], [])
    kind = helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, [1])
    given: dict[str, Any] = {
        "f": 0.5, "i": 3, "s": "ä", "t": tensor, "sparse": sparse, "g": graph, "tp": kind,
        "floats": [0.5, 1.5], "ints": [1, 2], "strings": ["a", "ö"], "tensors": [tensor],
        "sparses": [sparse], "graphs": [graph], "tps": [kind],
    }  # fmt: skip
    node = helper.make_node("Any", [], [], **given)
    node.attribute.add(name="of its function", ref_attr_name="x", type=onnx.AttributeProto.INT)
    node.attribute.add(name="of no type")
    assert {a.type for a in node.attribute} == set(onnx.AttributeProto.AttributeType.values())
    assert attributes(node) == {**given, "of its function": None, "of no type": None}


def test_element_types_are_those_of_the_package() -> None:
    for kind in onnx.TensorProto.DataType.values():
        expected = None if kind == 0 else np.dtype(helper.tensor_dtype_to_np_dtype(kind))
        assert find_numpy_type(kind) == expected, kind
    assert find_numpy_type(12345) is None
