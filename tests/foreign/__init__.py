"""Small ONNX graphs as other people's converters write them, and the builder that makes any small graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Size = int | str | None
FLOAT, UINT8, INT8, INT64, FLOAT16 = 1, 2, 3, 7, 10


class Net:
    """A graph under construction. Every call adds one node and gives the name of its first output.

    >>> net = Net()
    >>> x = net.input("x", (1, 3, 8, 8))
    >>> y = net("Relu", net.conv(x, 3, 4, 3, pads=1))
    >>> model = net.model(y)
    """

    def __init__(self, seed: int = 0, opset: int = 17, ir: int = 8, producer: str = "", **domains: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.opset, self.ir, self.producer = opset, ir, producer
        self.domains = {key.replace("_", "."): value for key, value in domains.items()}
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.inputs: list[Any] = []
        self.infos: list[Any] = []
        self.count = 0

    def input(self, name: str, shape: Sequence[Size] | None, dtype: int = FLOAT) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def const(self, value: Any, name: str = "", dtype: Any = None) -> str:
        """An initializer."""
        name = name or self._fresh("onnx::const_")
        array = np.asarray(value, dtype) if dtype is not None else np.asarray(value)
        array = array.astype(np.float32) if array.dtype == np.float64 and dtype is None else array
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name))
        return name

    def weight(self, shape: Sequence[int], name: str = "", dtype: Any = np.float32) -> str:
        """A random initializer that keeps the scale of what goes through it."""
        fan = int(np.prod(shape[1:])) or 1
        return self.const((self.rng.standard_normal(shape) / np.sqrt(fan)).astype(dtype), name)

    def node_const(self, value: Any, name: str = "", node: str = "") -> str:
        """A Constant node."""
        name = name or self._fresh("k")
        array = np.asarray(value)
        array = array.astype(np.float32) if array.dtype == np.float64 else array
        self.nodes.append(helper.make_node("Constant", [], [name], name=node, value=numpy_helper.from_array(array)))
        return name

    def __call__(
        self, op: str, *inputs: str, out: str | Sequence[str] = "", name: str = "", domain: str = "", **attributes: Any
    ) -> str:
        outputs = [out] if isinstance(out, str) else list(out)
        outputs = [o or self._fresh(op.lower()) for o in outputs]
        self.nodes.append(helper.make_node(op, list(inputs), outputs, name=name, domain=domain, **attributes))
        return outputs[0]

    def conv(
        self,
        x: str,
        cin: int,
        cout: int,
        k: int = 3,
        *,
        bias: str | bool = True,
        group: int = 1,
        stride: int = 1,
        pads: int | None = None,
        w: str = "",
        **more: Any,
    ) -> str:
        weight = self.weight((cout, cin // group, k, k), w)
        given = [x, weight]
        if bias:
            given.append(self.const(self.rng.standard_normal(cout) * 0.1, bias if isinstance(bias, str) else ""))
        pads = k // 2 if pads is None else pads
        return self("Conv", *given, kernel_shape=[k, k], strides=[stride] * 2, pads=[pads] * 4, group=group, **more)

    def bn(self, x: str, channels: int, names: Sequence[str] = ("", "", "", ""), **more: Any) -> str:
        rng = self.rng
        values = (rng.uniform(0.5, 1.5, channels), rng.standard_normal(channels) * 0.1)
        values += (rng.standard_normal(channels) * 0.1, rng.uniform(0.5, 1.5, channels))
        given = [self.const(v, n) for v, n in zip(values, names, strict=True)]
        return self("BatchNormalization", x, *given, **more)

    def model(
        self,
        *outputs: str,
        shapes: dict[str, Sequence[Size]] | None = None,
        dtype: int = FLOAT,
        functions: Sequence[Any] = (),
        weights_as_inputs: bool = False,
    ) -> onnx.ModelProto:
        shapes = shapes or {}
        made = [helper.make_tensor_value_info(name, dtype, shapes.get(name)) for name in outputs]
        inputs = list(self.inputs)
        if weights_as_inputs:
            inputs += [helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in self.initializers]
        graph = helper.make_graph(
            self.nodes, "graph", inputs, made, initializer=self.initializers, value_info=self.infos
        )
        opsets = [helper.make_opsetid("", self.opset), *(helper.make_opsetid(d, v) for d, v in self.domains.items())]
        return helper.make_model(
            graph, opset_imports=opsets, ir_version=self.ir, producer_name=self.producer, functions=list(functions)
        )

    def _fresh(self, stem: str) -> str:
        self.count += 1
        return f"{stem}{self.count}"


def pixels(model: onnx.ModelProto, size: int = 16, seed: int = 0) -> NDArray[Any]:
    """A random input for the first input of a model; open sizes become `size`, an open batch 1."""
    value = model.graph.input[0]
    shape = [d.dim_value if d.dim_value > 0 else (1 if i == 0 else size) for i, d in
             enumerate(value.type.tensor_type.shape.dim)]  # fmt: skip
    dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    rng = np.random.default_rng(seed)
    if dtype.kind == "u":
        return rng.integers(0, 256, shape).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)
