"""Cuts the channels of a plan out of a graph."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper

from exporters.slimming.weights import Array, CutWeights
from inspector.graph import infer_types, node_inputs
from inspector.slimming import ChannelReader, CutConstant, CutNumber, SlimPlan

Bools = NDArray[np.bool_]


def cut_graph(plan: SlimPlan) -> onnx.ModelProto:
    """Write the graph of a plan without the channels that go.

    Args:
        plan: What goes.

    Returns:
        The model, with its weights in it and without metadata; nodes that nothing needs and weights that nothing reads
        are left out.
    """
    return _Cutter(plan).cut()


class _Cutter:
    """Cuts one graph."""

    def __init__(self, plan: SlimPlan) -> None:
        self.plan = plan
        self.graph = plan.graph
        self.gone: Bools = plan.chosen.gone
        self.low = plan.found.low_of()
        self.factor = plan.found.factor_of()
        self.constant = (self.low == plan.found.high_of()) & np.isfinite(self.low)
        self.weights = CutWeights(plan.graph, plan.found.constants)
        self.nodes: dict[int, NodeProto] = {}
        self.behind: dict[int, NodeProto] = {}
        self.values: dict[tuple[int, int], Array] = {}

    def cut(self) -> onnx.ModelProto:
        needed, _ = self.graph.needed(self.graph.outputs)
        for index in sorted(needed):
            if set(self.graph.nodes[index].output).isdisjoint(self.plan.found.constants):
                self.nodes[index] = NodeProto()
                self.nodes[index].CopyFrom(self.graph.nodes[index])
        for fixed in self.plan.found.fixed:
            self.values[fixed.node, fixed.position] = fixed.value
        for at, reader in enumerate(self.plan.found.readers):
            self._fold(at, reader)
        numbers: dict[tuple[int, int | str], list[CutNumber]] = {}
        for edit in self.plan.found.edits:
            if isinstance(edit, CutNumber):
                numbers.setdefault((edit.node, edit.where), []).append(edit)
        for edit in self.plan.found.edits:
            if isinstance(edit, CutConstant):
                self._cut_constant(edit)
        for (index, where), edits in numbers.items():
            self._count_again(index, where, edits)
        for (index, position), value in self.values.items():
            name = f"{self.graph.nodes[index].input[position]}/constant"
            self.nodes[index].input[position] = self.weights.put(name, value)
        self._leave_out()
        return self._assemble()

    def _leave_out(self) -> None:
        """Sums with nothing become their other operand; joins lose what is empty."""
        for fixed in self.plan.found.fixed:
            if fixed.idle is not None:
                node = self.nodes[fixed.node]
                self.nodes[fixed.node] = helper.make_node(
                    "Identity", [node.input[fixed.idle]], node.output, name=node.name
                )
        for index, node in self.nodes.items():
            if node.op_type == "Concat":
                parts = self.graph.nodes[index].input
                left = [name for name, old in zip(node.input, parts, strict=True) if not self._is_empty(old)]
                if left and len(left) < len(node.input):
                    del node.input[:]
                    node.input.extend(left)

    def _is_empty(self, name: str) -> bool:
        channels = self.plan.found.channels.get(name)
        return channels is not None and len(channels) > 0 and bool(self.gone[channels.units].all())

    def _keep(self, units: Array) -> Bools:
        """bool: which places along an axis stay."""
        return np.array([unit < 0 or not self.gone[unit] for unit in units], bool)

    def _cut_constant(self, edit: CutConstant) -> None:
        keep = self._keep(edit.units)
        name = self.graph.nodes[edit.node].input[edit.position]
        if (edit.node, edit.position) in self.values:
            value = self.values.pop((edit.node, edit.position))
            name = name if self.weights.holds(name) else f"{name}/constant"
            axis = edit.axis % value.ndim
            self.nodes[edit.node].input[edit.position] = self.weights.put(name, np.compress(keep, value, axis=axis))
        elif not keep.all():
            cut = ((edit.axis, np.flatnonzero(keep)),)
            self.nodes[edit.node].input[edit.position] = self.weights.slice(name, cut)

    def _count_again(self, index: int, where: int | str, edits: list[CutNumber]) -> None:
        """Numbers of channels, as they are behind the cut."""
        node = self.nodes[index]
        counts = [int(self._keep(edit.units).sum()) // edit.each for edit in edits]
        if all(self._keep(edit.units if edit.among is None else edit.among).all() for edit in edits):
            return
        if isinstance(where, str):
            self._set_attribute(node, where, edits, counts)
            return
        if len(node.input) <= where or not node.input[where]:
            for kept in [a for a in node.attribute if a.name == "num_outputs"]:
                node.attribute.remove(kept)
            while len(node.input) <= where:
                node.input.append("")
            node.input[where] = self.weights.put(f"{node.output[0]}/sizes", np.array(counts, np.int64))
            return
        name = node.input[where]
        value = np.array(self.weights.value(name))
        for edit, count in zip(edits, counts, strict=True):
            value.reshape(-1)[edit.index] = count
        node.input[where] = self.weights.put(name, value)

    def _set_attribute(self, node: NodeProto, name: str, edits: list[CutNumber], counts: list[int]) -> None:
        found = next((a for a in node.attribute if a.name == name), None)
        if edits[0].index is None:
            value: Any = counts[0]
        else:
            value = list(found.ints) if found is not None else [0] * len(edits)
            for edit, count in zip(edits, counts, strict=True):
                assert edit.index is not None
                value[edit.index] = count
        if found is not None:
            node.attribute.remove(found)
        node.attribute.append(helper.make_attribute(name, value))

    def _fold(self, at: int, reader: ChannelReader) -> None:
        """The weights of a node without what goes; what a constant added comes into its bias."""
        rows = self._keep(reader.rows)
        columns = np.ones(reader.touches.shape[1], bool) if reader.units is None else self._keep(reader.units)
        if rows.all() and columns.all():
            return
        node = self.nodes[reader.node]
        name = self.graph.nodes[reader.node].input[reader.position]
        stands = self.plan.chosen.stand_in.get(at, {})
        if not columns.all():
            self._add_constants(reader, columns)
        if stands or (reader.groups > 1 and not columns.all()):
            source = name
            if not self.weights.holds(source):
                source = self.graph.nodes[self.graph.producer_of[name]].input[0]
            value = self._merge(reader, self.weights.value(source), stands)
            value = _slice_groups(reader, value, rows, columns)
            if source == name:
                node.input[reader.position] = self.weights.put(name, value)
            else:
                node.input[reader.position] = self._put_behind(name, value, np.flatnonzero(rows))
            return
        cuts = [(axis, np.flatnonzero(keep)) for axis, keep in zip(reader.axes, (rows, columns), strict=True)
                if not keep.all()]  # fmt: skip
        node.input[reader.position] = self.weights.slice(name, tuple(cuts))

    def _put_behind(self, name: str, value: Array, rows: Array) -> str:
        """A constant that is dequantized, with other integers in it."""
        node = self.graph.nodes[self.graph.producer_of[name]]
        made = self.weights.slice(name, ((0, rows),))
        copy = next(each for each in self.weights.nodes if each.output[0] == made)
        copy.input[0] = self.weights.put(node.input[0], value)
        return made

    def _merge(self, reader: ChannelReader, value: Array, stands: dict[int, int]) -> Array:
        """The weights with those of channels that go added to those of the channels that stand in for them."""
        if not stands:
            return value
        assert reader.units is not None
        whole = np.moveaxis(value.astype(np.float64), reader.axes, (0, 1))
        each, inputs = len(reader.rows) // reader.groups, whole.shape[1]
        place = {int(unit): k for k, unit in enumerate(reader.units)}
        for own, other in stands.items():
            group = place[own] // inputs
            rows = slice(group * each, (group + 1) * each)
            ratio = self.factor[own] / self.factor[other]
            whole[rows, place[other] % inputs] += ratio * whole[rows, place[own] % inputs]
        return np.moveaxis(whole, (0, 1), reader.axes).astype(value.dtype)

    def _add_constants(self, reader: ChannelReader, columns: Bools) -> None:
        """Add what constants that go have added to every place to the bias, or behind the node where it has none."""
        assert reader.units is not None
        fixed = ~columns & self.constant[reader.units] & (self.low[reader.units] != reader.zero)
        if reader.sums is None or not (reader.touches & fixed).any():
            return
        each, inputs = len(reader.rows) // reader.groups, reader.sums.shape[1]
        added = np.zeros(len(reader.rows))
        for place in np.flatnonzero(fixed):
            rows = slice(place // inputs * each, (place // inputs + 1) * each)
            added[rows] += reader.sums[rows, place % inputs] * (self.low[reader.units[place]] - reader.zero)
        if reader.step is not None:
            self._add_steps(reader, np.rint(added / reader.step).astype(np.int32))
            return
        node = self.nodes[reader.node]
        keep = self._keep(reader.rows)
        kind = self.weights.value(self.graph.nodes[reader.node].input[reader.position]).dtype
        if reader.bias is None:
            self._add_behind(reader, added[keep].astype(kind))
        elif len(node.input) > reader.bias and node.input[reader.bias]:
            bias = self.weights.value(self.graph.nodes[reader.node].input[reader.bias])
            if bias.size == len(added):
                self.values[reader.node, reader.bias] = (bias + added.reshape(bias.shape)).astype(bias.dtype)
            else:
                whole = np.broadcast_to(bias.reshape(-1), len(added)) + added
                node.input[reader.bias] = self.weights.put(node.input[reader.bias], whole.astype(bias.dtype))
        else:
            self._give_bias(reader, added[keep].astype(kind))

    def _give_bias(self, reader: ChannelReader, value: Array) -> None:
        """A bias for a node that could have one and has none."""
        node = self.nodes[reader.node]
        assert reader.bias is not None
        while len(node.input) <= reader.bias:
            node.input.append("")
        node.input[reader.bias] = self.weights.put(f"{node.output[0]}/bias", value)

    def _add_steps(self, reader: ChannelReader, steps: Array) -> None:
        """Add to a bias of integers, or to the integers that a bias is dequantized from."""
        node, keep = self.nodes[reader.node], self._keep(reader.rows)
        assert reader.bias is not None
        name = node.input[reader.bias] if len(node.input) > reader.bias else ""
        if not name:
            self._give_bias(reader, steps[keep])
        elif self.weights.holds(name):
            self.values[reader.node, reader.bias] = self.weights.value(name) + steps
        else:
            source = self.graph.nodes[self.graph.producer_of[name]].input[0]
            value = (self.weights.value(source) + steps)[keep]
            node.input[reader.bias] = self._put_behind(name, value, np.flatnonzero(keep))

    def _add_behind(self, reader: ChannelReader, added: Array) -> None:
        """A sum behind a node that takes no bias."""
        node = self.nodes[reader.node]
        name = node.output[0]
        node.output[0] = self.weights.free_name(name)
        bias = self.weights.put(f"{name}/bias", added)
        self.behind[reader.node] = helper.make_node("Add", [node.output[0], bias], [name])

    def _assemble(self) -> onnx.ModelProto:
        """The model of the nodes that are still needed."""
        source = self.graph.proto
        proto = onnx.ModelProto()
        proto.ir_version = max(source.ir_version, 4)  # before 4 every weight had to be an input too
        proto.opset_import.extend(source.opset_import)
        proto.producer_name, proto.producer_version = source.producer_name, source.producer_version
        proto.graph.name = source.graph.name or "graph"
        given = {each.name for each in self.graph.inputs}
        proto.graph.input.extend(value for value in source.graph.input if value.name in given)
        proto.graph.output.extend(self._declare(value) for value in source.graph.output)
        order = [each for index in sorted(self.nodes) for each in self._list_nodes(index)]
        proto.graph.node.extend(_keep_needed([*self.weights.nodes, *order], self.graph.outputs))
        for node in proto.graph.node:
            # Source lines and paths of the exporting machine have no place in what is shipped.
            del node.metadata_props[:]
            node.doc_string = ""
        read = {name for node in proto.graph.node for name in node_inputs(node)} | set(self.graph.outputs)
        names = dict.fromkeys([*self.graph.initializers, *self.plan.found.constants, *self.weights.made])
        proto.graph.initializer.extend(self.weights.finish(name) for name in names if name in read)
        return proto

    def _list_nodes(self, index: int) -> Iterable[NodeProto]:
        yield self.nodes[index]
        if index in self.behind:
            yield self.behind[index]

    def _declare(self, value: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
        """An output, with the number of channels that it still has."""
        keep = self.plan.keep_of(value.name)
        copy = onnx.ValueInfoProto()
        copy.CopyFrom(value)
        if not value.HasField("type"):  # onnxruntime takes an output of no declared type, the checker does not
            for known in infer_types(self.graph.proto):
                if known.name == value.name:
                    copy.type.CopyFrom(known.type)
        dims = copy.type.tensor_type.shape.dim
        if value.type.HasField("tensor_type") and not value.type.tensor_type.HasField("shape"):
            for _ in self.plan.sizes.get(value.name, ()):  # the checker wants to know at least how many axes there are
                dims.add()
        if keep is None:
            return copy
        axis = self.plan.found.channels[value.name].axis
        if len(dims) > axis and dims[axis].HasField("dim_value"):
            dims[axis].dim_value = len(keep)
        return copy


def _slice_groups(reader: ChannelReader, value: Array, rows: Bools, columns: Bools) -> Array:
    """The weights of the outputs and inputs that stay; inputs are counted within each group."""
    whole = np.moveaxis(value, reader.axes, (0, 1))
    each, inputs = len(rows) // reader.groups, whole.shape[1]
    parts = []
    for group in range(reader.groups):
        own = slice(group * each, (group + 1) * each)
        seen = columns[group * inputs : (group + 1) * inputs]
        parts.append(whole[own][rows[own]][:, seen])
    return np.moveaxis(np.concatenate(parts), (0, 1), reader.axes)


def _keep_needed(nodes: list[NodeProto], outputs: Iterable[str]) -> list[NodeProto]:
    """The nodes that the outputs depend on, in their order."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(node_inputs(node))
    return kept[::-1]
