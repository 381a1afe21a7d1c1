"""What layers are called: torch module paths where the file tells them, cleaned node paths where it does not."""

from __future__ import annotations

import ast
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from inspector.graph import OPERATORS
from inspector.layers.candidates import Candidate, Finder
from inspector.layers.layer import Layer

if TYPE_CHECKING:
    from onnx import NodeProto


def make_unique(layers: Iterable[Layer]) -> Iterator[Layer]:
    """Names made unique: the second `relu` becomes `relu_1`, as torch.fx counts calls of one module."""
    layers = [replace(layer, name=_make_printable(layer.name)) for layer in layers]
    taken: set[str] = set()
    given = {layer.name for layer in layers}
    for layer in layers:
        name, count = layer.name, 0
        while name in taken or (count and name in given):
            count += 1
            name = f"{layer.name}_{count}"
        taken.add(name)
        yield replace(layer, name=name)


def _make_printable(name: str) -> str:
    """A name that a terminal and a file name can take: no control characters, at most 200 characters."""
    clean = "".join(c if c.isprintable() else "_" for c in name)
    return clean if len(clean) <= 200 else f"{clean[:99]}…{clean[-100:]}"


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
        "concatv2 softmax convolution tensordot max conv_general_dilated dot_general"
    ).split()
)
_WEIGHT_END = re.compile(
    r"(?:[./_](?:weight|weights|kernel|w|W|filter|scale|gamma|bias|b|B)(?:_quantized)?(?:[:_]\d+)?|/ReadVariableOp(?:_\d+)?"
    r"|/read(?:_+\d+)?|:0)+$"
)
_GENERIC_WEIGHT = re.compile(r"^(?:onnx::|val_|const_fold_opt_+|[a-zA-Z])?(?:[A-Z][A-Za-z]*)?[_.:-]*\d*$")
_CALL_END = re.compile(r"(?:_\d+|_?quant(?:ized)?)+$")
_COPY_END = re.compile(r"__\d+$")
"""The number that tf2onnx adds to the names of nodes that it makes."""
_JAX_OPS = ("conv_general_dilated", "dot_general")
_PADDLE = re.compile(r"^p2o\.(?:pd_op\.)?([A-Za-z]\w*?)\.(\d+)(?:\.\d+)?$")
"""Operation, its count and the number of its output: p2o.pd_op.relu.16.0 is relu_16."""
_COUNTED = re.compile(r"(.*[^_\d].*)_(\d+)")
_WORDS = ("silu", "mish", "hardswish", "gelu", "relu")
"""What activations written out as x * f(x) are called; where f has operators of several, the first."""
_QUANTIZED_END = re.compile(r"(?:_quantized|_zero_point|_scale|_(?:De)?[Qq]uantizeLinear(?:_(?:Output|Input))?)+$")
_VALUE_END = re.compile(r"(?:__\d+|:\d+|_output_\d+|\.tmp_\d+)+$")


class Namer:
    """Names for found layers, best source first: torch scopes, node path, weight, tensor, neighbour."""

    def __init__(self, finder: Finder, found: Sequence[Candidate]) -> None:
        self.finder = finder
        self.graph = finder.graph
        self.found = found
        self.scopes = [_scopes(node) for node in finder.nodes]
        self.last_of_scope = {path: i for i, paths in enumerate(self.scopes) for path in paths}
        self.weighted = Counter((self.scopes[f.last][-1], f.kind) for f in found if self.scopes[f.last])
        self.operators = {row.name.lower() for row in OPERATORS.values() if row.kind} | _TF_OPS

    def make_names(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """(name, aliases) of each found layer; the caller makes names unique."""
        paths = [self._path(f) for f in self.found]
        prefix = _common_prefix([path for path in paths if path])
        of_tensorflow = any(output.endswith(":0") for node in self.finder.nodes for output in node.output)
        scoped = [
            of_tensorflow and bool(path) and self._is_scoped(f) for f, path in zip(self.found, paths, strict=True)
        ]
        written = [tuple(path) for path in paths]
        if _has_counters([p[len(prefix) :] for p, s in zip(paths, scoped, strict=True) if s]):
            paths = [_drop_counters(p) if s else p for p, s in zip(paths, scoped, strict=True)]
        # Keras means by the name of a layer what the layer gives, after its activation: the last tensor of its scope.
        last_of = {path: i for i, (path, s) in enumerate(zip(written, scoped, strict=True)) if s}
        owner = {self.finder.nodes[f.last].output[0]: f for f in self.found}
        base: dict[str, str] = {}
        taken: set[str] = set()
        for i, (f, path) in enumerate(zip(self.found, paths, strict=True)):
            name, aliases = self._from_scopes(f)
            if not name and scoped[i]:
                stem, word = ".".join(path[len(prefix) :]), self._word(f)
                base[self.finder.nodes[f.last].output[0]] = stem
                last = last_of[written[i]] == i
                name = stem if last else f"{stem}.{word}"
                own = ".".join(written[i][len(prefix) :])
                others = (f"{stem}.{word}", own, f"{own}.{word}") if last else (f"{own}.{word}",)
                aliases = tuple(other for other in dict.fromkeys(others) if other != name)
            elif not name:
                before = self._common_base(f, owner, base) or base.get(self._before(f, owner), "")
                word = self._word(f)
                # Without a name of its own a layer is called after the last one that has: conv1.relu, conv1.maxpool.
                name = ".".join(path[len(prefix) :]) or (f"{before}.{word}" if before else word)
                base[self.finder.nodes[f.last].output[0]] = name if path else before
                name = f"{name}.{word}" if name in taken and path else name
            taken.add(name)
            yield name, aliases

    def _is_scoped(self, f: Candidate) -> bool:
        """Whether the node is called as TensorFlow calls it: the scope of its layer, then the operation."""
        path, _, operation = self.finder.nodes[f.first].name.rpartition("/")
        operation = _CALL_END.sub("", _COPY_END.sub("", operation)).lower()
        return bool(_split(path)) and not path.startswith("/") and operation in self.operators

    def _word(self, f: Candidate) -> str:
        """A short word for the operation: relu, silu, add, maxpool."""
        if f.kind != "activation" or not f.inside:
            return self.finder.operators[f.first].word
        words = {self.finder.operators[n].inner_word for n in f.inside}
        return next((word for word in _WORDS if word in words), "activation")

    def _common_base(self, f: Candidate, owner: dict[str, Candidate], base: dict[str, str]) -> str:
        """What the names of all that a concat joins begin with: fire2 for fire2.expand1x1 and fire2.expand3x3."""
        if f.kind != "concat":
            return ""
        inputs = [name for name in self.finder.nodes[f.first].input if name in self.finder.data]
        names = [base.get(self._before(f, owner, [name]), "").split(".") for name in inputs]
        shared = _common_prefix([[*name, ""] for name in names])
        return ".".join(shared)

    def _before(self, f: Candidate, owner: dict[str, Candidate], tensors: Sequence[str] = ()) -> str:
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

    def _from_scopes(self, f: Candidate) -> tuple[str, tuple[str, ...]]:
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
            module = alone or _is_module_like(inner, word)
            if inner and (module or inner in ends):
                name = inner
            else:
                name = f"{inner}.{word}" if inner else word
        return name, tuple(
            path
            for path in dict.fromkeys((*reversed(paths[-1:]), *ends))
            if path and path != name and (path in ends or (path == inner and f.kind in ("conv", "linear")))
        )

    def _path(self, f: Candidate) -> list[str]:
        """Parts of the most telling name in the file: the node's, its weight's, its tensor's; empty if none tells."""
        first, last = self.finder.nodes[f.first], self.finder.nodes[f.last]
        return self._parts(first.name) or self._of_weight(f, first) or self._of_value(last.output[0])

    def _of_weight(self, f: Candidate, node: NodeProto) -> list[str]:
        weight = self.finder.operators[f.first].weight or 1
        # Behind the weights of floats comes the bias, which may have the more telling name.
        places = slice(weight, weight + 2 if weight == 1 else weight + 1)
        for name in node.input[places] if f.kind in ("conv", "linear", "norm") else ():
            stem = _WEIGHT_END.sub("", _QUANTIZED_END.sub("", name))
            if name not in self.finder.data and not _GENERIC_WEIGHT.match(stem) and not name.startswith("onnx::"):
                return _split(stem)
        return []

    def _of_value(self, name: str) -> list[str]:
        stem = _VALUE_END.sub("", _QUANTIZED_END.sub("", name))
        paddle = _PADDLE.match(stem)
        if paddle:
            return [f"{paddle[1].strip('_')}_{paddle[2]}"]
        # A tensor called after a node's path ("/conv1/Conv_output_0") tells nothing that the path did not.
        silent = not stem or _GENERIC.match(stem) or name.startswith("onnx::") or stem.startswith("/")
        return [] if silent else _split(stem)

    def _parts(self, name: str) -> list[str]:
        """The informative parts of a node's path; empty when there are none."""
        if not name or _GENERIC.match(name):
            return []
        raw = _split(_COPY_END.sub("", name) if "/" in name else name)
        if len(raw) > 1 and _CALL_END.sub("", raw[-1]).lower() in self.operators:
            number = re.search(r"_(\d+)$", raw[-1])
            # torch's second `Add` directly under one module is another call of it, not part of its name.
            raw = raw[:-1] if not number else [*raw[:-1], raw[-1].lower()]
        elif len(raw) == 1 and raw[0].lower() in self.operators:
            raw = [raw[0].lower()]
        if len(raw) > 1 and raw[-1] in _JAX_OPS:
            raw = raw[:-1]
        parts: list[str] = []
        for part in raw:
            if parts and part.startswith(parts[-1] + "."):
                parts.pop()
            parts.append(part)
        return parts


def _split(name: str) -> list[str]:
    # MXNet marks the forward pass of each block.
    return [part.removesuffix("_fwd") for part in name.strip("/").split("/") if part.lower() not in _NOISE]


def _has_counters(paths: Sequence[Sequence[str]]) -> bool:
    """Whether the scopes of layers carry the counter that Keras 3 appends, which opens each scope twice.

    `conv2d` becomes `conv2d_1`, and as that is taken then, `conv2d_1` becomes `conv2d_1_2`; all others end in `_1`.
    """
    scopes = {path[0] for path in paths if path}
    ends = [(scope, _COUNTED.fullmatch(scope)) for scope in scopes]
    return bool(scopes) and all(
        found is not None and (found[2] == "1" or (found[2] == "2" and found[1].endswith("_1") and found[1] in scopes))
        for _, found in ends
    )


def _drop_counters(path: Sequence[str]) -> list[str]:
    return [re.sub(r"(?<=_1)_2$|_1$", "", part) for part in path]


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


def _is_module_like(path: str, word: str) -> bool:
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
