"""Which nodes of a graph are layers, and which belong together in one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from inspector.graph import Graph, attributes, is_standard, node_inputs, shape_of
from inspector.layers.layer import Size
from inspector.layers.layout import inferred_shapes, layout_of

if TYPE_CHECKING:
    from onnx import NodeProto

_KINDS = {
    "conv": "Conv ConvTranspose ConvInteger QLinearConv FusedConv DeformConv QLinearConvTranspose NhwcConv",
    "norm": "BatchNormalization InstanceNormalization GroupNormalization LayerNormalization LRN RMSNormalization "
    "MeanVarianceNormalization LpNormalization SkipLayerNormalization GroupNorm",
    "activation": "Relu LeakyRelu PRelu Clip Sigmoid HardSigmoid HardSwish Elu Selu Celu Tanh Softplus Softsign Gelu "
    "Mish Swish ThresholdedRelu Shrink QuickGelu FastGelu BiasGelu QLinearLeakyRelu QLinearSigmoid",
    "pool": "MaxPool AveragePool LpPool GlobalMaxPool GlobalAveragePool GlobalLpPool MaxRoiPool RoiAlign "
    "QLinearAveragePool QLinearGlobalAveragePool",
    "linear": "Gemm QGemm QLinearMatMul MatMulInteger FusedGemm",
    "concat": "Concat QLinearConcat",
    "resize": "Resize Upsample",
    "softmax": "Softmax LogSoftmax",
}
KIND_OF = {op: kind for kind, ops in _KINDS.items() for op in ops.split()}
ELEMENTWISE_PAIR = {"Add": "add", "Sum": "add", "QLinearAdd": "add", "Mul": "gate", "QLinearMul": "gate"}
_UNARY = frozenset(
    (
        "Sigmoid HardSigmoid HardSwish Tanh Relu Clip Softplus Erf Exp Log Neg Abs Sqrt Reciprocal Cast Identity "
        "Elu LeakyRelu Softsign Gelu QuantizeLinear DequantizeLinear"
    ).split()
)
_NONLINEAR = (_UNARY | {"Max", "Min"}) - {"Neg", "Cast", "Identity", "QuantizeLinear", "DequantizeLinear"}
_BINARY = frozenset({"Add", "Sub", "Mul", "Div", "Pow", "Max", "Min"})
_AFFINE = frozenset({"Add", "Sub", "Mul", "Div"})
_SAME_LAYOUT = (_UNARY | _BINARY) | frozenset(
    (
        "Relu PRelu Dropout BatchNormalization Sum Concat Where Selu Celu Mish Softmax QuantizeLinear "
        "DequantizeLinear Pad ThresholdedRelu LayerNormalization Swish Resize Slice"
    ).split()
)
REDUCTIONS = frozenset({"ReduceMean", "ReduceMax", "ReduceSum", "ReduceL2"})
_SHAPE_OPS = frozenset({"Shape", "Size", "NonZero", "ArgMax", "ArgMin", "TopK", "NonMaxSuppression"})
_MAX_CHAIN = 24
"""Nodes of an activation written out; gelu by tanh has ten, and each may be quantised."""


@dataclass
class Found:
    """A layer on its way: `first` is the node it is named after, `last` the one that makes its tensor.

    inside: the other nodes that it consists of, and that no one else reads.
    """

    first: int
    last: int
    kind: str
    inside: frozenset[int] = frozenset()


class Finder:
    """Everything that is worked out about one graph while its layers are looked for."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes = list(graph.nodes)
        self.data = self._data_tensors()
        self.outputs = set(graph.outputs)
        self._shapes: dict[str, tuple[Size, ...] | None] | None = None
        self._last: set[str] | None = None

    # --- which tensors carry the picture --------------------------------------------------------------------------

    def _data_tensors(self) -> set[str]:
        """Tensors computed from the picture itself; what is computed from its shape is not."""
        data = {i.name for i in self.graph.inputs}
        for node in self.nodes:
            if node.op_type not in _SHAPE_OPS and any(name in data for name in node_inputs(node)):
                data.update(name for name in node.output if name)
        return data

    def shape(self, tensor: str) -> tuple[Size, ...] | None:
        """The shape, channels first; from the file where it says so, else by shape inference."""
        declared = self.graph.value_infos.get(tensor)
        shape = shape_of(declared) if declared is not None else None
        if shape is None:
            if self._shapes is None:
                self._shapes = inferred_shapes(self.graph)
            shape = self._shapes.get(tensor)
        if shape is not None and len(shape) >= 3 and self.is_channels_last(tensor):
            return (shape[0], shape[-1], *shape[1:-1])
        return shape

    def is_channels_last(self, tensor: str) -> bool:
        """Whether the tensor is laid out (N, H, W, C), followed from the input through Transpose nodes."""
        if self._last is None:
            self._last = self._channels_last()
        return tensor in self._last

    def _channels_last(self) -> set[str]:
        last = {i.name for i in self.graph.inputs if layout_of(i.shape) == "NHWC"}
        constant = self.graph.initializers
        for node in self.nodes:
            op = node.op_type if is_standard(node) else ""
            if op == "Transpose":
                perm = attributes(node).get("perm") or []
                rank = len(perm)
                if rank >= 3:
                    to_last = perm == [0, *range(2, rank), 1]
                    to_first = perm == [0, rank - 1, *range(1, rank - 1)]
                    inside = node.input[0] in last
                    if (to_last and not inside) or (inside and not to_first and perm[-1] == rank - 1):
                        last.update(node.output)
            elif op == "MatMul" and len(node.input) == 2 and node.input[1] in constant:
                # The contraction leaves the features on the last axis, whatever they were before.
                last.update(node.output)
            elif op in _SAME_LAYOUT:
                sources = [name for name in node.input if name in self.data]
                if sources and all(name in last for name in sources):
                    last.update(node.output)
            elif op == "LayerNormalization" and attributes(node).get("axis", -1) == -1:
                last.update(node.output[:1])
        return last

    # --- which nodes are layers -----------------------------------------------------------------------------------

    def find(self) -> list[Found]:
        """The layers, unnamed, in topological order."""
        hidden: set[int] = set()
        found: list[Found] = []
        for i, node in enumerate(self.nodes):
            if i in hidden or not node.output[0] or not any(name in self.data for name in node.input):
                continue
            candidate = self._candidate(i, node)
            if candidate is None:
                continue
            hidden |= candidate.inside | ({candidate.last} - {i})
            # A sigmoid found before the product that makes it a gate of its own input belongs to that product.
            found = [f for f in found if f.last not in candidate.inside]
            found.append(candidate)
        found = [f for f in found if self._looks_like_maps(self.nodes[f.last].output[0])]
        found.sort(key=lambda f: f.last)
        return found

    def _candidate(self, i: int, node: NodeProto) -> Found | None:
        op = node.op_type
        data = [name for name in dict.fromkeys(node.input) if name in self.data]
        if op in ("Mul", "Add", "Sub", "Max", "Min") and (written_out := self._written_out(i, node)):
            return written_out
        if op in ELEMENTWISE_PAIR:
            return Found(i, i, ELEMENTWISE_PAIR[op]) if len(data) > 1 else None
        if op == "MatMul":
            constant = len(node.input) == 2 and node.input[1] not in self.data
            return self._folded(i, "linear") if constant else None
        if op in REDUCTIONS and is_standard(node):
            return Found(i, i, "pool") if self._is_spatial_reduction(node) else None
        kind = KIND_OF.get(op)
        if kind == "concat" and len(data) < 2:
            return None
        if kind in ("conv", "linear") or op == "BatchNormalization":
            return self._folded(i, str(kind))
        return Found(i, i, kind) if kind else None

    def _only_reader(self, tensor: str) -> int | None:
        """The node that alone reads `tensor`; None when several do or it is an output of the file."""
        readers = self.graph.consumers_of.get(tensor, [])
        return readers[0] if len(readers) == 1 and tensor not in self.outputs else None

    def _folded(self, first: int, kind: str) -> Found:
        """The convolution, linear or norm at `first` with its norm, bias and per-channel scale folded in."""
        nodes = [first]
        normed = self.nodes[first].op_type == "BatchNormalization"
        while (reader := self._only_reader(self.nodes[nodes[-1]].output[0])) is not None:
            node = self.nodes[reader]
            if node.op_type == "BatchNormalization" and not normed:
                normed = True
            elif not (node.op_type in _AFFINE and self._is_channel_vector(node)):
                break
            nodes.append(reader)
        return Found(first, nodes[-1], kind, frozenset(nodes[:-1]))

    def _is_channel_vector(self, node: NodeProto) -> bool:
        """Whether the other operand is a constant with one number per channel (not a scalar, which is arithmetic of
        an activation written out)."""
        constants = [name for name in node.input if name not in self.data]
        if (
            len(constants) != 1
            or len(node.input) != 2
            or (node.op_type in ("Sub", "Div") and constants[0] != node.input[1])
        ):
            return False
        tensor = self.graph.initializers.get(constants[0])
        # A vector may also be computed, as the weights of converters that write them as ConstantOfShape.
        shape = tensor.dims if tensor is not None else self.shape(constants[0]) or ()
        return [size != 1 for size in shape].count(True) == 1

    def _is_constant_scalar(self, node: NodeProto) -> bool:
        constants = [name for name in node.input if name not in self.data]
        if len(constants) != 1 or len(node.input) != 2:
            return False
        tensor = self.graph.initializers.get(constants[0])
        return tensor is not None and all(d == 1 for d in tensor.dims)

    def _written_out(self, i: int, node: NodeProto) -> Found | None:
        """The activation that ends at node `i`, where it is a nonlinear function of one tensor, element by element.

        silu, hard-swish, gelu and mish are x * f(x) where no operator of their own is used, prelu is f(x) + g(-x).
        """
        operands = list(node.input)
        if len(set(operands)) != 2 or not all(name in self.data for name in operands):
            return None
        chain, ends = [i], set(operands)
        while len(ends) > 1:
            # All ways back meet in one tensor, or they do not: the last to be made is stepped over first.
            tensor = max(ends, key=lambda name: self.graph.producer_of.get(name, -1))
            k = self.graph.producer_of.get(tensor)
            if k is None or len(chain) > _MAX_CHAIN or self.nodes[k].op_type not in _UNARY | _BINARY:
                return None
            chain.append(k)
            ends = (ends - {tensor}) | {name for name in self.nodes[k].input if name in self.data}
        if not any(self.nodes[k].op_type in _NONLINEAR for k in chain):
            return None
        if node.op_type in ("Add", "Sub") and ends & set(operands):
            return None  # x + f(x) is a residual
        last = self._scaled(i, chain)
        group = {*chain, last}
        return Found(
            min(chain), last, "activation", frozenset(k for k in group if k != last and self._private(k, group))
        )

    def _scaled(self, i: int, chain: Sequence[int]) -> int:
        """Past a multiplication by a scalar: gelu and hard-swish written out end in one."""
        reader = self._only_reader(self.nodes[i].output[0])
        if (
            reader is not None
            and self.nodes[reader].op_type in ("Mul", "Div")
            and self._is_constant_scalar(self.nodes[reader])
            and any(self.nodes[k].op_type in ("Erf", "Tanh", "Clip", "Relu") for k in chain)
        ):
            return reader
        return i

    def _private(self, k: int, group: set[int]) -> bool:
        """Whether nothing outside the group reads what node `k` makes."""
        made = self.nodes[k].output[0]
        return made not in self.outputs and all(r in group for r in self.graph.consumers_of.get(made, []))

    def _is_spatial_reduction(self, node: NodeProto) -> bool:
        values = attributes(node).get("axes")
        if (
            values is None
            and len(node.input) > 1
            and (tensor := self.graph.initializers.get(node.input[1])) is not None
        ):
            values = self.graph.tensor_array(tensor).ravel().tolist() if not tensor.external_data else None
        shape = self.shape(node.input[0])
        if not values or shape is None or len(shape) < 3:
            return False
        rank = len(shape)
        channel = rank - 1 if self.is_channels_last(node.input[0]) else 1
        axes = {int(v) % rank for v in values}
        return axes == set(range(1, rank)) - {channel}

    def _looks_like_maps(self, tensor: str) -> bool:
        """Floating point with two dimensions or more, as far as anything is known."""
        shape = self.shape(tensor)
        return shape is None or 2 <= len(shape) <= 5
