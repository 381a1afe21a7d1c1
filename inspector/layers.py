"""The layers of a graph: the tensors a person would look at, under names a person would use.

Our own exports carry the list in their metadata. For every other file it is found here: which nodes matter, which
belong together (a convolution with its norm, x * sigmoid(x)), what they are called, and which axis holds the channels.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import onnx

from inspector.errors import LayerNotFound, listing, nearest
from inspector.graph import Graph, attributes, node_inputs, shape_of
from inspector.metadata import LayerEntry

if TYPE_CHECKING:
    from onnx import NodeProto

Size = int | str | None


@dataclass(frozen=True)
class Layer:
    """One layer of a graph.

    name: unique; torch module path or cleaned node path. tensor: name of its tensor in the graph.
    kind: conv, norm, activation, pool, add, gate, concat, linear, resize or softmax.
    shape: (N, C, H, W) or (N, K), also where the tensor itself is (N, H, W, C); a str or None where it is not fixed.
        None as a whole when nothing is known before a run.
    exposed: the tensor is an output of the file as it stands.
    channels_last: the tensor holds its channels on the last axis; activations are given channels first all the same.
    """

    name: str
    tensor: str
    kind: str
    shape: tuple[Size, ...] | None
    exposed: bool
    channels_last: bool = False
    aliases: tuple[str, ...] = field(default=(), repr=False)

    @property
    def channels(self) -> int | None:
        """Number of channels C (or K), None when the graph does not fix it."""
        size = self.shape[1] if self.shape and len(self.shape) > 1 else None
        return size if isinstance(size, int) else None

    @property
    def spatial(self) -> bool:
        """Whether it is a stack of maps that may be larger than 1x1."""
        return self.shape is not None and len(self.shape) >= 3 and any(size != 1 for size in self.shape[2:])


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
_ELEMENTWISE_PAIR = {"Add": "add", "Sum": "add", "QLinearAdd": "add", "Mul": "gate", "QLinearMul": "gate"}
_UNARY = frozenset(
    (
        "Sigmoid HardSigmoid HardSwish Tanh Relu Clip Softplus Erf Exp Log Neg Abs Sqrt Reciprocal Cast Identity "
        "Elu LeakyRelu Softsign Gelu"
    ).split()
)
_NONLINEAR = _UNARY - {"Neg", "Cast", "Identity"}
_BINARY = frozenset({"Add", "Sub", "Mul", "Div", "Pow", "Max", "Min"})
_AFFINE = frozenset({"Add", "Sub", "Mul", "Div"})
_SAME_LAYOUT = (_UNARY | _BINARY) | frozenset(
    (
        "Relu PRelu Dropout BatchNormalization Sum Concat Where Selu Celu Mish Softmax QuantizeLinear "
        "DequantizeLinear Pad ThresholdedRelu LayerNormalization Swish Resize Slice"
    ).split()
)
_OP_WORD = {
    "GlobalAveragePool": "avgpool",
    "AveragePool": "avgpool",
    "GlobalMaxPool": "maxpool",
    "ReduceMean": "avgpool",
    "ReduceMax": "maxpool",
    "Gemm": "linear",
    "MatMul": "linear",
    "BatchNormalization": "bn",
    "Sum": "add",
}
_SHAPE_OPS = frozenset({"Shape", "Size", "NonZero", "ArgMax", "ArgMin", "TopK", "NonMaxSuppression"})
_MAX_CHAIN = 8


def find_layers(graph: Graph, entries: Sequence[LayerEntry] = ()) -> tuple[Layer, ...]:
    """The layers of `graph` in topological order.

    entries: the list in the metadata; when it is empty, or names nothing that the graph has, the layers are found.
    """
    known = [e for e in entries if e.tensor in graph.producer_of]
    found = _from_entries(graph, known) if known else _Finder(graph).layers()
    unique = _unique(found)
    outputs = set(graph.outputs)
    return tuple(replace(layer, exposed=layer.tensor in outputs) for layer in unique)


def find_layer(layers: Sequence[Layer], name: str) -> Layer:
    """The layer that goes by `name`: its name, an alias, else a unique suffix or substring of a name, any case last.

    Raises LayerNotFound with the three nearest names, or with the candidates when there are several.
    """
    wanted = name.strip()
    if not layers:
        raise LayerNotFound("this model has no layers")
    exact = [x for x in layers if x.name == wanted] or [x for x in layers if wanted in x.aliases]
    if exact:
        return exact[-1]
    for fold in (str, str.lower):
        text = fold(wanted)
        for test in (_is_ending, str.endswith, str.__contains__):
            hits = [x for x in layers if text and test(fold(x.name), text)]
            if len(hits) == 1:
                return hits[0]
            if hits:
                raise LayerNotFound(
                    f"{len(hits)} layers go by {wanted!r}: {listing([h.name for h in hits])}",
                    "give more of the name",
                )
    near = nearest(wanted, [x.name for x in layers] + [a for x in layers for a in x.aliases])
    raise LayerNotFound(f"there is no layer {wanted!r}; nearest: {', '.join(near)}", "see `inspector layers MODEL`")


def _is_ending(name: str, text: str) -> bool:
    return name.endswith("." + text)


def _from_entries(graph: Graph, entries: Iterable[LayerEntry]) -> list[Layer]:
    finder = _Finder(graph)
    order = {e.tensor: graph.producer_of[e.tensor] for e in entries}
    return [
        Layer(
            name=e.name,
            tensor=e.tensor,
            kind=e.kind,
            shape=finder.shape(e.tensor),
            exposed=False,
            channels_last=finder.is_channels_last(e.tensor),
            aliases=e.aliases,
        )
        for e in sorted(entries, key=lambda e: order[e.tensor])
    ]


def _unique(layers: Iterable[Layer]) -> Iterator[Layer]:
    """Names made unique: the second `relu` becomes `relu_1`, as torch.fx counts calls of one module."""
    layers = list(layers)
    taken: set[str] = set()
    given = {layer.name for layer in layers}
    for layer in layers:
        name, count = layer.name, 0
        while name in taken or (count and name in given):
            count += 1
            name = f"{layer.name}_{count}"
        taken.add(name)
        yield replace(layer, name=name)


@dataclass
class _Found:
    """A layer on its way: `first` is the node it is named after, `last` the one that makes its tensor."""

    first: int
    last: int
    kind: str


class _Finder:
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
            op = node.op_type
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

    def layers(self) -> list[Layer]:
        """The layers found, named, in topological order."""
        hidden: set[int] = set()
        found: list[_Found] = []
        owner: dict[int, _Found] = {}
        for i, node in enumerate(self.nodes):
            if i in hidden or not any(name in self.data for name in node.input):
                continue
            candidate = self._candidate(i, node)
            if candidate is None:
                continue
            inside = self._inside(candidate)
            hidden |= inside | ({candidate.last} - {i})
            # A sigmoid found before the product that makes it a gate of its own input belongs to that product.
            found = [f for f in found if f.last not in inside]
            found.append(candidate)
            owner[candidate.last] = candidate
        found = [f for f in found if self._looks_like_maps(self.nodes[f.last].output[0])]
        found.sort(key=lambda f: f.last)
        return [
            Layer(
                name=name,
                tensor=self.nodes[f.last].output[0],
                kind=f.kind,
                shape=self.shape(self.nodes[f.last].output[0]),
                exposed=False,
                channels_last=self.is_channels_last(self.nodes[f.last].output[0]),
                aliases=aliases,
            )
            for f, (name, aliases) in zip(found, _Namer(self, found).names(), strict=True)
        ]

    def _candidate(self, i: int, node: NodeProto) -> _Found | None:
        op = node.op_type
        data = [name for name in dict.fromkeys(node.input) if name in self.data]
        if op in ("Mul", "Add", "Max", "Min") and (chain := self._self_gate(i, node)):
            return _Found(min(chain), self._scaled(i), "activation")
        if op in _ELEMENTWISE_PAIR:
            return _Found(i, i, _ELEMENTWISE_PAIR[op]) if len(data) > 1 else None
        if op == "MatMul":
            constant = len(node.input) == 2 and node.input[1] not in self.data
            return _Found(i, self._folded(i), "linear") if constant else None
        if op in ("ReduceMean", "ReduceMax", "ReduceSum", "ReduceL2"):
            return _Found(i, i, "pool") if self._is_spatial_reduction(node) else None
        kind = KIND_OF.get(op)
        if kind == "concat" and len(data) < 2:
            return None
        if kind in ("conv", "linear"):
            return _Found(i, self._folded(i), kind)
        return _Found(i, i, kind) if kind else None

    def _inside(self, found: _Found) -> set[int]:
        """Nodes between first and last that the layer swallows."""
        if found.first == found.last:
            return set()
        nodes = self.graph.needed([self.nodes[found.last].output[0]], list(self.nodes[found.first].input))[0]
        between = {n for n in nodes if found.first <= n < found.last}
        return self.interior(found) | between if found.kind == "activation" else between

    def _only_reader(self, tensor: str) -> int | None:
        """The node that alone reads `tensor`; None when several do or it is an output of the file."""
        readers = self.graph.consumers_of.get(tensor, [])
        return readers[0] if len(readers) == 1 and tensor not in self.outputs else None

    def _folded(self, i: int) -> int:
        """The last node of the convolution or linear with its norm, bias and per-channel scale folded in."""
        rank_known = False
        while True:
            reader = self._only_reader(self.nodes[i].output[0])
            if reader is None:
                return i
            node = self.nodes[reader]
            if node.op_type == "BatchNormalization" and not rank_known:
                rank_known = True
            elif not (node.op_type in _AFFINE and self._is_channel_vector(node)):
                return i
            i = reader

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
        sizes = [d for d in tensor.dims if d != 1] if tensor is not None else []
        return len(sizes) == 1

    def _is_constant_scalar(self, node: NodeProto) -> bool:
        constants = [name for name in node.input if name not in self.data]
        if len(constants) != 1 or len(node.input) != 2:
            return False
        tensor = self.graph.initializers.get(constants[0])
        return tensor is not None and all(d == 1 for d in tensor.dims)

    def _scaled(self, i: int) -> int:
        """Past a multiplication by a scalar: gelu and hard-swish written out end in one."""
        reader = self._only_reader(self.nodes[i].output[0])
        if (
            reader is not None
            and self.nodes[reader].op_type in ("Mul", "Div")
            and self._is_constant_scalar(self.nodes[reader])
        ):
            chain = self._self_gate(i, self.nodes[i])
            if any(self.nodes[n].op_type in ("Erf", "Tanh", "Clip", "Relu") for n in chain):
                return reader
        return i

    def _sources(self, tensor: str) -> list[str]:
        """`tensor` and the tensors it is an elementwise function of, nearest first."""
        return [tensor] + [next(name for name in self.nodes[i].input if name in self.data) for i in self._walk(tensor)]

    def _walk(self, tensor: str) -> list[int]:
        """Elementwise nodes with one data operand that lead to `tensor`, nearest first."""
        chain: list[int] = []
        while len(chain) < _MAX_CHAIN:
            i = self.graph.producer_of.get(tensor)
            if i is None:
                break
            node = self.nodes[i]
            data = [name for name in node.input if name in self.data]
            if len(data) != 1 or not (node.op_type in _UNARY or node.op_type in _BINARY):
                break
            chain.append(i)
            tensor = data[0]
        return chain

    def _self_gate(self, i: int, node: NodeProto) -> set[int]:
        """The nodes of x * f(x) (silu, hard-swish, gelu, mish written out), f elementwise; empty if it is not one."""
        if len(node.input) != 2:
            return set()
        a, b = node.input
        if a not in self.data or b not in self.data or a == b:
            return set()
        left, right = self._sources(a), self._sources(b)
        common = next((name for name in left if name in right), None)
        if common is None:
            return set()
        chain = self._walk(a)[: left.index(common)] + self._walk(b)[: right.index(common)]
        if not any(self.nodes[n].op_type in _NONLINEAR for n in chain):
            return set()
        return {*chain, i}

    def interior(self, found: _Found) -> set[int]:
        """Nodes inside a written-out activation that no one else reads."""
        if found.first == found.last:
            return set()
        last, node = found.last, self.nodes[found.last]
        gate = self._self_gate(last, node) if len(node.input) == 2 else set()
        if not gate:
            before = self.graph.producer_of.get(next(name for name in node.input if name in self.data))
            gate = {before, *self._self_gate(before, self.nodes[before])} if before is not None else set()
        return {n for n in gate if n != last and self._private(n, gate)}

    def _private(self, n: int, group: set[int]) -> bool:
        """Whether nothing outside the group reads what node `n` makes."""
        readers = self.graph.consumers_of.get(self.nodes[n].output[0], [])
        ends = {max(group), *(r for r in readers if self._is_constant_scalar(self.nodes[r]))}
        return all(r in group or r in ends for r in readers) and self.nodes[n].output[0] not in self.outputs

    def _is_spatial_reduction(self, node: NodeProto) -> bool:
        values = attributes(node).get("axes")
        if (
            values is None
            and len(node.input) > 1
            and (tensor := self.graph.initializers.get(node.input[1])) is not None
        ):
            values = onnx.numpy_helper.to_array(tensor).ravel().tolist() if not tensor.external_data else None
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


# --- names ------------------------------------------------------------------------------------------------------------

_SCOPES = "pkg.torch.onnx.name_scopes"
_GENERIC = re.compile(
    r"^(?:node_|n|op|p2o\.|onnx::|r|t|x|val_|getitem_?|const_fold_opt_+|tensor_|_v_|linear_?|mean_?|add_?)?"
    r"(?:[A-Z][A-Za-z]*)?[_.:-]*\d*$"
)
_NOISE = frozenset({"statefulpartitionedcall", "partitionedcall", "model", "graph", "main_graph", "torch_jit", ""})
_TF_OPS = frozenset(
    (
        "conv2d conv1d conv3d biasadd biasadd_1 fusedbatchnorm fusedbatchnormv2 fusedbatchnormv3 depthwise "
        "separable_conv2d depthwiseconv2dnative matmul relu relu6 add addv2 mul maxpool avgpool mean concat "
        "concatv2 softmax convolution tensordot"
    ).split()
)
_WEIGHT_END = re.compile(
    r"(?:[./_](?:weight|weights|kernel|w|W|filter)(?:_quantized)?(?:[:_]\d+)?|/ReadVariableOp(?::0)?|/read(?:_+\d+)?(?::0)?"
    r"|[._]w_\d+|:0)+$"
)
_CALL_END = re.compile(r"(?:_\d+|_?quant(?:ized)?)+$")
_WRITTEN_OUT = (
    ("Sigmoid", "silu"),
    ("HardSigmoid", "hardswish"),
    ("Erf", "gelu"),
    ("Softplus", "mish"),
    ("Clip", "hardswish"),
    ("Relu", "relu"),
    ("Tanh", "gelu"),
)
"""Words for activations written out as x * f(x), by an operator in f."""
_VALUE_END = re.compile(r"(?:__\d+|:\d+|_output_\d+|\.tmp_\d+)+$")


class _Namer:
    """Names for found layers, best source first: torch scopes, node path, weight, tensor, neighbour."""

    def __init__(self, finder: _Finder, found: Sequence[_Found]) -> None:
        self.finder = finder
        self.graph = finder.graph
        self.found = found
        self.scopes = [_scopes(node) for node in finder.nodes]
        self.last_of_scope = {path: i for i, paths in enumerate(self.scopes) for path in paths}
        self.weighted = Counter((self.scopes[f.last][-1], f.kind) for f in found if self.scopes[f.last])
        self.operators = {op.lower() for op in KIND_OF} | _TF_OPS | {"add", "mul"}

    def names(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """(name, aliases) of each found layer; the caller makes names unique."""
        paths = [self._path(f) for f in self.found]
        prefix = _common_prefix([path for path in paths if path])
        owner = {self.finder.nodes[f.last].output[0]: f for f in self.found}
        base: dict[str, str] = {}
        taken: set[str] = set()
        for f, path in zip(self.found, paths, strict=True):
            name, aliases = self._from_scopes(f)
            if not name:
                before = base.get(self._before(f, owner), "")
                word = self._word(f)
                # Without a name of its own a layer is called after the last one that has: conv1.relu, conv1.maxpool.
                name = ".".join(path[len(prefix) :]) or (f"{before}.{word}" if before else word)
                base[self.finder.nodes[f.last].output[0]] = name if path else before
                name = f"{name}.{word}" if name in taken and path else name
            taken.add(name)
            yield name, aliases

    def _word(self, f: _Found) -> str:
        """A short word for the operation: relu, silu, add, maxpool."""
        first = self.finder.nodes[f.first].op_type
        ops = {self.finder.nodes[n].op_type for n in self.finder.interior(f)} if f.kind == "activation" else set()
        if not ops:
            return _OP_WORD.get(first, first.lower())
        return next((word for op, word in _WRITTEN_OUT if op in ops), "activation")

    def _before(self, f: _Found, owner: dict[str, _Found]) -> str:
        """Tensor of the layer that this one reads, stepping over nodes that are no layers."""
        tensors = [name for name in self.finder.nodes[f.first].input if name in self.finder.data]
        for _ in range(64):
            if not tensors:
                return ""
            tensor = max(tensors, key=lambda t: self.graph.producer_of.get(t, -1))
            if tensor in owner and owner[tensor] is not f:
                return tensor
            i = self.graph.producer_of.get(tensor)
            tensors = [n for n in self.finder.nodes[i].input if n in self.finder.data] if i is not None else []
        return ""

    def _from_scopes(self, f: _Found) -> tuple[str, tuple[str, ...]]:
        """The torch module whose output the tensor is, and every module that ends with it."""
        paths = self.scopes[f.last]
        if not paths:
            return "", ()
        ends = [path for path in paths if path and self.last_of_scope[path] == f.last]
        inner = paths[-1]
        node = self.finder.nodes[f.first]
        name = ""
        if f.kind in ("conv", "linear"):
            weight = next((n for n in node.input[1:2] if n.endswith(".weight")), "")
            name = weight.removesuffix(".weight")
        if not name:
            word = self._word(f)
            # A module with one weighted operation in it is that operation, whatever else it does around it.
            alone = f.kind in ("conv", "linear", "norm") and self.weighted.get((inner, f.kind)) == 1
            module = alone or _module_like(inner, word)
            if inner and (module or inner in ends):
                name = inner
            else:
                name = f"{inner}.{word}" if inner else word
        return name, tuple(
            path
            for path in dict.fromkeys((*reversed(paths[-1:]), *ends))
            if path and path != name and (path in ends or (path == inner and f.kind in ("conv", "linear")))
        )

    def _path(self, f: _Found) -> list[str]:
        """Parts of the most telling name in the file: the node's, its weight's, its tensor's; empty if none tells."""
        first, last = self.finder.nodes[f.first], self.finder.nodes[f.last]
        return self._parts(first.name) or self._of_weight(f, first) or self._of_value(last.output[0])

    def _of_weight(self, f: _Found, node: NodeProto) -> list[str]:
        for name in node.input[1:3] if f.kind in ("conv", "linear", "norm") else ():
            stem = _WEIGHT_END.sub("", name)
            if name not in self.finder.data and not _GENERIC.match(stem) and not name.startswith("onnx::"):
                return _split(stem)
        return []

    def _of_value(self, name: str) -> list[str]:
        stem = _VALUE_END.sub("", name)
        # A tensor called after a node's path ("/conv1/Conv_output_0") tells nothing that the path did not.
        silent = not stem or _GENERIC.match(stem) or name.startswith("onnx::") or stem.startswith("/")
        return [] if silent else _split(stem)

    def _parts(self, name: str) -> list[str]:
        """The informative parts of a node's path; empty when there are none."""
        if not name or _GENERIC.match(name):
            return []
        raw = _split(name)
        if len(raw) > 1 and _CALL_END.sub("", raw[-1]).lower() in self.operators:
            number = re.search(r"_(\d+)$", raw[-1])
            # torch's second `Add` directly under one module is another call of it, not part of its name.
            raw = raw[:-1] if not number else [*raw[:-1], raw[-1].lower()]
        elif len(raw) == 1 and raw[0].lower() in self.operators:
            raw = [raw[0].lower()]
        parts: list[str] = []
        for part in raw:
            if parts and part.startswith(parts[-1] + "."):
                parts.pop()
            parts.append(part)
        return parts


def _split(name: str) -> list[str]:
    return [part for part in name.strip("/").split("/") if part.lower() not in _NOISE]


def _common_prefix(paths: Sequence[Sequence[str]]) -> list[str]:
    """Leading parts that all paths share and that none consists of; they say nothing."""
    if len(paths) < 2:
        return []
    shortest = min(len(path) for path in paths) - 1
    shared: list[str] = []
    for parts in zip(*(path[:shortest] for path in paths), strict=True):
        if len(set(parts)) != 1:
            break
        shared.append(parts[0])
    return shared


def _module_like(path: str, word: str) -> bool:
    """Whether the innermost scope is itself the module of this operation (`relu`, `act1`, `pool`) and not a block."""
    leaf: str = path.rsplit(".", 1)[-1].lower().strip("_0123456789")
    return bool(leaf) and (
        leaf in word or word in leaf or leaf in {"act", "swish", "activation", "avgpool", "avg_pooling", "pool", "relu"}
    )


def _scopes(node: NodeProto) -> tuple[str, ...]:
    """Module paths around a node as one of torch's exporters wrote them, outermost first; empty for other files."""
    for entry in node.metadata_props:
        if entry.key == _SCOPES:
            try:
                value = ast.literal_eval(entry.value)
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                return ()
            # The last entry is the name of the fx node, not a module.
            return tuple(str(v) for v in value[:-1]) if isinstance(value, list) else ()
    path, _, operation = node.name.rpartition("/")
    if not node.name.startswith("/") or _CALL_END.sub("", operation) != node.op_type:
        return ()
    # The older exporter: /layer1/layer1.0/conv1/Conv, where a child of a Sequential repeats its parent's name.
    scopes = [""]
    for part in path.strip("/").split("/") if path.strip("/") else ():
        known = scopes[-1].split(".")
        repeated = next((k for k in range(len(known)) if part.startswith(".".join(known[k:]) + ".")), len(known))
        scopes.append(".".join([*filter(None, known[:repeated]), part]))
    return tuple(scopes)


def layout_of(shape: Sequence[Size] | None) -> str:
    """NCHW or NHWC by where a size of 1, 3 or 4 stands; NCHW when both or neither would fit."""
    if shape is None or len(shape) != 4:
        return "NCHW"
    first, last = shape[1] in (1, 3, 4), shape[3] in (1, 3, 4)
    return "NHWC" if last and not first else "NCHW"


def inferred_shapes(graph: Graph) -> dict[str, tuple[Size, ...] | None]:
    """Shapes of all tensors by onnx's shape inference on the structure alone; empty where it fails."""
    try:
        inferred = onnx.shape_inference.infer_shapes(graph.proto, data_prop=True)
    except Exception:  # a C++ error type of the onnx package; a run will tell the shapes
        return {}
    groups = (inferred.graph.value_info, inferred.graph.output, inferred.graph.input)
    return {v.name: _nameless(shape_of(v)) for group in groups for v in group}


def _nameless(shape: tuple[Size, ...] | None) -> tuple[Size, ...] | None:
    """Without the symbols that inference makes up; they mean no more than "not known"."""
    return shape and tuple(None if isinstance(s, str) and s.startswith("unk__") else s for s in shape)
