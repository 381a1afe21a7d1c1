"""The layers of a graph: the tensors a person would look at, under names a person would use.

Our own exports carry the list in their metadata. For every other file it is found here: which nodes matter, which
belong together (a convolution with its norm, x * sigmoid(x)), what they are called, and which axis holds the channels.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from inspector.errors import LayerNotFound, listing, nearest
from inspector.graph import Graph, attributes, infer_types, is_standard, node_inputs, shape_of
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
_REDUCTIONS = frozenset({"ReduceMean", "ReduceMax", "ReduceSum", "ReduceL2"})
_SHAPE_OPS = frozenset({"Shape", "Size", "NonZero", "ArgMax", "ArgMin", "TopK", "NonMaxSuppression"})
_MAX_CHAIN = 24
"""Nodes of an activation written out; gelu by tanh has ten, and each may be quantised."""


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
    """The layer that goes by `name`: name, alias or tensor, else a unique suffix or substring, any case last.

    Raises LayerNotFound with the three nearest names, or with the candidates when there are several.
    """
    wanted = name.strip()
    if not layers:
        raise LayerNotFound("this model has no layers")
    exact = [x for x in layers if x.name == wanted] or [x for x in layers if wanted in (*x.aliases, x.tensor)]
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
    layers = [replace(layer, name=_shown(layer.name)) for layer in layers]
    taken: set[str] = set()
    given = {layer.name for layer in layers}
    for layer in layers:
        name, count = layer.name, 0
        while name in taken or (count and name in given):
            count += 1
            name = f"{layer.name}_{count}"
        taken.add(name)
        yield replace(layer, name=name)


def _shown(name: str) -> str:
    """A name that a terminal and a file name can take: no control characters, at most 200 characters."""
    clean = "".join(c if c.isprintable() else "_" for c in name)
    return clean if len(clean) <= 200 else f"{clean[:99]}…{clean[-100:]}"


@dataclass
class _Found:
    """A layer on its way: `first` is the node it is named after, `last` the one that makes its tensor.

    inside: the other nodes that it consists of, and that no one else reads.
    """

    first: int
    last: int
    kind: str
    inside: frozenset[int] = frozenset()


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

    def layers(self) -> list[Layer]:
        """The layers found, named, in topological order."""
        hidden: set[int] = set()
        found: list[_Found] = []
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
        if op in ("Mul", "Add", "Sub", "Max", "Min") and (written_out := self._written_out(i, node)):
            return written_out
        if op in _ELEMENTWISE_PAIR:
            return _Found(i, i, _ELEMENTWISE_PAIR[op]) if len(data) > 1 else None
        if op == "MatMul":
            constant = len(node.input) == 2 and node.input[1] not in self.data
            return self._folded(i, "linear") if constant else None
        if op in _REDUCTIONS and is_standard(node):
            return _Found(i, i, "pool") if self._is_spatial_reduction(node) else None
        kind = KIND_OF.get(op)
        if kind == "concat" and len(data) < 2:
            return None
        if kind in ("conv", "linear") or op == "BatchNormalization":
            return self._folded(i, str(kind))
        return _Found(i, i, kind) if kind else None

    def _only_reader(self, tensor: str) -> int | None:
        """The node that alone reads `tensor`; None when several do or it is an output of the file."""
        readers = self.graph.consumers_of.get(tensor, [])
        return readers[0] if len(readers) == 1 and tensor not in self.outputs else None

    def _folded(self, first: int, kind: str) -> _Found:
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
        return _Found(first, nodes[-1], kind, frozenset(nodes[:-1]))

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

    def _written_out(self, i: int, node: NodeProto) -> _Found | None:
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
        return _Found(
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


# --- names ------------------------------------------------------------------------------------------------------------

_SCOPES = "pkg.torch.onnx.name_scopes"
_GENERIC = re.compile(
    r"^(?:node_|n|op|p2o\.|onnx::|r|t|x|val_|getitem_?|const_fold_opt_+|tensor_|tmp_|_v_|linear_?|mean_?|add_?)?"
    r"(?:[A-Z][A-Za-z]*)?[_.:-]*\d*$"
)
_NOISE = frozenset({"statefulpartitionedcall", "partitionedcall", "model", "graph", "main_graph", "torch_jit", ""})
_TF_OPS = frozenset(
    (
        "conv2d conv1d conv3d biasadd biasadd_1 fusedbatchnorm fusedbatchnormv2 fusedbatchnormv3 depthwise "
        "separable_conv2d depthwiseconv2dnative matmul relu relu6 add addv2 mul maxpool avgpool mean concat "
        "concatv2 softmax convolution tensordot max"
    ).split()
)
_WEIGHT_END = re.compile(
    r"(?:[./_](?:weight|weights|kernel|w|W|filter|scale|gamma|bias|b|B)(?:_quantized)?(?:[:_]\d+)?|/ReadVariableOp(?:_\d+)?"
    r"|/read(?:_+\d+)?|:0)+$"
)
_GENERIC_WEIGHT = re.compile(r"^(?:onnx::|val_|const_fold_opt_+|[a-zA-Z])?(?:[A-Z][A-Za-z]*)?[_.:-]*\d*$")
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
_QUANTISED_END = re.compile(r"(?:_quantized|_zero_point|_scale|_(?:De)?[Qq]uantizeLinear(?:_(?:Output|Input))?)+$")
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
        self.operators = {op.lower() for op in (*KIND_OF, *_ELEMENTWISE_PAIR, *_REDUCTIONS)} | _TF_OPS

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
                before = self._common_base(f, owner, base) or base.get(self._before(f, owner), "")
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
        ops = {self.finder.nodes[n].op_type for n in f.inside} if f.kind == "activation" else set()
        if not ops:
            return _OP_WORD.get(first, first.lower())
        return next((word for op, word in _WRITTEN_OUT if op in ops), "activation")

    def _common_base(self, f: _Found, owner: dict[str, _Found], base: dict[str, str]) -> str:
        """What the names of all that a concat joins begin with: fire2 for fire2.expand1x1 and fire2.expand3x3."""
        if f.kind != "concat":
            return ""
        inputs = [name for name in self.finder.nodes[f.first].input if name in self.finder.data]
        names = [base.get(self._before(f, owner, [name]), "").split(".") for name in inputs]
        shared = _common_prefix([[*name, ""] for name in names])
        return ".".join(shared)

    def _before(self, f: _Found, owner: dict[str, _Found], tensors: Sequence[str] = ()) -> str:
        """Tensor of the layer that this one reads, stepping over nodes that are no layers."""
        tensors = tensors or [name for name in self.finder.nodes[f.first].input if name in self.finder.data]
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
        places = slice(3, 4) if node.op_type.startswith(("QLinear", "QGemm")) else slice(1, 3)
        for name in node.input[places] if f.kind in ("conv", "linear", "norm") else ():
            stem = _WEIGHT_END.sub("", _QUANTISED_END.sub("", name))
            if name not in self.finder.data and not _GENERIC_WEIGHT.match(stem) and not name.startswith("onnx::"):
                return _split(stem)
        return []

    def _of_value(self, name: str) -> list[str]:
        stem = _VALUE_END.sub("", _QUANTISED_END.sub("", name))
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
    # MXNet marks the forward pass of each block.
    return [part.removesuffix("_fwd") for part in name.strip("/").split("/") if part.lower() not in _NOISE]


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
    leaf = str(path.rsplit(".", 1)[-1]).lower().strip("_0123456789")
    return bool(leaf) and (
        leaf in word or word in leaf or leaf in {"act", "swish", "activation", "avgpool", "avg_pooling", "pool", "relu"}
    )


def _scopes(node: NodeProto) -> tuple[str, ...]:
    """Module paths around a node as one of torch's exporters wrote them, outermost first; empty for other files."""
    for entry in node.metadata_props:
        if entry.key == _SCOPES and len(entry.value) < 10_000:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of escapes that mean nothing
                    value = ast.literal_eval(entry.value)
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                return ()
            # The last entry is the name of the fx node, not a module.
            return tuple(str(v) for v in value[:-1]) if isinstance(value, list) else ()
    path, _, operation = node.name.rpartition("/")
    if len(path) > 1000:
        return ()
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
    """Shapes of all tensors by onnx's shape inference on the structure alone; where it fails, as declared."""
    found = infer_types(graph.proto)
    if not found:
        declared = graph.proto.graph
        found = [*declared.value_info, *declared.output, *declared.input]
    return {value.name: _nameless(shape_of(value)) for value in found}


def _nameless(shape: tuple[Size, ...] | None) -> tuple[Size, ...] | None:
    """Without the symbols that inference makes up; they mean no more than "not known"."""
    return shape and tuple(None if isinstance(s, str) and s.startswith("unk__") else s for s in shape)
