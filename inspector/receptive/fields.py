"""Receptive fields: which pixels of the input a position of a layer can see, by arithmetic on the graph alone.

Each spatial axis of a tensor is followed from the input as an affine interval: position ``p`` sees the input pixels
``jump * p + low`` to ``jump * p + high``. Convolutions and pools widen it, strides multiply the jump, a residual add
or a concat takes the union, elementwise operators pass it on, and what looks at a whole map (a global pool, a flatten,
attention) sees everything.

The arithmetic is that of Araujo, Norris & Sim, "Computing Receptive Fields of Convolutional Neural Networks"
(Distill, 2019), written for ONNX operators. No torch and no onnxruntime.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import onnx

from inspector.graph import Graph, attributes, node_inputs, shape_of
from inspector.layers import inferred_shapes
from inspector.layers.candidates import KIND_OF

if TYPE_CHECKING:
    from onnx import NodeProto

    from inspector.model import Model


@dataclass(frozen=True)
class ReceptiveField:
    """What one position of a layer can see of the input.

    size: (h, w) in input pixels, or None where a position sees the whole picture.
    jump: (y, x), input pixels from one position to the next. first, last: (y, x), the input pixels between which
    position (0, 0) sees; `first` is negative where the network pads, and both may lie between pixels behind a layer
    that enlarges.
    everything: something at this position depends on the whole picture as well, as behind a squeeze-and-excitation
    gate or an instance norm; `size` is then that of the part that does not.
    """

    size: tuple[int, int] | None
    jump: tuple[float, float]
    first: tuple[float, float]
    last: tuple[float, float]
    everything: bool

    def box(self, position: tuple[int, int], picture: tuple[int, int]) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) in input pixels that `position` (y, x) sees; it may reach beyond the picture.

        picture: (H, W) of the input, which is the answer where a position sees everything.
        """
        if self.size is None:
            return 0, 0, picture[1], picture[0]
        moved = [j * p for j, p in zip(self.jump, position, strict=True)]
        top, left = (math.ceil(m + f - 1e-6) for m, f in zip(moved, self.first, strict=True))
        bottom, right = (math.floor(m + e + 1e-6) + 1 for m, e in zip(moved, self.last, strict=True))
        return left, top, right, bottom


@dataclass(frozen=True)
class _Span:
    """One axis of the input as a tensor sees it: along `axis`, position p sees jump * p + low to jump * p + high."""

    axis: int
    jump: Fraction
    low: Fraction
    high: Fraction


@dataclass(frozen=True)
class _Reach:
    """What a tensor sees of one input axis; neither span nor everything: it does not depend on the picture."""

    span: _Span | None = None
    everything: bool = False


_NOTHING = _Reach()
_EVERYTHING = _Reach(None, True)
_Pair = tuple[_Reach, _Reach]

_ELEMENTWISE = frozenset(
    (
        "Abs Acos Acosh Add And Asin Asinh Atan Atanh BatchNormalization BitShift BitwiseAnd BitwiseNot "
        "BitwiseOr BitwiseXor Cast CastLike Ceil Celu Clip Cos Cosh DequantizeLinear Div Dropout Elu Equal "
        "Erf Exp Expand Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish Identity IsInf IsNaN LRN LeakyRelu "
        "Less LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow QuantizeLinear Reciprocal Relu Round "
        "Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum Swish Tan Tanh ThresholdedRelu Where Xor "
        "QLinearAdd QLinearMul QLinearLeakyRelu QLinearSigmoid QuickGelu FastGelu BiasGelu"
    ).split()
)
_POOLS = frozenset({"MaxPool", "AveragePool", "LpPool", "QLinearAveragePool"})
_CONVOLUTIONS = frozenset({"Conv", "ConvInteger", "QLinearConv", "FusedConv", "NhwcFusedConv", "NhwcConv"})
_WEIGHT_AT = {"QLinearConv": 3}
_WHOLE_MAP = frozenset({"InstanceNormalization", "GroupNormalization", "GroupNorm", "MeanVarianceNormalization"})
_BLIND = frozenset({"Shape", "Size", "ConstantOfShape", "RandomNormal", "RandomUniform", "EyeLike"})


def receptive_field(model: Model, tensor: str) -> ReceptiveField:
    """The receptive field of one tensor of `model`; see :func:`receptive_fields`."""
    channels_last = next((x.channels_last for x in model.layers if x.tensor == tensor), False)
    return receptive_fields(model.graph, [tensor], model.input.layout, {tensor: channels_last})[tensor]


def receptive_fields(
    graph: Graph, tensors: Sequence[str], layout: str = "NCHW", channels_last: dict[str, bool] | None = None
) -> dict[str, ReceptiveField]:
    """The receptive field of each of `tensors`: tensor name -> ReceptiveField.

    layout: of the graph's input, NCHW or NHWC. Operators that nothing is known about count as seeing everything, so
    a field is never too small; behind a Resize it may be a pixel or two too large.
    """
    walker = _Walker(graph, tensors, layout)
    return {name: _public(walker.reach[name]) for name in tensors}


def _public(pair: _Pair) -> ReceptiveField:
    everything = any(reach.everything for reach in pair)
    spans = [reach.span for reach in pair]
    if spans[0] is None or spans[1] is None:
        return ReceptiveField(None, (0.0, 0.0), (0.0, 0.0), (0.0, 0.0), everything)
    y, x = spans[0], spans[1]
    return ReceptiveField(
        size=(math.floor(y.high - y.low) + 1, math.floor(x.high - x.low) + 1),
        jump=(float(y.jump), float(x.jump)),
        first=(float(y.low), float(x.low)),
        last=(float(y.high), float(x.high)),
        everything=everything,
    )


def _union(a: _Reach, b: _Reach) -> _Reach:
    everything = a.everything or b.everything
    if a.span is None or b.span is None:
        return _Reach(a.span or b.span, everything)
    if a.span.axis != b.span.axis or a.span.jump != b.span.jump:
        return _EVERYTHING
    return _Reach(replace(a.span, low=min(a.span.low, b.span.low), high=max(a.span.high, b.span.high)), everything)


def _lost(reach: _Reach) -> _Reach:
    """After an operator that mixes all positions."""
    return _EVERYTHING if reach.span is not None or reach.everything else _NOTHING


class _Walker:
    """Follows both axes of the input through the nodes that some tensors depend on."""

    def __init__(self, graph: Graph, tensors: Sequence[str], layout: str) -> None:
        self.graph = graph
        self._shapes: dict[str, tuple[int | str | None, ...] | None] | None = None
        first = 1 if layout == "NHWC" else 2
        zero, one = Fraction(0), Fraction(1)
        start = tuple(_Reach(_Span(first + k, one, zero, zero)) for k in range(2))
        self.reach: dict[str, _Pair] = {i.name: (start[0], start[1]) for i in graph.inputs}
        needed, _ = graph.needed(tensors)
        for index in sorted(needed):
            node = graph.nodes[index]
            pairs = [self._of(name) for name in node_inputs(node)]
            if all(pair == (_NOTHING, _NOTHING) for pair in pairs) or node.op_type in _BLIND:
                made = (_NOTHING, _NOTHING)
            else:
                made = self._through(node)
            self.reach.update({name: made for name in node.output if name})
        for name in tensors:
            self.reach.setdefault(name, (_NOTHING, _NOTHING))

    def _of(self, name: str) -> _Pair:
        return self.reach.get(name, (_NOTHING, _NOTHING))

    # --- what is known of a tensor ----------------------------------------------------------------------------------

    def _shape(self, name: str) -> tuple[int | str | None, ...] | None:
        tensor = self.graph.initializers.get(name)
        if tensor is not None:
            return tuple(tensor.dims)
        declared = self.graph.value_infos.get(name)
        shape = shape_of(declared) if declared is not None else None
        if shape is None:
            if self._shapes is None:
                self._shapes = inferred_shapes(self.graph)
            shape = self._shapes.get(name)
        return shape

    def _rank(self, name: str) -> int | None:
        shape = self._shape(name)
        return None if shape is None else len(shape)

    def _size(self, name: str, axis: int) -> int | None:
        shape = self._shape(name)
        size = shape[axis] if shape is not None and axis < len(shape) else None
        return size if isinstance(size, int) else None

    def _integers(self, node: NodeProto, attribute: str, position: int) -> list[int] | None:
        """A list of integers that newer opsets give as a constant input and older ones as an attribute."""
        value = attributes(node).get(attribute)
        if value is not None:
            return [int(v) for v in value] if isinstance(value, list) else [int(value)]
        return self._constant(node, position, int)

    def _constant(self, node: NodeProto, position: int, kind: Callable[[Any], Any]) -> list[Any] | None:
        if position >= len(node.input) or not node.input[position]:
            return None
        tensor = self.graph.initializers.get(node.input[position])
        if tensor is None:
            return None
        values = self.graph.tensor_array(tensor) if tensor.external_data else onnx.numpy_helper.to_array(tensor)
        return [kind(v) for v in values.ravel().tolist()]

    # --- one node ---------------------------------------------------------------------------------------------------

    def _through(self, node: NodeProto) -> _Pair:
        op = node.op_type
        if op in _ELEMENTWISE:
            return self._elementwise(node)
        if op in _CONVOLUTIONS or op in _POOLS:
            return self._window(node)
        handler: Callable[[NodeProto], _Pair] | None = getattr(self, f"_on_{op.lower()}", None)
        if handler is not None:
            return handler(node)
        if op.startswith("Reduce") or op in ("ArgMax", "ArgMin"):
            return self._reduce(node)
        if op in _WHOLE_MAP:
            return self._map(self._of(node.input[0]), lambda r: _Reach(r.span, True))
        if KIND_OF.get(op) == "concat":
            return self._on_concat(node)
        return self._mixed(node)

    def _mixed(self, node: NodeProto) -> _Pair:
        """An operator that nothing is known about: everything that its inputs see, everywhere."""
        made = (_NOTHING, _NOTHING)
        for name in node_inputs(node):
            pair = self._of(name)
            made = (_union(made[0], _lost(pair[0])), _union(made[1], _lost(pair[1])))
        return made

    @staticmethod
    def _map(pair: _Pair, change: Callable[[_Reach], _Reach]) -> _Pair:
        """`change` applied to each axis that the tensor depends on."""
        done = [reach if reach == _NOTHING else change(reach) for reach in pair]
        return done[0], done[1]

    def _spans(self, pair: _Pair, change: Callable[[_Span], _Span | None]) -> _Pair:
        """`change` applied to each span; None from it means that the positions are mixed."""

        def one(reach: _Reach) -> _Reach:
            if reach.span is None:
                return reach
            span = change(reach.span)
            return _EVERYTHING if span is None else _Reach(span, reach.everything)

        return self._map(pair, one)

    def _elementwise(self, node: NodeProto) -> _Pair:
        ranks = {name: self._rank(name) for name in node.input if name}
        rank = max((r for r in ranks.values() if r is not None), default=None)
        made = (_NOTHING, _NOTHING)
        for name in node_inputs(node):
            own = ranks.get(name)
            shift = rank - own if rank is not None and own is not None else 0
            pair = self._spans(self._of(name), lambda s, by=shift: replace(s, axis=s.axis + by))  # type: ignore[misc]
            made = (_union(made[0], pair[0]), _union(made[1], pair[1]))
        return made

    def _window(self, node: NodeProto) -> _Pair:
        """Convolutions and pools: a window of `kernel` elements that moves by `stride`."""
        values = attributes(node)
        last = node.op_type.startswith("Nhwc") or (node.op_type == "QLinearAveragePool" and values.get("channels_last"))
        first = 1 if last else 2
        kernel = values.get("kernel_shape")
        if kernel is None:
            weight = self._shape(node.input[_WEIGHT_AT.get(node.op_type, 1)]) if len(node.input) > 1 else None
            if weight is None or not all(isinstance(d, int) for d in weight):
                return self._mixed(node)
            kernel = [int(d or 1) for d in weight[2:]]
        count = len(kernel)
        strides = values.get("strides") or [1] * count
        dilations = values.get("dilations") or [1] * count
        pads = values.get("pads") or [0] * (2 * count)
        auto = values.get("auto_pad", "NOTSET")

        def widen(span: _Span) -> _Span | None:
            k = span.axis - first
            if not 0 <= k < count:
                return None
            reach, stride = dilations[k] * (kernel[k] - 1), strides[k]
            begin = self._same_pad(node.input[0], span.axis, reach + 1, stride, auto) if "SAME" in auto else pads[k]
            begin = 0 if auto == "VALID" else begin
            return replace(
                span,
                low=span.low - span.jump * begin,
                high=span.high + span.jump * (reach - begin),
                jump=span.jump * stride,
            )

        return self._spans(self._of(node.input[0]), widen)

    def _same_pad(self, name: str, axis: int, kernel: int, stride: int, auto: str) -> int:
        """What SAME_UPPER and SAME_LOWER pad in front; for an unknown size, one that the stride divides."""
        size = self._size(name, axis)
        over = (-size % stride) if size is not None else 0
        total = max(kernel - stride + over, 0)
        return total // 2 if auto == "SAME_UPPER" else total - total // 2

    def _on_convtranspose(self, node: NodeProto) -> _Pair:
        values = attributes(node)
        kernel = values.get("kernel_shape")
        weight = self._shape(node.input[1])
        if kernel is None and weight is not None:
            kernel = [int(d or 1) for d in weight[2:]]
        if kernel is None or "SAME" in values.get("auto_pad", "") or values.get("output_shape"):
            return self._mixed(node)
        count = len(kernel)
        strides = values.get("strides") or [1] * count
        dilations = values.get("dilations") or [1] * count
        pads = values.get("pads") or [0] * (2 * count)

        def widen(span: _Span) -> _Span | None:
            k = span.axis - 2
            if not 0 <= k < count:
                return None
            # Output p reads the input q with p = stride * q - pad + dilation * tap.
            step = span.jump / strides[k]
            return replace(
                span,
                low=span.low + step * (pads[k] - dilations[k] * (kernel[k] - 1)),
                high=span.high + step * pads[k],
                jump=step,
            )

        return self._spans(self._of(node.input[0]), widen)

    def _on_resize(self, node: NodeProto) -> _Pair:
        source, result = self._shape(node.input[0]), self._shape(node.output[0])
        position = 1 if node.op_type == "Upsample" or len(node.input) == 2 else 2
        values = attributes(node)
        factors = values.get("scales") or self._constant(node, position, float)
        if factors and values.get("axes") is not None:
            rank = self._rank(node.input[0]) or 4
            placed = [1.0] * rank
            for axis, factor in zip(values["axes"], factors, strict=True):
                placed[axis % rank] = factor
            factors = placed
        support = {"nearest": 1, "linear": 1, "cubic": 2}.get(values.get("mode", "nearest"), 2)

        def widen(span: _Span) -> _Span | None:
            factor: Fraction | None = None
            if factors and span.axis < len(factors):
                factor = Fraction(float(factors[span.axis])).limit_denominator(4096)
            elif source is not None and result is not None and span.axis < min(len(source), len(result)):
                before, after = source[span.axis], result[span.axis]
                if isinstance(before, int) and isinstance(after, int):
                    factor = Fraction(after, before)
            if factor is None or factor <= 0:
                return None
            if factor == 1:
                return span
            # Whatever the rule for coordinates, an element reads no farther than this from p / factor.
            reach = support + (math.ceil(1 / factor) if values.get("antialias") else 0)
            shift = abs(1 - 1 / factor) / 2
            return replace(
                span,
                low=span.low - span.jump * (reach + shift),
                high=span.high + span.jump * (reach + shift),
                jump=span.jump / factor,
            )

        return self._spans(self._of(node.input[0]), widen)

    _on_upsample = _on_resize

    def _on_depthtospace(self, node: NodeProto) -> _Pair:
        block = attributes(node)["blocksize"]

        def change(span: _Span) -> _Span:
            return replace(span, jump=span.jump / block, low=span.low - span.jump * Fraction(block - 1, block))

        return self._spans(self._of(node.input[0]), change)

    def _on_spacetodepth(self, node: NodeProto) -> _Pair:
        block = attributes(node)["blocksize"]
        return self._spans(
            self._of(node.input[0]),
            lambda s: replace(s, jump=s.jump * block, high=s.high + s.jump * (block - 1)),
        )

    def _on_pad(self, node: NodeProto) -> _Pair:
        pads = self._integers(node, "pads", 1)
        axes = self._constant(node, 3, int)
        rank = self._rank(node.input[0]) or (len(pads) // 2 if pads and axes is None else None)
        if pads is None or rank is None:
            return self._mixed(node)
        begin = dict(zip(axes if axes is not None else range(rank), pads[: len(pads) // 2], strict=False))
        begin = {axis % rank: by for axis, by in begin.items()}

        def change(span: _Span) -> _Span:
            by = span.jump * begin.get(span.axis, 0)
            return replace(span, low=span.low - by, high=span.high - by)

        return self._spans(self._of(node.input[0]), change)

    def _on_slice(self, node: NodeProto) -> _Pair:
        starts, ends = self._integers(node, "starts", 1), self._integers(node, "ends", 2)
        axes, steps = self._integers(node, "axes", 3), self._integers(node, "steps", 4)
        rank = self._rank(node.input[0])
        if starts is None or ends is None or rank is None:
            return self._mixed(node)
        axes = [a % rank for a in axes] if axes is not None else list(range(len(starts)))
        begin = dict(zip(axes, starts, strict=True))
        step = dict(zip(axes, steps or [1] * len(starts), strict=True))

        def change(span: _Span) -> _Span | None:
            at, by = begin.get(span.axis, 0), step.get(span.axis, 1)
            if at < 0:
                size = self._size(node.input[0], span.axis)
                if size is None:
                    return None
                at = max(at + size, 0)
            if by < 1:
                return None
            shift = span.jump * at
            return replace(span, low=span.low + shift, high=span.high + shift, jump=span.jump * by)

        return self._spans(self._of(node.input[0]), change)

    def _on_transpose(self, node: NodeProto) -> _Pair:
        perm = attributes(node).get("perm")
        rank = self._rank(node.input[0])
        if perm is None:
            if rank is None:
                return self._mixed(node)
            perm = list(reversed(range(rank)))
        return self._spans(self._of(node.input[0]), lambda s: replace(s, axis=perm.index(s.axis)))

    def _on_concat(self, node: NodeProto) -> _Pair:
        axis = attributes(node).get("axis", 1)
        rank = next((r for r in map(self._rank, node.input) if r is not None), None)
        axis = axis % rank if rank is not None else axis
        made = (_NOTHING, _NOTHING)
        for name in node.input:
            pair = self._spans(self._of(name), lambda s: None if s.axis == axis else s)
            made = (_union(made[0], pair[0]), _union(made[1], pair[1]))
        return made

    def _on_split(self, node: NodeProto) -> _Pair:
        axis = attributes(node).get("axis", 0)
        rank = self._rank(node.input[0])
        axis = axis % rank if rank is not None else axis
        return self._spans(self._of(node.input[0]), lambda s: None if s.axis == axis else s)

    def _on_gather(self, node: NodeProto) -> _Pair:
        axis = attributes(node).get("axis", 0)
        rank, indices = self._rank(node.input[0]), self._rank(node.input[1])
        if rank is None or indices is None or self._of(node.input[1]) != (_NOTHING, _NOTHING):
            return self._mixed(node)
        axis %= rank

        def change(span: _Span) -> _Span | None:
            if span.axis == axis:
                return None
            return replace(span, axis=span.axis + (indices - 1 if span.axis > axis else 0))

        return self._spans(self._of(node.input[0]), change)

    def _on_reshape(self, node: NodeProto) -> _Pair:
        """A spatial axis survives when everything before it, or everything behind it, keeps its size."""
        before, after = self._shape(node.input[0]), self._shape(node.output[0])
        if before is None or after is None:
            return self._mixed(node)

        def same(left: Iterable[Any], right: Iterable[Any]) -> bool:
            return all(a == b and a is not None for a, b in zip(left, right, strict=True))

        def change(span: _Span) -> _Span | None:
            head, tail = span.axis + 1, len(before) - span.axis
            if head <= len(after) and same(before[:head], after[:head]):
                return span
            if tail <= len(after) and same(before[-tail:], after[-tail:]):
                return replace(span, axis=len(after) - tail)
            return None

        return self._spans(self._of(node.input[0]), change)

    def _on_squeeze(self, node: NodeProto) -> _Pair:
        axes, rank = self._integers(node, "axes", 1), self._rank(node.input[0])
        if axes is None or rank is None:
            return self._mixed(node)
        gone = {a % rank for a in axes}
        return self._spans(
            self._of(node.input[0]),
            lambda s: None if s.axis in gone else replace(s, axis=s.axis - sum(a < s.axis for a in gone)),
        )

    def _on_unsqueeze(self, node: NodeProto) -> _Pair:
        axes, rank = self._integers(node, "axes", 1), self._rank(node.input[0])
        if axes is None or rank is None:
            return self._mixed(node)
        new = sorted(a % (rank + len(axes)) for a in axes)

        def change(span: _Span) -> _Span:
            axis = span.axis
            for a in new:
                axis += a <= axis
            return replace(span, axis=axis)

        return self._spans(self._of(node.input[0]), change)

    def _reduce(self, node: NodeProto) -> _Pair:
        values = attributes(node)
        rank = self._rank(node.input[0])
        single = node.op_type.startswith("Arg")
        axes = [int(values.get("axis", 0))] if single else self._integers(node, "axes", 1)
        if rank is None:
            return self._mixed(node)
        if not axes:
            if values.get("noop_with_empty_axes"):
                return self._of(node.input[0])
            axes = list(range(rank))
        gone = {a % rank for a in axes}
        kept = values.get("keepdims", 1)

        def change(span: _Span) -> _Span | None:
            if span.axis in gone:
                return None
            return span if kept else replace(span, axis=span.axis - sum(a < span.axis for a in gone))

        return self._spans(self._of(node.input[0]), change)

    def _on_softmax(self, node: NodeProto) -> _Pair:
        rank = self._rank(node.input[0])
        values = attributes(node)
        if self.graph.opset < 13:
            # Until then all axes from `axis` on were normalised together.
            axes = set(range(values.get("axis", 1), rank or 8))
        else:
            axes = {values.get("axis", -1) % rank} if rank else set(range(8))
        return self._normalised(node, axes)

    _on_logsoftmax = _on_softmax
    _on_hardmax = _on_softmax

    def _on_layernormalization(self, node: NodeProto) -> _Pair:
        rank = self._rank(node.input[0])
        axis = attributes(node).get("axis", -1)
        if rank is None:
            return self._normalised(node, set(range(8)) if axis >= 0 else set())
        return self._normalised(node, set(range(axis % rank, rank)))

    _on_rmsnormalization = _on_layernormalization
    _on_skiplayernormalization = _on_layernormalization

    def _on_lpnormalization(self, node: NodeProto) -> _Pair:
        rank = self._rank(node.input[0])
        return self._normalised(node, {attributes(node).get("axis", -1) % rank} if rank else set(range(8)))

    def _normalised(self, node: NodeProto, axes: set[int]) -> _Pair:
        """Elementwise, and by a statistic over `axes`: over a spatial one that is the whole picture."""
        return self._map(
            self._of(node.input[0]),
            lambda r: _Reach(r.span, r.everything or (r.span is not None and r.span.axis in axes)),
        )

    def _on_matmul(self, node: NodeProto) -> _Pair:
        left, right = self._of(node.input[0]), self._of(node.input[1])
        ranks = self._rank(node.input[0]), self._rank(node.input[1])
        nothing = (_NOTHING, _NOTHING)
        if right == nothing and ranks[0] is not None:
            return self._spans(left, lambda s: None if s.axis == ranks[0] - 1 else s)  # type: ignore[operator]
        if left == nothing and ranks[1] is not None:
            return self._spans(right, lambda s: None if s.axis == ranks[1] - 2 else s)  # type: ignore[operator]
        return self._mixed(node)
