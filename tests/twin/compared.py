"""Single nodes that are compared with onnxruntime: forms and operators that the onnx package has no cases for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from inspector.graph import Graph, read_graph

Arrays = Mapping[str, NDArray[Any]]
MS = "com.microsoft"


@dataclass(frozen=True)
class Single:
    """A graph of one node. feeds become inputs, weights initializers; order: the node's inputs ("" for none)."""

    op: str
    feeds: Arrays
    weights: Arrays = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    opset: int = 17
    domain: str = ""
    order: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ("y",)
    types: tuple[int, ...] = ()

    def graph(self, folder: Path) -> Graph:
        """The graph, read from a file."""
        order = list(self.order or (*self.feeds, *self.weights))
        node = helper.make_node(self.op, order, self.outputs, "node", domain=self.domain, **self.attributes)
        inputs = [
            helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
            for k, v in self.feeds.items()
        ]
        kind = inputs[0].type.tensor_type.elem_type
        outputs = [
            helper.make_tensor_value_info(name, t, None)
            for name, t in zip(self.outputs, self.types or (kind,) * len(self.outputs), strict=True)
        ]
        initializers = [numpy_helper.from_array(np.asarray(v), k) for k, v in self.weights.items()]
        body = helper.make_graph([node], "single", inputs, outputs, initializers)
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid(MS, 1)]
        path = folder / "single.onnx"
        path.write_bytes(helper.make_model(body, opset_imports=opsets, ir_version=8).SerializeToString())
        return read_graph(path)


_rng = np.random.default_rng(0)


def _f(*shape: int) -> NDArray[Any]:
    return _rng.standard_normal(shape).astype(np.float32)


def _u(*shape: int) -> NDArray[Any]:
    return _rng.integers(0, 255, shape).astype(np.uint8)


def _i(*shape: int) -> NDArray[Any]:
    return _rng.integers(-127, 127, shape).astype(np.int8)


def _s(value: float) -> NDArray[Any]:
    return np.asarray(value, np.float32)


def _z(value: int, dtype: Any = np.uint8) -> NDArray[Any]:
    return np.asarray(value, dtype)


def convolutions() -> Iterator[Single]:
    for auto, stride, size in product(("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"), (1, 2, 3), (1, 2, 3)):
        pads = {"pads": [1, 0, 2, 1]} if auto == "NOTSET" else {}
        shared = {"auto_pad": auto, "strides": [stride, stride], **pads}
        weights = {"w": _f(6, 2, size, size), "b": _f(6)}
        yield Single("Conv", {"x": _f(2, 4, 13, 10)}, weights, {"group": 2, **shared})
        weights = {"w": _f(4, 3, size, size), "b": _f(3)}
        yield Single("ConvTranspose", {"x": _f(1, 4, 5, 6)}, weights, shared)
    yield Single("Conv", {"x": _f(1, 2, 9, 9)}, {"w": _f(2, 2, 3, 3)}, {"dilations": [2, 3], "pads": [2, 3, 2, 3]})
    more: dict[str, Any]
    for more in (
        {"output_shape": [10, 13]},
        {"output_padding": [1, 0], "pads": [1, 1, 0, 1]},
        {"dilations": [2, 2], "pads": [2, 2, 2, 2]},
    ):
        yield Single("ConvTranspose", {"x": _f(1, 4, 5, 6)}, {"w": _f(4, 3, 3, 3)}, {"strides": [2, 2], **more})
    for op, rank in product(("Conv", "ConvTranspose"), (1, 3)):
        x = _f(1, 4, *(7, 6, 5)[:rank])
        yield Single(op, {"x": x}, {"w": _f(4, 4, *(3,) * rank)}, {"strides": [2] * rank, "pads": [1] * 2 * rank})


def pools() -> Iterator[Single]:
    for op, auto, stride, size, ceil in product(
        ("MaxPool", "AveragePool", "LpPool"), ("NOTSET", "SAME_UPPER", "SAME_LOWER"), (1, 2), (2, 3), (0, 1)
    ):
        shared = {"auto_pad": auto, "strides": [stride, stride], "kernel_shape": [size, size], "ceil_mode": ceil}
        for pads in ([0] * 4, [1] * 4, [1, 0, 0, 1]) if auto == "NOTSET" else (None,):
            attributes = shared if pads is None else {**shared, "pads": pads}
            yield Single(op, {"x": _f(1, 2, 11, 10)}, {}, attributes, 20 if op == "LpPool" else 17)
            if op == "AveragePool":
                yield Single(op, {"x": _f(1, 2, 11, 10)}, {}, {**attributes, "count_include_pad": 1})
            if pads is not None and op != "LpPool":
                yield Single(op, {"x": _f(1, 2, 11, 10)}, {}, {**attributes, "dilations": [2, 2]}, 20)
    for major in (0, 1):
        attributes = {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 1, 0, 1], "storage_order": major}
        yield Single("MaxPool", {"x": _f(2, 3, 9, 8)}, {}, attributes, outputs=("y", "i"), types=(1, 7))
    for p in (1, 2, 3):
        yield Single("GlobalLpPool", {"x": _f(2, 3, 5, 6)}, {}, {"p": p})


def resizes() -> Iterator[Single]:
    modes = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric")
    rounds = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
    every: list[dict[str, Any]] = [
        {"mode": "nearest", "coordinate_transformation_mode": mode, "nearest_mode": nearest}
        for mode, nearest in product(modes, rounds)
    ]
    every += [
        {"mode": kind, "coordinate_transformation_mode": mode, "antialias": smooth}
        for kind, mode, smooth in product(("linear", "cubic"), modes[:4], (0, 1))
    ]
    every += [{"mode": "cubic", "exclude_outside": 1}, {"mode": "cubic", "cubic_coeff_a": -0.5}]
    for attributes in every:
        for scales in ((2, 2), (1.5, 0.75), (0.6, 1.3)):
            weights = {"s": np.array([1, 1, *scales], np.float32)}
            yield Single("Resize", {"x": _f(1, 2, 6, 8)}, weights, attributes, 19, order=("x", "", "s"))
        for sizes in ((12, 16), (7, 5), (9, 20)):
            weights = {"z": np.array([1, 2, *sizes])}
            yield Single("Resize", {"x": _f(1, 2, 6, 8)}, weights, attributes, 19, order=("x", "", "", "z"))
    for policy, sizes in product(("not_larger", "not_smaller"), ((9, 20), (5, 3))):
        attributes = {"keep_aspect_ratio_policy": policy, "axes": [2, 3], "mode": "linear"}
        yield Single("Resize", {"x": _f(1, 2, 6, 7)}, {"z": np.array(sizes)}, attributes, 19, order=("x", "", "", "z"))
    roi = np.array([0, 0, 0.2, 0.1, 1, 1, 0.9, 1.2], np.float32)
    for mode in ("nearest", "linear", "cubic"):
        attributes = {"mode": mode, "coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 9.0}
        weights = {"r": roi, "z": np.array([1, 2, 5, 9])}
        yield Single("Resize", {"x": _f(1, 2, 6, 7)}, weights, attributes, 13, order=("x", "r", "", "z"))
        weights = {"r": roi, "s": np.array([1, 1, 2, 1.5], np.float32)}
        yield Single("Resize", {"x": _f(1, 2, 6, 7)}, weights, attributes, 13, order=("x", "r", "s"))
    for mode, scales in product(("nearest", "linear"), ((2, 2), (1.5, 1.25), (3, 2))):
        weights = {"s": np.array([1, 1, *scales], np.float32)}
        yield Single("Resize", {"x": _f(1, 2, 6, 7)}, weights, {"mode": mode}, 10)
        yield Single("Upsample", {"x": _f(1, 2, 6, 7)}, weights, {"mode": mode}, 9)
        yield Single(
            "Upsample", {"x": _f(1, 2, 6, 7)}, {}, {"mode": mode, "scales": [1.0, 1.0, *map(float, scales)]}, 7
        )


def older_forms() -> Iterator[Single]:
    for op, axis in product(("Softmax", "LogSoftmax", "Hardmax"), (0, 1, -1)):
        yield Single(op, {"x": _f(2, 3, 4)}, {}, {"axis": axis}, 11)
    yield Single("Clip", {"x": _f(4, 5)}, {}, {"min": -0.5, "max": 0.5}, 7)
    yield Single("Clip", {"x": _f(4, 5)}, {}, {"min": 0.0}, 7)
    yield Single("Pad", {"x": _f(2, 3, 4, 5)}, {}, {"mode": "reflect", "pads": [0, 0, 1, 2, 0, 0, 2, 1]}, 7)
    yield Single("TopK", {"x": _f(3, 7)}, {}, {"axis": 1, "k": 2}, 9, outputs=("y", "i"), types=(1, 7))
    yield Single("Slice", {"x": _f(3, 7)}, {}, {"axes": [1], "starts": [-4], "ends": [9]}, 9)
    yield Single("Squeeze", {"x": _f(3, 1, 7)}, {}, {"axes": [1]}, 11)
    yield Single("Unsqueeze", {"x": _f(3, 7)}, {}, {"axes": [0, 3]}, 11)
    yield Single("Split", {"x": _f(3, 7)}, {}, {"axis": 1, "split": [3, 4]}, 11, outputs=("a", "b"))
    yield Single("ReduceSum", {"x": _f(3, 7)}, {}, {"axes": [1], "keepdims": 0}, 11)
    yield Single("Dropout", {"x": _f(3, 7)}, {}, {"ratio": 0.5}, 10, outputs=("y", "m"), types=(1, 9))
    weights = {"s": _f(3), "b": _f(3), "m": _f(3), "v": np.abs(_f(3))}
    yield Single("BatchNormalization", {"x": _f(2, 3, 4, 4)}, weights, {}, 9)
    for size in (1, 3, 5):
        yield Single("LRN", {"x": _f(2, 7, 4, 4)}, {}, {"size": size, "alpha": 0.3, "beta": 0.6, "bias": 1.5})
    for mode, pads in product(("reflect", "edge", "wrap"), ([0, 0, 1, 2, 0, 0, 2, 1], [1, 0, -1, 2, 0, 2, 2, 0])):
        yield Single("Pad", {"x": _f(2, 3, 4, 5)}, {"p": np.array(pads)}, {"mode": mode}, 19)


def vision() -> Iterator[Single]:
    rois = np.array([[0, 0, 8, 9], [3.2, 1.1, 30, 20], [4, 4, 4.5, 4.2]], np.float32)
    weights = {"r": rois, "b": np.array([0, 1, 1])}
    for ratio, mode, kind in product((0, 2), ("avg", "max"), ("half_pixel", "output_half_pixel")):
        attributes = {"output_height": 3, "output_width": 2, "spatial_scale": 0.5, "mode": mode}
        attributes |= {"sampling_ratio": ratio, "coordinate_transformation_mode": kind}
        yield Single("RoiAlign", {"x": _f(2, 3, 10, 12)}, weights, attributes)
    for centre in (0, 1):
        feeds = {"b": np.abs(_f(2, 30, 4)), "s": np.abs(_f(2, 3, 30))}
        limits = {"n": np.asarray(5), "i": _s(0.4), "t": _s(0.2)}
        yield Single("NonMaxSuppression", feeds, limits, {"center_point_box": centre}, types=(7,))
    attributes = {"group": 2, "offset_group": 2, "pads": [1, 1, 1, 1]}
    weights = {"w": _f(4, 2, 3, 3), "o": _f(1, 36, 6, 6), "b": _f(4), "m": _f(1, 18, 6, 6)}
    yield Single("DeformConv", {"x": _f(1, 4, 6, 6)}, weights, attributes, 19)


def fused() -> Iterator[Single]:
    """onnxruntime's own operators."""
    x, w = {"x": _f(1, 4, 8, 8)}, {"w": _f(4, 4, 3, 3), "b": _f(4)}
    for name, numbers in (
        ("Relu", []),
        ("Sigmoid", []),
        ("Tanh", []),
        ("LeakyRelu", [0.2]),
        ("Clip", [0.0, 1.0]),
        ("HardSigmoid", [0.2, 0.4]),
    ):
        more = {"activation_params": numbers} if numbers else {}
        yield Single("FusedConv", x, w, {"pads": [1] * 4, "activation": name, **more}, domain=MS)
    for op in ("Gelu", "QuickGelu"):
        yield Single(op, {"x": _f(3, 4)}, domain=MS)
    for op in ("FastGelu", "BiasGelu"):
        yield Single(op, {"x": _f(3, 4)}, {"b": _f(4)}, domain=MS)
    for a, b in product((0, 1), (0, 1)):
        attributes = {"transA": a, "transB": b, "alpha": 0.5}
        yield Single("FusedMatMul", {"x": _f(2, 4, 4)}, {"w": _f(2, 4, 4)}, attributes, domain=MS)
    yield Single("TransposeMatMul", {"x": _f(2, 4, 4)}, {"w": _f(2, 4, 4)}, {"transA": 1}, domain=MS)
    attributes = {"transB": 1, "activation": "LeakyRelu", "activation_alpha": 0.3}
    yield Single("FusedGemm", {"x": _f(2, 4)}, {"w": _f(3, 4), "b": _f(3)}, attributes, domain=MS)
    weights = {"g": _f(4), "b": _f(4), "c": _f(4)}
    yield Single("SkipLayerNormalization", {"x": _f(2, 3, 4), "s": _f(2, 3, 4)}, weights, {"epsilon": 1e-3}, domain=MS)
    yield Single("SimplifiedLayerNormalization", {"x": _f(2, 3, 4)}, {"g": _f(4)}, {"epsilon": 1e-3})
    yield Single("GridSample", {"x": _f(1, 2, 5, 6), "g": _f(1, 4, 4, 2)}, domain=MS)


def quantised() -> Iterator[Single]:
    """Operators on integers; they may differ from onnxruntime by one step."""
    two = {"sa": _s(0.02), "za": _z(120), "sb": _s(0.03), "zb": _z(3), "sy": _s(0.06), "zy": _z(60)}
    order = ("a", "sa", "za", "b", "sb", "zb", "sy", "zy")
    feeds = {"a": _u(2, 3, 4, 4), "b": _u(2, 3, 4, 4)}
    for op in ("QLinearAdd", "QLinearMul"):
        yield Single(op, feeds, two, domain=MS, order=order)
    yield Single("QLinearConcat", feeds, two, {"axis": 1}, domain=MS, order=(*order[6:], *order[:6]))
    one = {"sa": _s(0.02), "za": _z(120), "sy": _s(0.02), "zy": _z(40)}
    for op, attributes in (
        ("QLinearSigmoid", {}),
        ("QLinearLeakyRelu", {"alpha": 0.1}),
        ("QLinearGlobalAveragePool", {}),
        ("QLinearAveragePool", {"kernel_shape": [2, 2], "pads": [1, 1, 0, 0]}),
    ):
        yield Single(op, {"a": _u(2, 3, 4, 4)}, one, attributes, domain=MS)
    weights = {
        "sx": _s(0.02), "zx": _z(120), "w": _i(6, 2, 3, 3), "sw": np.linspace(0.001, 0.003, 6, dtype=np.float32),
        "zw": np.zeros(6, np.int8), "sy": _s(0.05), "zy": _z(128), "b": np.arange(6, dtype=np.int32) * 99,
    }  # fmt: skip
    yield Single("QLinearConv", {"x": _u(2, 4, 6, 6)}, weights, {"group": 2, "pads": [1] * 4})
    weights = {"sa": _s(0.02), "za": _z(120), "b": _i(6, 5), "sb": _s(0.01), "zb": _z(3, np.int8)}
    yield Single(
        "QGemm",
        {"a": _u(3, 6)},
        {**weights, "c": np.arange(5, dtype=np.int32) * 50, "sy": _s(0.1), "zy": _z(100)},
        domain=MS,
    )
    yield Single("ConvInteger", {"x": _u(2, 4, 6, 6)}, {"w": _i(6, 2, 3, 3), "z": _z(120)}, {"group": 2}, types=(6,))
    weights = {"w": _i(6, 3), "zx": _z(120), "zw": _z(3, np.int8)}
    yield Single("MatMulInteger", {"x": _u(2, 4, 6)}, weights, types=(6,))
    yield Single("DynamicQuantizeLinear", {"x": _f(4, 6)}, outputs=("y", "s", "z"), types=(2, 1, 2))
    scale = {"s": _s(0.02), "z": _z(100)}
    yield Single("QuantizeLinear", {"x": _f(4, 6)}, scale, domain=MS, types=(2,))
    yield Single("DequantizeLinear", {"x": _u(4, 6)}, scale, domain=MS, types=(1,))


FAMILIES = (convolutions, pools, resizes, older_forms, vision, fused, quantised)

COMPARED = frozenset(f"{s.domain}:{s.op}" if s.domain else s.op for family in FAMILIES for s in family())
"""Operators that are compared with onnxruntime here."""
