"""The operators beyond ONNX's own: classical learning, and what onnxruntime writes when it quantizes and optimises."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inspector.graph.operators.row import Operator, make_rows

MICROSOFT = "com.microsoft"
BLOCKED = "com.microsoft.nchwc"
"""Operators on channels in blocks of 8 or 16, as optimised files have them."""


def _rows(names: str, **facts: Any) -> tuple[Operator, ...]:
    return tuple(make_rows(MICROSOFT, names, **facts))


_WEIGHTED = (
    *_rows("FusedConv", kind="conv", window=True, weight=1, rows=0, bias=2),
    *_rows("NhwcConv NhwcFusedConv", kind="conv", window=True, weight=1, rows=0, bias=2, channels_last="always"),
    *_rows("QLinearConv", kind="conv", window=True, weight=3, rows=0, bias=8, integer=True, channels_last="attribute"),
    *_rows("QLinearConvTranspose", kind="conv", weight=3, rows=1, bias=8, transposed=True, integer=True),
    *_rows("ConvTransposeWithDynamicPads", kind="conv", weight=1, rows=1, bias=3, transposed=True),
    *_rows("FusedGemm GemmFastGelu", kind="linear", weight=1, rows=1, bias=2),
    *_rows("QGemm", kind="linear", weight=3, rows=1, bias=6, integer=True),
    *_rows("FusedMatMul TransposeMatMul FusedMatMulActivation", kind="linear", weight=1, rows=-1),
    *_rows(
        "MatMulInteger16 MatMulIntegerToFloat DynamicQuantizeMatMul", kind="linear", weight=1, rows=-1, integer=True
    ),
    *_rows("QOrderedMatMul", kind="linear", weight=2, rows=-1, integer=True),
    # Their weights are packed, so that no axis of the tensor is one of rows.
    *_rows("MatMulNBits MatMulBnb4 MatMulFpQ4", kind="linear", weight=1),
)

_ELEMENTWISE = (
    *_rows("Gelu QuickGelu FastGelu", kind="activation", elementwise=True),
    *_rows("BiasGelu", kind="activation", elementwise=True, operands=2),
    *_rows("QLinearLeakyRelu", kind="activation", elementwise=True, integer=True),
    *_rows("QLinearSigmoid", kind="activation", inner_word="silu", elementwise=True, integer=True, ending="sigmoid"),
    *_rows("QOrderedGelu", kind="activation", elementwise=True, integer=True),
    *_rows("QLinearAdd", kind="add", joins=True, elementwise=True, operands=2, affine=True, integer=True),
    *_rows(
        "QLinearMul", kind="gate", joins=True, elementwise=True, operands=2, affine=True, product=True, integer=True
    ),
    *_rows("QLinearWhere", elementwise=True, operands=3, ordered=True, integer=True),
    *_rows("BiasAdd", elementwise=True, operands=0, affine=True),
    *_rows(
        "QuantizeLinear",
        elementwise=True,
        affine=True,
        passes=True,
        per_channel=True,
        integer=True,
        requantizes=True,
    ),
    *_rows("DequantizeLinear", elementwise=True, affine=True, passes=True, per_channel=True, requantizes=True),
)

_OTHERS = (
    *_rows("GroupNorm SkipGroupNorm", kind="norm", channels_last="always"),
    *_rows(
        "SkipLayerNormalization SkipSimplifiedLayerNormalization", kind="norm", keeps_axes=True, normalises_last=True
    ),
    *_rows("QOrderedLayerNormalization", kind="norm", keeps_axes=True, integer=True),
    *_rows("BiasSoftmax", kind="softmax", keeps_axes=True, bounds=(0, 1)),
    *_rows("QLinearSoftmax", kind="softmax", keeps_axes=True, integer=True, ending="softmax"),
    *_rows("QLinearAveragePool", kind="pool", window=True, integer=True, channels_last="attribute"),
    *_rows("QLinearGlobalAveragePool", kind="pool", integer=True, channels_last="attribute"),
    *_rows("NhwcMaxPool", kind="pool", window=True, moves=True, channels_last="always", integer=True),
    *_rows("MaxpoolWithMask", kind="pool", window=True),
    *_rows("QLinearReduceMean", reduction=True, integer=True),
    *_rows("ReduceSumInteger", reduction=True, integer=True),
    *_rows("QLinearConcat", kind="concat", joins=True, keeps_axes=True, integer=True),
    *_rows("ExpandDims", moves=True, passes=True),
    *_rows("GatherND", moves=True),
    *_rows("Pad Trilu", keeps_axes=True),
    *_rows(
        "QAttention QOrderedAttention QOrderedLongformerAttention DynamicQuantizeLSTM", integer=True, mixes_rows=True
    ),
    *_rows("QEmbedLayerNormalization MulInteger", integer=True),
    *_rows(
        "Attention MultiHeadAttention PackedAttention PackedMultiHeadAttention DecoderAttention LongformerAttention",
        mixes_rows=True,
    ),
    *_rows("EmbedLayerNormalization RelativePositionBias GatedRelativePositionBias RotaryEmbedding"),
    *_rows("BiasDropout BitmaskDropout BitmaskBiasDropout BiasSplitGelu SwiGLU ScaledSiLU"),
    *_rows("GridSample CropAndResize Range Unique Inverse Irfft Rfft ComplexMul ComplexMulConj UnfoldTensor"),
)


def make_contributed_rows() -> Iterator[Operator]:
    """The rows of onnxruntime's own operators, on plain tensors and on channels in blocks."""
    for family in (_WEIGHTED, _ELEMENTWISE, _OTHERS):
        yield from family
    yield from make_rows(BLOCKED, "Conv", kind="conv", window=True, weight=1, rows=0, bias=2)
    yield from make_rows(BLOCKED, "MaxPool", kind="pool", window=True, moves=True)
    yield from make_rows(BLOCKED, "AveragePool", kind="pool", word="avgpool", window=True)
    yield from make_rows(BLOCKED, "GlobalMaxPool", kind="pool", word="maxpool", moves=True)
    yield from make_rows(BLOCKED, "GlobalAveragePool", kind="pool", word="avgpool")
    yield from make_rows(BLOCKED, "Upsample", kind="resize", keeps_axes=True)
    yield from make_rows(BLOCKED, "ReorderInput")
    yield from make_rows(BLOCKED, "ReorderOutput", channels_last="attribute")


def make_learning_rows() -> Iterator[Operator]:
    """The rows of ai.onnx.ml and of the sets that onnx calls a preview."""
    yield from make_rows("ai.onnx.ml", "Binarizer", elementwise=True, bounds=(0, 1))
    yield from make_rows("ai.onnx.ml", "Imputer LabelEncoder", keeps_axes=True)
    yield from make_rows("ai.onnx.ml", "Normalizer Scaler ArrayFeatureExtractor FeatureVectorizer")
    yield from make_rows("ai.onnx.ml", "CastMap CategoryMapper DictVectorizer OneHotEncoder")
    yield from make_rows("ai.onnx.ml", "ZipMap", ranks=True)
    yield from make_rows("ai.onnx.ml", "LinearClassifier LinearRegressor SVMClassifier SVMRegressor")
    yield from make_rows("ai.onnx.ml", "TreeEnsemble TreeEnsembleClassifier TreeEnsembleRegressor")
    yield from make_rows("ai.onnx.preview", "FlexAttention")
    yield from make_rows("ai.onnx.preview.training", "Adagrad Adam Gradient Momentum")
