"""An .onnx network rewritten for integers, in ONNX's QDQ form: which tensors, on which grid, and the nodes around them.

A tensor keeps its name: it becomes the dequantised value, and what was before it is called ``NAME/float``. See
:mod:`exporters.quantizing.quantize` for what is chosen and why.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

from inspector.errors import InspectorError, UsageError
from inspector.graph import attributes, node_inputs
from inspector.model import Model

Array = NDArray[Any]

_KEPT_VALUES = 65_536
"""Values of each tensor kept to choose its grid."""

_OPSET = 13
"""First operator set with one scale per channel."""


class QuantiseError(InspectorError):
    """The model cannot be made smaller as it was asked for."""

    kind = "quantise"


# --- the network without what was exposed -----------------------------------------------------------------------------


@dataclass
class Network:
    """The part of the graph that the real outputs need, weights in memory, ready to be rewritten.

    outputs: its outputs, which are not layers for looking at. weights: by tensor name.
    """

    proto: onnx.ModelProto
    nodes: list[NodeProto]
    weights: dict[str, Array]
    outputs: tuple[str, ...]
    inputs: tuple[str, ...]

    def readers(self) -> dict[str, list[int]]:
        """Indices of the nodes that read each tensor."""
        found: dict[str, list[int]] = {}
        for i, node in enumerate(self.nodes):
            for name in dict.fromkeys(node_inputs(node)):
                found.setdefault(name, []).append(i)
        return found

    def made(self) -> dict[str, int]:
        """Index of the node that makes each tensor."""
        return {name: i for i, node in enumerate(self.nodes) for name in node.output if name}

    def free(self, name: str) -> str:
        """`name`, or with a number behind it, so that no tensor is called so."""
        taken = {n for node in self.nodes for n in (*node.input, *node.output)} | self.weights.keys()
        return next(n for k in itertools.count() if (n := f"{name}_{k}" if k else name) not in taken)


def read_network(source: Model) -> Network:
    """The network of a model with its weights in memory and batch norms folded, without the layers it exposes.

    Raises QuantiseError when its operator set cannot be raised to 13.
    """
    graph = source.graph
    layers = {layer.tensor for layer in source.layers}
    answer = answer_of(source)
    # What no other node reads is an answer too, also where it is a layer: one of several heads, or an embedding.
    outputs = [
        name for name in graph.outputs if name not in layers or name == answer or not graph.consumers_of.get(name)
    ] or list(graph.outputs[-1:])
    part = graph.cut(outputs).proto
    proto = onnx.ModelProto()
    proto.CopyFrom(part)
    for entry, tensor in ((e, graph.initializers[e.name]) for e in proto.graph.initializer):
        array = np.asarray(graph.tensor_array(tensor), order="C")
        entry.CopyFrom(numpy_helper.from_array(array, entry.name))
    del proto.graph.output[:]
    proto.graph.output.extend(typed_output(source, name) for name in outputs)
    if graph.opset < _OPSET:
        try:
            proto = onnx.version_converter.convert_version(proto, _OPSET)
        except Exception as error:  # a C++ error type of the onnx package
            raise QuantiseError(
                f"{source.path} has operator set {graph.opset}, and it cannot be raised to {_OPSET}: {error}",
                "export it again with a later one",
            ) from None
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    del proto.graph.initializer[:]
    network = Network(
        proto, list(proto.graph.node), weights, tuple(outputs), tuple(value.name for value in proto.graph.input)
    )
    _fold_norms(network)
    return network


def answer_of(source: Model) -> str | None:
    """The graph output that the scores are read from."""
    if source.classifier is None:
        return None
    scores = source.classifier.scores
    if source.metadata.output in source.graph.outputs:
        return source.metadata.output
    return scores if scores in source.graph.outputs else None


def typed_output(source: Model, tensor: str) -> onnx.ValueInfoProto:
    """A tensor as an output, with the type and shape that the source declares."""
    declared = source.graph.value_infos.get(tensor)
    if declared is None:
        return helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, None)
    copy = onnx.ValueInfoProto()
    copy.CopyFrom(declared)
    return copy


def _fold_norms(network: Network) -> None:
    """Batch norms right behind a convolution become part of its weights; the convolution takes over their name."""
    readers = network.readers()
    gone: set[int] = set()
    for node in network.nodes:
        if node.op_type != "Conv" or node.input[1] not in network.weights or node.output[0] in network.outputs:
            continue
        behind = readers.get(node.output[0], [])
        norm = network.nodes[behind[0]] if len(behind) == 1 else None
        if norm is None or norm.op_type != "BatchNormalization" or attributes(norm).get("training_mode", 0):
            continue
        if not all(name in network.weights for name in norm.input[1:5]) or len([n for n in norm.output if n]) > 1:
            continue
        gamma, beta, mean, variance = (network.weights[name].astype(np.float64) for name in norm.input[1:5])
        factor = gamma / np.sqrt(variance + attributes(norm).get("epsilon", 1e-5))
        weight = network.weights[node.input[1]]
        old = network.weights.get(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(len(weight))
        if old is None:
            continue
        names = [network.free(f"{node.input[1]}/folded"), network.free(f"{norm.output[0]}/bias")]
        shape = (-1, *[1] * (weight.ndim - 1))
        network.weights[names[0]] = (weight * factor.reshape(shape)).astype(weight.dtype)
        network.weights[names[1]] = ((old - mean) * factor + beta).astype(weight.dtype)
        folded = [node.input[0], *names]
        del node.input[:]
        node.input.extend(folded)
        node.output[0] = norm.output[0]
        gone.add(behind[0])
    network.nodes = [node for i, node in enumerate(network.nodes) if i not in gone]


def assembled(network: Network, nodes: Iterable[NodeProto], weights: Mapping[str, Array]) -> onnx.ModelProto:
    """A model of these nodes, with the weights that they read."""
    proto = onnx.ModelProto()
    proto.CopyFrom(network.proto)
    del proto.graph.node[:], proto.graph.value_info[:], proto.metadata_props[:]
    proto.graph.node.extend(nodes)
    read = {name for node in proto.graph.node for name in node_inputs(node)} | set(network.outputs)
    proto.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(array, order="C"), name) for name, array in weights.items() if name in read
    )
    for node in proto.graph.node:
        # Source lines and paths of the exporting machine have no place in what is shipped.
        del node.metadata_props[:]
        node.doc_string = ""
    return proto


# --- int8: which tensors --------------------------------------------------------------------------------------------

WEIGHTED = frozenset({"Conv", "Gemm", "MatMul"})
_ELEMENTWISE = frozenset({"Add", "Mul"})
_POOLS = frozenset({"GlobalAveragePool", "AveragePool"})
_PASSING = frozenset({"MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze"})
"""They only move values: what goes in on the grid comes out on it."""


@dataclass
class _Range:
    """What is known of one tensor: extremes over all pictures, a sample of its values, and its mean by channel."""

    low: float = 0.0
    high: float = 0.0
    values: list[NDArray[np.float32]] = field(default_factory=list)
    total: NDArray[np.float64] | float = 0.0
    count: int = 0

    def add(self, array: Array, share: int) -> None:
        """Take in one picture's tensor (1, C, ...); `share` of its values are kept."""
        self.low, self.high = min(self.low, float(array.min())), max(self.high, float(array.max()))
        flat = array.reshape(-1)
        step = max(1, flat.size // share)
        self.values.append(np.array(flat[:: step | 1], np.float32))
        if array.ndim >= 2:
            axes = tuple(i for i in range(array.ndim) if i != 1)
            self.total = self.total + array.sum(axis=axes, dtype=np.float64)
            self.count += array.size // array.shape[1]

    @property
    def mean(self) -> NDArray[np.float64]:
        """float64 (C,)."""
        return np.asarray(self.total, np.float64) / max(1, self.count)


@dataclass(frozen=True)
class _Grid:
    """Values are (q - zero) * scale with q in 0..255."""

    scale: np.float32
    zero: int


@dataclass
class Plan:
    """Everything that is needed to write the integer network, with any of its nodes left in float.

    weighted: nodes with weights, by layer. grids: of the tensors that may be quantised. ends: the tensor behind a
    node's activation, where its integers are taken. tensors: of the source's layers, by name.
    """

    network: Network
    layer_of: dict[int, str]
    grids: dict[str, _Grid]
    means: dict[str, NDArray[np.float64]]
    ends: dict[int, str]
    bits: int
    inside: frozenset[str]
    tensors: Mapping[str, str] = field(default_factory=dict)

    def nodes_of(self, layers: Iterable[str]) -> frozenset[int]:
        """The nodes that stay in float when these layers are kept. A layer without arithmetic of its own, such as an
        activation or a pool of maxima, stands for the node that it comes from.

        Raises UsageError for a layer that no integer node makes: it would be kept in name only.
        """
        found: set[int] = set()
        for name in layers:
            nodes = {i for i, layer in self.layer_of.items() if layer == name} or self._maker(self.tensors.get(name))
            if not nodes:
                raise UsageError(
                    f"the layer {name} cannot be kept in float: no integer arithmetic makes it",
                    "leave it out; it is in float as it is, or is made from several layers, which can be named",
                )
            found |= nodes
        return frozenset(found)

    def _maker(self, tensor: str | None) -> set[int]:
        """The integer node that a tensor comes from by activations and by what only moves values; empty for none."""
        made = self.network.made()
        while tensor in made:
            if made[tensor] in self.ends:
                return {made[tensor]}
            node = self.network.nodes[made[tensor]]
            if node.op_type not in _PASSING | {"Relu", "Clip"}:
                break
            tensor = node.input[0]
        return set()

    def build(self, kept: frozenset[int] = frozenset()) -> onnx.ModelProto:
        """The QDQ network with the nodes `kept` in float."""
        return _Writer(self, kept).proto()


def plan_integers(source: Model, network: Network, tensors: Iterable[Array], count: int, reduce_range: bool) -> Plan:
    """Chooses what is computed with integers, and calibrates it on `count` input tensors.

    reduce_range: 7 bits for weights. Raises QuantiseError when there is nothing to quantise.
    """
    readers, made = network.readers(), network.made()
    ends: dict[int, str] = {}
    wanted: dict[str, None] = {}
    means: dict[str, None] = {}
    inside: set[str] = set()
    for i, node in enumerate(network.nodes):
        if not _integer(network, node):
            continue
        end, passed = _end(network, readers, node.output[0])
        inside.update(passed)
        ends[i] = end
        data = [name for name in node.input if name and name not in network.weights]
        if node.op_type in WEIGHTED:
            data = [node.input[0]]
            means[node.input[0]] = None
        wanted.update(dict.fromkeys((*data, end)))
    if not any(network.nodes[i].op_type in WEIGHTED for i in ends):
        raise QuantiseError(
            f"{source.path} has no convolution or linear layer with constant float weights",
            "it may be quantised already",
        )
    # Where a value is only moved, it stays on the grid it came from: what moves takes the first tensor's range.
    first: dict[str, str] = {}
    for node in network.nodes:
        if node.op_type in _PASSING and node.output[0] in wanted:
            first[node.output[0]] = node.input[0]
            wanted.setdefault(node.input[0], None)
    ranges = _calibrated(source, list(wanted), tensors, count)
    grids: dict[str, _Grid] = {}
    for name in wanted:
        root = name
        while root in first and first[root] in ranges:
            root = first[root]
        grids[name] = _grid(ranges[root])
    for name in network.outputs:
        grids.pop(name, None)
    layer_of = _layers_of(source, network, ends, made)
    found = {name: ranges[name].mean for name in means}
    tensors_of = {layer.name: layer.tensor for layer in source.layers}
    return Plan(network, layer_of, grids, found, ends, 7 if reduce_range else 8, frozenset(inside), tensors_of)


def _integer(network: Network, node: NodeProto) -> bool:
    """Whether the node can be computed with integers."""
    weights = network.weights
    if node.op_type in WEIGHTED:
        given = attributes(node)
        weight = weights.get(node.input[1])
        plain = given.get("alpha", 1.0) == 1.0 and given.get("beta", 1.0) == 1.0 and not given.get("transA", 0)
        bias = len(node.input) < 3 or not node.input[2] or node.input[2] in weights
        matrix = node.op_type != "MatMul" or (weight is not None and weight.ndim == 2)
        return bool(
            weight is not None and weight.dtype == np.float32 and plain and bias and matrix
            and node.input[0] not in weights
        )  # fmt: skip
    if node.op_type in _ELEMENTWISE:
        return (
            len(node.input) == 2 and not any(name in weights for name in node.input) and node.input[0] != node.input[1]
        )
    if node.op_type == "Concat":
        return len(node.input) > 1 and not any(name in weights for name in node.input)
    return node.op_type in _POOLS


def _end(network: Network, readers: Mapping[str, Sequence[int]], tensor: str) -> tuple[str, list[str]]:
    """(the tensor behind the ReLU or clip that alone reads `tensor`, what lies before it); the runtime folds such an
    activation into the integers' range."""
    passed = []
    while tensor not in network.outputs and len(readers.get(tensor, ())) == 1:
        node = network.nodes[readers[tensor][0]]
        bounds = node.op_type == "Clip" and all(not name or name in network.weights for name in node.input[1:])
        if node.op_type != "Relu" and not bounds:
            break
        passed.append(tensor)
        tensor = node.output[0]
    return tensor, passed


def _layers_of(source: Model, network: Network, ends: Mapping[int, str], made: Mapping[str, int]) -> dict[int, str]:
    """For each integer node the name of the layer that a person would name it by."""
    by_tensor = {layer.tensor: layer.name for layer in source.layers}
    named = {}
    for i, end in ends.items():
        node = network.nodes[i]
        named[i] = by_tensor.get(node.output[0]) or by_tensor.get(end) or node.name or node.output[0]
    return named


def _calibrated(source: Model, names: list[str], tensors: Iterable[Array], count: int) -> dict[str, _Range]:
    """Ranges of tensors of the source network over the calibration pictures."""
    found = {name: _Range() for name in names}
    share = max(256, _KEPT_VALUES // max(1, count))
    own = source.input.name
    for tensor in tensors:
        values = source.run(tensor, [name for name in names if name != own])
        values[own] = tensor
        for name in names:
            array = np.asarray(values[name], np.float32)
            if not np.isfinite(array.min()) or not np.isfinite(array.max()):
                raise QuantiseError(f"{source.path} gives values that are not finite, in {name!r}", "audit it first")
            found[name].add(array, share)
    return found


def _grid(known: _Range) -> _Grid:
    """The grid with the smallest mean of the error's third power on the sample, among shrunken ranges.

    The second power clips more of the rare large values, which carry answers; the fourth hardly clips at all.
    Zero is always on the grid, since convolutions pad with zero.
    """
    values = np.concatenate(known.values)
    low, high = min(0.0, known.low), max(0.0, known.high)
    if high - low < 1e-12:
        return _Grid(np.float32(1.0), 0)
    best, least = _grid_of(low, high), np.inf
    for share in np.linspace(1.0, 0.4, 25):
        for one_sided in (False, True) if low < 0 < high else (False,):
            # Both ends are shrunk together, or only the longer one.
            longer = high >= -low
            a = low if one_sided and longer else low * share
            b = high if one_sided and not longer else high * share
            grid = _grid_of(a, b)
            q = np.clip(np.rint(values / grid.scale) + grid.zero, 0, 255)
            error = float((np.abs((q - grid.zero) * grid.scale - values) ** 3).mean(dtype=np.float64))
            if error < least:
                best, least = grid, error
    return best


def _grid_of(low: float, high: float) -> _Grid:
    scale = np.float32((high - low) / 255)
    # Rounded down, so that the top of the grid never lies above a clip's bound, which the runtime checks exactly.
    if float(scale) * 255 > high - low:
        scale = np.nextafter(scale, np.float32(0))
    scale = max(scale, np.float32(np.finfo(np.float32).tiny))
    return _Grid(scale, int(np.clip(round(-low / float(scale)), 0, 255)))


# --- int8: writing --------------------------------------------------------------------------------------------------


class _Writer:
    """Writes one QDQ network."""

    def __init__(self, plan: Plan, kept: frozenset[int]) -> None:
        self.plan = plan
        self.kept = kept
        self.network = plan.network
        self.weights = dict(plan.network.weights)
        self.nodes: list[NodeProto] = []
        self.renamed: dict[str, str] = {}
        self.taken = {n for node in self.network.nodes for n in (*node.input, *node.output)} | self.weights.keys()
        self.integer = self._integer_tensors()
        self.float_ends = self._float_ends()

    def proto(self) -> onnx.ModelProto:
        """The network."""
        for name in self.network.inputs:
            if name in self.integer:
                # An input keeps its name, so its readers take another.
                inner = self._fresh(f"{name}/dequantised")
                self._pair(name, inner, name)
                self.renamed[name] = inner
        for i, node in enumerate(self.network.nodes):
            copy = NodeProto()
            copy.CopyFrom(node)
            for k, name in enumerate(node.input):
                copy.input[k] = self.renamed.get(name, name)
            if node.op_type in WEIGHTED and i in self.plan.ends and i not in self.kept:
                self._quantise_weights(copy, node)
            pairs = []
            for k, name in enumerate(node.output):
                if name in self.integer:
                    copy.output[k] = self._fresh(f"{name}/float")
                    pairs.append((copy.output[k], name))
            self.nodes.append(copy)
            for inner, name in pairs:
                self._pair(self._guarded(inner, name), name, name)
        return assembled(self.network, self.nodes, self.weights)

    def _integer_tensors(self) -> set[str]:
        """Tensors that get a quantised form: what integer nodes read, and what they give."""
        plan, found = self.plan, set()
        for i, end in plan.ends.items():
            node = self.network.nodes[i]
            if i in self.kept:
                continue
            if node.op_type in WEIGHTED:
                found.add(node.input[0])
                if node.op_type == "Conv":
                    found.add(end)
            else:
                found.update((*node.input, end))
        changed = True
        while changed:
            changed = False
            for node in self.network.nodes:
                if node.op_type in _PASSING and node.output[0] in found and node.input[0] not in found:
                    found.add(node.input[0])
                    changed = True
        return {name for name in found if name in plan.grids}

    def _float_ends(self) -> set[str]:
        """The tensors behind nodes that are kept in float, and behind all with weights that cannot but stay there."""
        readers = self.network.readers()
        return {
            _end(self.network, readers, node.output[0])[0]
            for i, node in enumerate(self.network.nodes)
            if i in self.kept or (node.op_type in (*WEIGHTED, "ConvTranspose") and i not in self.plan.ends)
        }

    def _guarded(self, start: str, tensor: str) -> str:
        """`start`, behind a sum of this one tensor where it comes from a node in float.

        Between integers onnxruntime computes such a node with integers by itself, float weights with one scale for all
        channels, unless something stands in between.
        """
        if tensor not in self.float_ends:
            return start
        name = self._fresh(f"{tensor}/guard")
        self.nodes.append(helper.make_node("Sum", [start], [name], name=name))
        return name

    def _fresh(self, name: str) -> str:
        found = next(n for k in itertools.count() if (n := f"{name}_{k}" if k else name) not in self.taken)
        self.taken.add(found)
        return found

    def _pair(self, start: str, end: str, tensor: str) -> None:
        """QuantizeLinear and DequantizeLinear from `start` to `end`, on the grid of `tensor`."""
        grid = self.plan.grids[tensor]
        scale, zero, between = (self._fresh(f"{tensor}/{word}") for word in ("scale", "zero", "integer"))
        self.weights[scale] = np.array(grid.scale, np.float32)
        self.weights[zero] = np.array(grid.zero, np.uint8)
        self.nodes += [
            helper.make_node("QuantizeLinear", [start, scale, zero], [between], name=f"{tensor}/quantise"),
            helper.make_node("DequantizeLinear", [between, scale, zero], [end], name=f"{tensor}/dequantise"),
        ]

    def _quantise_weights(self, copy: NodeProto, node: NodeProto) -> None:
        weight = self.network.weights[node.input[1]]
        axis = 0 if node.op_type == "Conv" or attributes(node).get("transB", 0) else 1
        rows = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1).astype(np.float64)
        scales = _weight_scales(rows, self.plan.bits)
        bias = self.network.weights.get(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        grid = self.plan.grids.get(node.input[0])
        step = float(grid.scale) if grid is not None else 1.0
        if bias is not None:
            # A bias far above its weights would not fit into 32 bits on their scale.
            scales = np.maximum(scales, np.abs(bias.reshape(-1)) / (2.0**30 * step))
        top = 2 ** (self.plan.bits - 1) - 1
        integers = np.clip(np.rint(rows / scales[:, None]), -top, top)
        error = integers * scales[:, None] - rows
        whole = np.moveaxis(integers.reshape(len(rows), *np.delete(weight.shape, axis)), 0, axis)
        copy.input[1] = self._constant(node.input[1], whole.astype(np.int8), scales.astype(np.float32), axis)
        if node.op_type == "MatMul":
            return
        shift = self._shift(node, error, weight)
        total = (bias.reshape(-1).astype(np.float64) if bias is not None else 0.0) - shift
        steps = scales.astype(np.float32).astype(np.float64) * step
        biases = np.clip(np.rint(total / steps), -(2**31) + 1, 2**31 - 1).astype(np.int32)
        name = self._constant(
            node.input[2] if bias is not None else f"{node.output[0]}/bias", biases, steps.astype(np.float32), 0
        )
        if len(copy.input) > 2:
            copy.input[2] = name
        else:
            copy.input.append(name)

    def _shift(self, node: NodeProto, error: NDArray[np.float64], weight: Array) -> NDArray[np.float64]:
        """What rounding the weights adds to the mean of each output channel: the error times the inputs' mean."""
        mean = self.plan.means[node.input[0]]
        if node.op_type == "Conv":
            per_input = error.reshape(len(error), weight.shape[1], -1).sum(axis=2)
            groups = attributes(node).get("group", 1)
            inputs = mean.reshape(groups, -1)
            outputs = per_input.reshape(groups, -1, weight.shape[1])
            if inputs.shape[1] != weight.shape[1]:
                return np.zeros(len(error))
            shift: NDArray[np.float64] = np.einsum("goi,gi->go", outputs, inputs).reshape(-1)
            return shift
        return error @ mean if error.shape[1] == len(mean) else np.zeros(len(error))

    def _constant(self, name: str, integers: Array, scales: Array, axis: int) -> str:
        """Integers with a scale per channel, as the dequantised tensor that a node reads."""
        whole, scale, zero, end = (
            self._fresh(f"{name}/{word}") for word in ("integer", "scale", "zero", "dequantised")
        )
        self.weights[whole], self.weights[scale] = integers, scales
        self.weights[zero] = np.zeros(scales.shape, integers.dtype)
        self.nodes.append(
            helper.make_node("DequantizeLinear", [whole, scale, zero], [end], name=f"{name}/dequantise", axis=axis)
        )
        return end


def _weight_scales(rows: NDArray[np.float64], bits: int) -> NDArray[np.float64]:
    """The scale of each row of weights (C, n) that its largest one just fits; never 0."""
    full = np.abs(rows).max(axis=1) / (2 ** (bits - 1) - 1)
    scales: NDArray[np.float64] = np.where(full > 0, full, 1.0)
    return scales
