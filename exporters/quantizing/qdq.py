"""Write a network with integers, in ONNX's QDQ form: quantized tensors, and the nodes around them.

A tensor keeps its name: it becomes the dequantized value, and what was before it is called ``NAME/float``. See
:mod:`exporters.quantizing.quantize` for what is chosen and why.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper

from exporters.quantizing.plan import IntegerPlan, follow_activation
from exporters.quantizing.quantizable import Array, assemble
from inspector.graph import attributes, operator_of


def write_integers(plan: IntegerPlan, kept: frozenset[int] = frozenset()) -> onnx.ModelProto:
    """Write the QDQ network of a plan.

    Args:
        plan: What becomes integers, and on which grids.
        kept: Indices of the nodes that stay in float.
    """
    return _QdqWriter(plan, kept).write()


class _QdqWriter:
    """Writes one QDQ network."""

    def __init__(self, plan: IntegerPlan, kept: frozenset[int]) -> None:
        self.plan = plan
        self.kept = kept
        self.network = plan.network
        self.weights = dict(plan.network.weights)
        self.nodes: list[NodeProto] = []
        self.renamed: dict[str, str] = {}
        self.constants: dict[tuple[str, int, bytes, bytes], str] = {}
        self.taken = {n for node in self.network.nodes for n in (*node.input, *node.output)} | self.weights.keys()
        self.node_names = {node.name for node in self.network.nodes}
        self.integer = self._find_integer_tensors()
        self.float_ends = self._find_float_ends()

    def write(self) -> onnx.ModelProto:
        for name in self.network.inputs:
            if name in self.integer:
                # An input keeps its name, so its readers take another.
                inner = self._reserve(f"{name}/dequantised")
                self._add_pair(name, inner, name)
                self.renamed[name] = inner
        for i, node in enumerate(self.network.nodes):
            copy = NodeProto()
            copy.CopyFrom(node)
            for k, name in enumerate(node.input):
                copy.input[k] = self.renamed.get(name, name)
            if operator_of(node).integer_form == "weights" and i in self.plan.ends and i not in self.kept:
                self._quantize_weights(copy, node)
            pairs = []
            for k, name in enumerate(node.output):
                if name in self.integer:
                    copy.output[k] = self._reserve(f"{name}/float")
                    pairs.append((copy.output[k], name))
            self.nodes.append(copy)
            for inner, name in pairs:
                self._add_pair(self._guard(inner, name), name, name)
        return assemble(self.network, self.nodes, self.weights)

    def _find_integer_tensors(self) -> set[str]:
        """Tensors that get a quantized form: what integer nodes read, and what they give."""
        plan, found = self.plan, set()
        for i, end in plan.ends.items():
            node = self.network.nodes[i]
            if i in self.kept:
                continue
            if operator_of(node).integer_form == "weights":
                found.add(node.input[0])
                if node.op_type == "Conv":
                    found.add(end)
            else:
                found.update((*node.input, end))
        changed = True
        while changed:
            changed = False
            for node in self.network.nodes:
                if operator_of(node).integer_form == "moved" and node.output[0] in found and node.input[0] not in found:
                    found.add(node.input[0])
                    changed = True
        return {name for name in found if name in plan.grids}

    def _find_float_ends(self) -> set[str]:
        """The tensors behind nodes that are kept in float, and behind all with weights that cannot but stay there."""
        readers = self.network.readers()
        return {
            follow_activation(self.network, readers, node.output[0])[0]
            for i, node in enumerate(self.network.nodes)
            if i in self.kept or (operator_of(node).weighted and i not in self.plan.ends)
        }

    def _guard(self, start: str, tensor: str) -> str:
        """`start`, behind a sum of this one tensor where it comes from a node in float.

        Between integers onnxruntime computes such a node with integers by itself, float weights with one scale for all
        channels, unless something stands in between.
        """
        if tensor not in self.float_ends:
            return start
        name = self._reserve(f"{tensor}/guard")
        self.nodes.append(helper.make_node("Sum", [start], [name], name=name))
        return name

    def _reserve(self, name: str) -> str:
        found = next(n for k in itertools.count() if (n := f"{name}_{k}" if k else name) not in self.taken)
        self.taken.add(found)
        return found

    def _make(self, op: str, inputs: list[str], output: str, name: str, **settings: Any) -> NodeProto:
        """A node under a name that no other has: exporters share equal weights, and each reader gets its own node."""
        found = next(n for k in itertools.count() if (n := f"{name}_{k}" if k else name) not in self.node_names)
        self.node_names.add(found)
        return helper.make_node(op, inputs, [output], name=found, **settings)

    def _add_pair(self, start: str, end: str, tensor: str) -> None:
        """QuantizeLinear and DequantizeLinear from `start` to `end`, on the grid of `tensor`."""
        grid = self.plan.grids[tensor]
        scale, zero, between = (self._reserve(f"{tensor}/{word}") for word in ("scale", "zero", "integer"))
        self.weights[scale] = np.array(grid.scale, np.float32)
        self.weights[zero] = np.array(grid.zero, np.uint8)
        self.nodes += [
            self._make("QuantizeLinear", [start, scale, zero], between, f"{tensor}/quantise"),
            self._make("DequantizeLinear", [between, scale, zero], end, f"{tensor}/dequantise"),
        ]

    def _quantize_weights(self, copy: NodeProto, node: NodeProto) -> None:
        weight = self.network.weights[node.input[1]]
        axis = 0 if operator_of(node).rows_axis(node) == 0 else 1
        rows = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1).astype(np.float64)
        scales = _fit_scales(rows, self.plan.bits)
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
        copy.input[1] = self._add_constant(node.input[1], whole.astype(np.int8), scales.astype(np.float32), axis)
        if node.op_type == "MatMul":
            return
        shift = self._find_shift(node, error, weight)
        total = (bias.reshape(-1).astype(np.float64) if bias is not None else 0.0) - shift
        steps = scales.astype(np.float32).astype(np.float64) * step
        biases = np.clip(np.rint(total / steps), -(2**31) + 1, 2**31 - 1).astype(np.int32)
        name = self._add_constant(
            node.input[2] if bias is not None else f"{node.output[0]}/bias", biases, steps.astype(np.float32), 0
        )
        if len(copy.input) > 2:
            copy.input[2] = name
        else:
            copy.input.append(name)

    def _find_shift(self, node: NodeProto, error: NDArray[np.float64], weight: Array) -> NDArray[np.float64]:
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

    def _add_constant(self, name: str, integers: Array, scales: Array, axis: int) -> str:
        """Integers with a scale per channel, as the dequantized tensor that a node reads; equal ones once."""
        same = (name, axis, integers.tobytes(), scales.tobytes())
        if same in self.constants:
            return self.constants[same]
        whole, scale, zero, end = (
            self._reserve(f"{name}/{word}") for word in ("integer", "scale", "zero", "dequantised")
        )
        self.weights[whole], self.weights[scale] = integers, scales
        self.weights[zero] = np.zeros(scales.shape, integers.dtype)
        self.nodes.append(self._make("DequantizeLinear", [whole, scale, zero], end, f"{name}/dequantise", axis=axis))
        self.constants[same] = end
        return end


def _fit_scales(rows: NDArray[np.float64], bits: int) -> NDArray[np.float64]:
    """The scale of each row of weights (C, n) that its largest one just fits; never 0."""
    full = np.abs(rows).max(axis=1) / (2 ** (bits - 1) - 1)
    scales: NDArray[np.float64] = np.where(full > 0, full, 1.0)
    return scales
