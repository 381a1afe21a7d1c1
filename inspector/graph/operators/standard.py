"""The operators of ONNX itself, family by family."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from inspector.graph.operators.row import Operator, make_rows

_INF = math.inf
_LARGEST_POWER = 88.7
"""The natural logarithm of the largest float32."""


def _rows(names: str, **facts: Any) -> tuple[Operator, ...]:
    return tuple(make_rows("", names, **facts))


def _unary(names: str, low: float = -_INF, high: float = _INF, **facts: Any) -> tuple[Operator, ...]:
    return _rows(names, elementwise=True, bounds=(low, high), **facts)


def _by_channel(names: str, **facts: Any) -> tuple[Operator, ...]:
    return _rows(names, kind="pool", channelwise=True, homogeneous=True, **facts)


def _activation(names: str, low: float = -_INF, high: float = _INF, **facts: Any) -> tuple[Operator, ...]:
    return _unary(names, low, high, kind="activation", **facts)


_ACTIVATIONS = (
    *_activation("Relu", 0, inner_word="relu", integer_form="range", homogeneous=True, increasing=True),
    *_activation("Clip", inner_word="hardswish", integer_form="range", increasing=True),
    *_activation("Sigmoid", 0, 1, inner_word="silu", ending="sigmoid", increasing=True),
    *_activation("HardSigmoid", 0, 1, inner_word="hardswish", increasing=True),
    *_activation("Tanh", -1, 1, inner_word="gelu", increasing=True),
    *_activation("Softplus", 0, inner_word="mish", increasing=True),
    *_activation("Softsign", -1, 1, increasing=True),
    *_activation("LeakyRelu", homogeneous=True, increasing=True),
    *_activation("ThresholdedRelu Elu Selu Celu", increasing=True),
    *_activation("HardSwish", valley=-1.5),
    *_activation("Gelu", valley=-0.7517915246935645),
    *_activation("Mish", valley=-1.1924312145154),
    *_activation("Swish", valley=-1.2784645427610738),
    *_activation("Shrink"),
    *_activation("PRelu", operands=2, ordered=True),
)

_FUNCTIONS = (
    *_unary("Erf", -1, 1, inner_word="gelu", increasing=True),
    *_unary("Abs", 0, homogeneous=True),
    *_unary("Exp", 0, increasing=True, valid=(-_INF, _LARGEST_POWER)),
    *_unary("Sqrt", 0, increasing=True, valid=(0, _INF)),
    *_unary("Cosh", 0, valid=(-_LARGEST_POWER, _LARGEST_POWER)),
    *_unary("Acosh", 0, valid=(1, _INF)),
    *_unary("Sin Cos", -1, 1),
    *_unary("Sign", -1, 1, steps=True),
    *_unary("Asin", -math.pi / 2, math.pi / 2, valid=(-1, 1)),
    *_unary("Atan", -math.pi / 2, math.pi / 2),
    *_unary("Acos", 0, math.pi, valid=(-1, 1)),
    *_unary("Log", increasing=True, valid=(0, _INF), nonzero=0),
    *_unary("Reciprocal", nonzero=0),
    *_unary("Atanh", valid=(-1, 1)),
    *_unary("Sinh", increasing=True, valid=(-_LARGEST_POWER, _LARGEST_POWER)),
    *_unary("Ceil Floor Round", increasing=True, steps=True),
    *_unary("Asinh", increasing=True),
    *_unary("Tan"),
    *_unary("Neg", affine=True),
    *_unary("IsInf IsNaN", 0, 1, compares=True),
    *_unary("Not", 0, 1, logical=True),
    *_unary("BitwiseNot"),
)

_ARITHMETIC = (
    *_rows("Add", kind="add", joins=True, elementwise=True, operands=2, affine=True, integer_form="arithmetic"),
    *_rows(
        "Mul",
        kind="gate",
        joins=True,
        elementwise=True,
        operands=2,
        affine=True,
        product=True,
        integer_form="arithmetic",
    ),
    *_rows("Sub", elementwise=True, operands=2, affine=True, ordered=True),
    *_rows("Div", elementwise=True, operands=2, affine=True, ordered=True, product=True, nonzero=1),
    *_rows("Sum", kind="add", joins=True, word="add", elementwise=True, operands=0, affine=True),
    *_rows("Mean", elementwise=True, operands=0, affine=True),
    *_rows("Max Min", elementwise=True, operands=0, moves=True),
    *_rows("Pow", elementwise=True, operands=2, ordered=True),
    *_rows("Mod BitShift", elementwise=True, operands=2, ordered=True, steps=True),
    *_rows("BitwiseAnd BitwiseOr BitwiseXor", elementwise=True, operands=2),
    *_rows("And Or Xor", elementwise=True, operands=2, bounds=(0, 1), logical=True),
    *_rows("Equal", elementwise=True, operands=2, bounds=(0, 1), compares=True),
    *_rows(
        "Greater GreaterOrEqual Less LessOrEqual",
        elementwise=True,
        operands=2,
        ordered=True,
        compares=True,
        bounds=(0, 1),
    ),
    *_rows("Where", elementwise=True, operands=3, ordered=True, moves=True),
)

_PASSING = (
    *_unary("Identity Dropout", affine=True, moves=True, passes=True, homogeneous=True, increasing=True),
    *_unary("Cast", affine=True, passes=True),
    *_unary("CastLike", affine=True, passes=True, shape_inputs=(1,)),
    *_unary("QuantizeLinear", affine=True, passes=True, per_channel=True, integer=True, requantizes=True),
    *_unary("DequantizeLinear", affine=True, passes=True, per_channel=True, requantizes=True),
    # Its scale is found from all values.
    *_rows("DynamicQuantizeLinear", keeps_axes=True, integer=True, requantizes=True, bounds=(0, 255)),
    *_rows("Flatten Squeeze Unsqueeze", moves=True, passes=True, integer_form="moved"),
    *_rows("Reshape", moves=True, passes=True, integer_form="moved", size_inputs=(1,)),
)

_MOVING = (
    *_rows("Transpose", moves=True, integer_form="moved"),
    *_rows("Concat", kind="concat", joins=True, keeps_axes=True, moves=True, integer_form="join"),
    *_rows("Slice ReverseSequence", keeps_axes=True, moves=True),
    *_rows("Split Expand Tile", keeps_axes=True, moves=True, size_inputs=(1,)),
    *_rows("GatherElements", keeps_axes=True, moves=True, picks=True),
    *_rows("TopK", keeps_axes=True, moves=True, ranks=True),
    *_rows("DepthToSpace SpaceToDepth", moves=True),
    *_rows("Gather GatherND", moves=True, picks=True),
    *_rows("Compress Unique", moves=True, counts=True),
    *_rows("Pad CenterCropPad", keeps_axes=True, fills=True, size_inputs=(1,)),
    *_rows("Trilu ScatterElements ScatterND Scatter", keeps_axes=True, fills=True),
    *_rows(
        "Resize Upsample",
        kind="resize",
        keeps_axes=True,
        channelwise=True,
        between=True,
        homogeneous=True,
        size_inputs=(1, 2, 3),
    ),
    *_rows("AffineGrid", size_inputs=(1,)),
    *_rows("Col2Im", size_inputs=(1, 2)),
    *_rows("GridSample BitCast TensorScatter RotaryEmbedding OneHot"),
)

_SHAPES = (
    *_rows("Shape Size EyeLike SequenceLength", shape_inputs=(0,)),
    *_rows("ConstantOfShape", size_inputs=(0,)),
    *_rows("Range", size_inputs=(1,)),
    *_rows("Constant BlackmanWindow HammingWindow HannWindow MelWeightMatrix"),
    *_rows("NonZero NonMaxSuppression", positions=True, counts=True),
)

_RANDOM = (
    *_rows("RandomNormal RandomUniform Multinomial", random=True),
    *_rows("RandomNormalLike RandomUniformLike", random=True, shape_inputs=(0,)),
    *_rows("Bernoulli", random=True, keeps_axes=True),
)

_WEIGHTED = (
    *_rows("Conv", kind="conv", window=True, weight=1, rows=0, bias=2, integer_form="weights"),
    *_rows("ConvInteger", kind="conv", window=True, weight=1, rows=0, integer=True),
    *_rows("QLinearConv", kind="conv", window=True, weight=3, rows=0, bias=8, integer=True),
    *_rows("DeformConv", kind="conv", weight=1, rows=0, bias=3),
    *_rows("ConvTranspose", kind="conv", weight=1, rows=1, bias=2, transposed=True),
    *_rows("Gemm", kind="linear", word="linear", weight=1, rows=1, bias=2, integer_form="weights"),
    *_rows("MatMul", kind="linear", word="linear", weight=1, rows=-1, integer_form="weights"),
    *_rows("MatMulInteger", kind="linear", weight=1, rows=-1, integer=True),
    *_rows("QLinearMatMul", kind="linear", weight=3, rows=-1, integer=True),
)

_NORMS = (
    *_rows("BatchNormalization", kind="norm", word="bn", elementwise=True, per_channel=True, affine=True),
    *_rows("InstanceNormalization GroupNormalization MeanVarianceNormalization LRN", kind="norm", keeps_axes=True),
    *_rows("LayerNormalization RMSNormalization", kind="norm", keeps_axes=True, normalises_last=True),
    *_rows("LpNormalization", kind="norm", keeps_axes=True, bounds=(-1, 1)),
    *_rows("Softmax", kind="softmax", keeps_axes=True, ending="softmax", bounds=(0, 1)),
    *_rows("LogSoftmax", kind="softmax", keeps_axes=True, ending="log-softmax", bounds=(-_INF, 0)),
    *_rows("Hardmax", keeps_axes=True, bounds=(0, 1)),
)

_POOLS = (
    *_by_channel("MaxPool", window=True, moves=True, integer_form="moved", between=True),
    *_by_channel("AveragePool", word="avgpool", window=True, integer_form="pool", between=True),
    *_by_channel("LpPool", window=True, bounds=(0, _INF)),
    *_by_channel("GlobalAveragePool", word="avgpool", integer_form="pool", between=True),
    *_by_channel("GlobalMaxPool", word="maxpool", moves=True, between=True),
    *_by_channel("GlobalLpPool", bounds=(0, _INF)),
    *_rows("MaxRoiPool RoiAlign", kind="pool"),
    *_rows("MaxUnpool"),
)

_REDUCTIONS = (
    *_rows("ReduceMean", kind="pool", word="avgpool", reduction=True, between=True, homogeneous=True),
    *_rows("ReduceMax", kind="pool", word="maxpool", reduction=True, moves=True, between=True, homogeneous=True),
    *_rows("ReduceSum", kind="pool", reduction=True, homogeneous=True),
    *_rows("ReduceL2", kind="pool", reduction=True, bounds=(0, _INF)),
    *_rows("ReduceMin", reduction=True, moves=True, between=True, homogeneous=True),
    *_rows("ReduceL1 ReduceSumSquare", reduction=True, bounds=(0, _INF)),
    *_rows("ReduceLogSum ReduceLogSumExp ReduceProd", reduction=True),
    *_rows("ArgMax", reduction=True, positions=True, ranks=True, bounds=(0, _INF)),
    *_rows("ArgMin", reduction=True, positions=True, bounds=(0, _INF)),
    *_rows("CumSum CumProd", keeps_axes=True),
)

_OTHERS = (
    *_rows("Attention LinearAttention GRU LSTM RNN", mixes_rows=True),
    *_rows("Det Einsum DFT STFT CausalConvWithState SwiGLU"),
    *_rows("NegativeLogLikelihoodLoss SoftmaxCrossEntropyLoss"),
    *_rows("If Loop Scan Optional OptionalGetElement OptionalHasElement"),
    *_rows("ConcatFromSequence SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceMap"),
    *_rows("SequenceAt", picks=True),
    *_rows("SplitToSequence ImageDecoder"),
    *_rows("RegexFullMatch StringConcat StringNormalizer StringSplit TfIdfVectorizer"),
)


def make_standard_rows() -> Iterator[Operator]:
    """The rows of ONNX's own operators."""
    families = (
        _ACTIVATIONS, _FUNCTIONS, _ARITHMETIC, _PASSING, _MOVING, _SHAPES, _RANDOM, _WEIGHTED, _NORMS, _POOLS,
        _REDUCTIONS, _OTHERS,
    )  # fmt: skip
    for family in families:
        yield from family
