"""More graphs by hand, for what the installed converters do not write: outputs of other tasks, and of other stacks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx

from tests.foreign import FLOAT, INT64, UINT8, Net

BY_HAND: dict[str, Callable[[], onnx.ModelProto]] = {}


def by_hand(function: Callable[[], onnx.ModelProto]) -> Callable[[], onnx.ModelProto]:
    BY_HAND[function.__name__] = function
    return function


def _stem(n: Net, x: str, width: int = 8, stride: int = 2) -> str:
    x = n("Relu", n.conv(x, 3, width, stride=stride, name="/stem/Conv"), name="/stem/Relu")
    return n("Relu", n.conv(x, width, width, name="/body/Conv"), name="/body/Relu")


def _pooled(n: Net, x: str, width: int = 8) -> str:
    return n("Flatten", n("GlobalAveragePool", x, name="/pool/GlobalAveragePool"), name="/Flatten", axis=1)


def _head(n: Net, x: str, width: int, classes: int, out: str = "") -> str:
    given = n.weight((classes, width), "fc.weight"), n.weight((classes,), "fc.bias")
    return n("Gemm", x, *given, name="/fc/Gemm", out=out, transB=1)


@by_hand
def custom_vision() -> onnx.ModelProto:
    """Azure Custom Vision: scores, the best label as text by ArgMax and a table, BGR bytes inside."""
    n = Net(21, opset=12, ir=7, producer="OnnxMLTools", ai_onnx_ml=2)
    x = n.input("data", (1, 3, 32, 32))
    x = n("Sub", x, n.const(np.float32([104, 117, 123]).reshape(3, 1, 1), "mean"), name="subtract_mean")
    x = n("Softmax", _head(n, _pooled(n, _stem(n, x)), 8, 3), name="softmax", out="loss", axis=1)
    index = n("ArgMax", x, name="argmax", axis=1, keepdims=0)
    label = n("LabelEncoder", index, name="labels", out="classLabel", domain="ai.onnx.ml", keys_int64s=[0, 1, 2],
              values_strings=["cat", "dog", "bird"])  # fmt: skip
    model = n.model(x, label, shapes={x: (1, 3), label: (1,)})
    model.graph.output[1].type.tensor_type.elem_type = onnx.TensorProto.STRING
    return model


@by_hand
def zip_map() -> onnx.ModelProto:
    """skl2onnx behind a network: a ZipMap makes dictionaries of the probabilities."""
    n = Net(22, opset=15, producer="skl2onnx", ai_onnx_ml=1)
    x = _head(n, _pooled(n, _stem(n, n.input("x", ("n", 3, 32, 32)))), 8, 3)
    x = n("Softmax", x, name="softmax", out="probabilities", axis=1)
    y = n("ZipMap", x, name="zip", out="output_probability", domain="ai.onnx.ml", classlabels_strings=["a", "b", "c"])
    model = n.model(y)
    value = onnx.helper.make_map_type_proto(onnx.TensorProto.STRING, onnx.helper.make_tensor_type_proto(FLOAT, None))
    model.graph.output[0].type.CopyFrom(onnx.helper.make_sequence_type_proto(value))
    return model


@by_hand
def top_five() -> onnx.ModelProto:
    """A server's classifier: TopK of the softmax, values and indices."""
    n = Net(23, opset=17)
    x = n("Softmax", _head(n, _pooled(n, _stem(n, n.input("x", (1, 3, 32, 32)))), 8, 9), name="/softmax", axis=1)
    n("TopK", x, n.const([5], "k", np.int64), name="/TopK", out=["values", "indices"], axis=1)
    model = n.model("values", "indices", shapes={"values": (1, 5), "indices": (1, 5)})
    model.graph.output[1].type.tensor_type.elem_type = INT64
    return model


@by_hand
def text_lines() -> onnx.ModelProto:
    """A recogniser of text: columns become steps, a softmax of characters for each (CTC)."""
    n = Net(24, opset=13, producer="pytorch")
    x = _stem(n, n.input("x", (1, 3, 32, "w")), stride=1)
    x = n("ReduceMean", x, name="/height/ReduceMean", axes=[2], keepdims=0)
    x = n("Transpose", x, name="/Transpose", perm=[2, 0, 1])
    x = n("Add", n("MatMul", x, n.weight((8, 11), "fc.weight"), name="/fc/MatMul"), n.weight((11,), "fc.bias"))
    x = n("Softmax", x, name="/Softmax", out="output", axis=2)
    return n.model(x, shapes={x: ("t", 1, 11)})


@by_hand
def autoencoder() -> onnx.ModelProto:
    """A picture out: depth, matting, denoising. ConvTranspose and a sigmoid."""
    n = Net(25, opset=17)
    x = _stem(n, n.input("input", (1, 3, 32, 32)))
    x = n("ConvTranspose", x, n.weight((8, 3, 2, 2), "up.weight"), name="/up/ConvTranspose", strides=[2, 2])
    x = n("Sigmoid", x, name="/Sigmoid", out="output")
    return n.model(x, shapes={x: (1, 3, 32, 32)})


@by_hand
def yunet() -> onnx.ModelProto:
    """OpenCV's YuNet: a score, an objectness, a box and points for each of three strides."""
    n = Net(26, opset=11, producer="pytorch")
    x = n("Relu", n.conv(n.input("input", (1, 3, 64, 64)), 3, 8, stride=4, name="Conv_0"), name="Relu_1")
    outputs, shapes = [], {}
    for stride in (8, 16, 32):
        x = n("Relu", n.conv(x, 8, 8, stride=2, name=f"Conv_s{stride}"), name=f"Relu_s{stride}")
        for part, width in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            y = n("Transpose", n.conv(x, 8, width, 1, name=f"Conv_{part}{stride}"), perm=[0, 2, 3, 1])
            y = n("Reshape", y, n.const([1, -1, width], f"shape_{part}_{stride}", np.int64))
            y = n("Sigmoid", y) if width == 1 else y
            outputs.append(n("Identity", y, out=f"{part}_{stride}"))
            shapes[outputs[-1]] = (1, (64 // stride) ** 2, width)
    return n.model(*outputs, shapes=shapes)


@by_hand
def nothing_found() -> onnx.ModelProto:
    """A detector with its suppression inside, which keeps nothing: (0, 6) comes out."""
    n = Net(27, opset=17)
    x = _stem(n, n.input("images", (1, 3, 32, 32)))
    rows = n("Transpose", n("Reshape", n.conv(x, 8, 5, 1, name="/head/Conv"), n.const([1, 5, -1], "r", np.int64)),
             perm=[0, 2, 1])  # fmt: skip
    boxes = n("Slice", rows, n.const([0], "", np.int64), n.const([4], "", np.int64), n.const([2], "", np.int64))
    scores = n("Slice", rows, n.const([4], "", np.int64), n.const([5], "", np.int64), n.const([2], "", np.int64))
    scores = n("Transpose", n("Sigmoid", scores), perm=[0, 2, 1])
    given = n.const([10], "", np.int64), n.const(np.float32([0.5])), n.const(np.float32([2]))
    kept = n("NonMaxSuppression", boxes, scores, *given, name="/nms")
    index = n("Reshape", n("Slice", kept, n.const([2], "", np.int64), n.const([3], "", np.int64),
                           n.const([1], "", np.int64)), n.const([-1], "", np.int64))  # fmt: skip
    found = n("Gather", n("Squeeze", rows, n.const([0], "", np.int64)), index, name="/Gather", axis=0)
    zeros = n("Mul", n("Slice", found, n.const([0], "", np.int64), n.const([1], "", np.int64),
                       n.const([1], "", np.int64)), n.const(np.float32(0)))  # fmt: skip
    found = n("Concat", found, zeros, name="/Concat", out="output0", axis=1)
    return n.model(found, shapes={found: ("n", 6)})


@by_hand
def two_in_a_batch() -> onnx.ModelProto:
    """Traced with two pictures, which stay fixed, and a Reshape that says so."""
    n = Net(28, opset=17)
    x = _stem(n, n.input("x", (2, 3, 16, 16)))
    x = n("Reshape", n("GlobalAveragePool", x), n.const([2, 8], "two", np.int64), name="/Reshape")
    return n.model(_head(n, x, 8, 4, "y"), shapes={"y": (2, 4)})


@by_hand
def bytes_in() -> onnx.ModelProto:
    """Bytes, channels last, cast and scaled inside; sigmoid behind: many labels."""
    n = Net(29, opset=17)
    x = n("Cast", n.input("image", (1, 32, 32, 3), UINT8), name="/Cast", to=FLOAT)
    x = n("Transpose", n("Div", x, n.const(np.float32(255)), name="/Div"), name="/Transpose", perm=[0, 3, 1, 2])
    x = n("Sigmoid", _head(n, _pooled(n, _stem(n, x)), 8, 4), name="/Sigmoid", out="labels")
    return n.model(x, shapes={x: (1, 4)})


@by_hand
def unsorted() -> onnx.ModelProto:
    """Nodes that stand before what they read, as converters to half precision leave them; onnxruntime sorts them."""
    n = Net(30, opset=17)
    _head(n, _pooled(n, _stem(n, n.input("x", (1, 3, 16, 16)))), 8, 4, "y")
    n.nodes.reverse()
    return n.model("y", shapes={"y": (1, 4)})


@by_hand
def shared_constants() -> onnx.ModelProto:
    """One weight and one bias for two convolutions, one constant for two inputs of a Resize."""
    n = Net(31, opset=13)
    x = n("Relu", n.conv(n.input("x", (1, 3, 16, 16)), 3, 4, name="/stem/Conv"), name="/stem/Relu")
    w, b = n.weight((4, 4, 3, 3), "same.weight"), n.weight((4,), "same.bias")
    for k in range(2):
        x = n("Relu", n("Conv", x, w, b, name=f"/conv{k}/Conv", pads=[1] * 4), name=f"/conv{k}/Relu")
    empty = n.const(np.zeros(0, np.float32), "empty")
    x = n("Resize", x, empty, empty, n.const([1, 4, 32, 32], "sizes", np.int64), name="/Resize", mode="nearest")
    return n.model(_head(n, _pooled(n, x), 4, 3, "y"), shapes={"y": (1, 3)})
