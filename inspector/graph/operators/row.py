"""What can be said of one operator: a row of the table."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from inspector.records import record

if TYPE_CHECKING:
    from onnx import NodeProto

Ending = Literal["", "softmax", "log-softmax", "sigmoid"]
IntegerForm = Literal["", "weights", "arithmetic", "pool", "join", "moved", "range"]


@record
class Operator:
    """One operator of ONNX or of onnxruntime. What is not known of it has the value that promises least.

    Attributes:
        domain: Its operator set; ``""`` for ONNX's own.
        name: Its name, as in a node's ``op_type``.
        kind: The kind of layer that it makes (see :class:`inspector.layers.Layer`); empty where it makes none.
        joins: It makes a layer only where it joins several tensors that depend on the picture.
        word: What a layer is called after it: ``avgpool``, ``linear``.
        inner_word: What the activation ``x * f(x)`` is called where this operator is in f: ``silu`` for a sigmoid.
        elementwise: An element of the output depends on nothing but the elements at its place of the inputs, which
            are broadcast, and on settings.
        operands: How many tensors an elementwise operator combines; 0 for any number.
        ordered: The order of its operands matters.
        product: It multiplies or divides its operands.
        per_channel: Its settings may differ from channel to channel, as those of a batch norm.
        affine: It is elementwise, and an affine function of its first operand while the others are held.
        keeps_axes: It is not elementwise, and still the axes of its output are those of its first input in their
            order, whatever becomes of their lengths.
        normalises_last: It normalises the last axis by itself, unless its attribute ``axis`` names an earlier one: the
            channels lie there.
        moves: Its first output holds values of its inputs and no others.
        fills: It puts elements of its inputs into other places, and a filling where none are put.
        passes: Its output holds the elements of its first input in their order, at most in another shape or type;
            a dropout passes, and what quantizes or dequantizes.
        shape_inputs: Positions of the inputs of which only the shape or the type is read.
        size_inputs: Positions of the inputs that say how large the output becomes, and nothing of its values.
        weight: Position of the input that holds the weights of a convolution or matrix product; None without one.
        rows: Axis of the weights along which a row for each output channel lies, as long as no attribute turns them;
            see :meth:`rows_axis`.
        bias: Position of the bias input, whether it is given or not; None where there is no such input.
        transposed: It is a transposed convolution.
        window: A window slides over the maps.
        channels_last: It takes and gives (N, H, W, C), whatever it is given: ``always``, or where its attribute of
            that name says so; see :meth:`is_channels_last`.
        bounds: The smallest and the largest value that its first output can have, as long as its inputs are finite.
        valid: Between which values of its first input it is defined; beyond them it gives NaN or infinities in float32.
        nonzero: Position of the input that may not be zero; None where any may.
        ending: How a classifier that ends in it makes its scores into probabilities.
        counts: How many rows its output has depends on the values of its inputs, not only on their shapes.
        compares: It says yes or no about every element: larger, equal, not a number.
        logical: It combines or turns answers of yes and no.
        steps: It is elementwise, and its output jumps and does not move between the jumps, or falls back at them.
        picks: It picks elements by the places that another input names.
        output_scale: Position of the input that holds the scale of the integers it gives; the zero point follows it.
        ranks: It puts the largest of its first input first, or says where they are: what it gives are no scores of
            classes in their order.
        reduction: It reduces axes, and keeps them with length 1 if ``keepdims`` says so.
        positions: Its output says where values lie, in integers, and holds none of them.
        random: It draws random numbers.
        integer: It computes with integers of 8 bits, or makes them from floats.
        requantizes: It turns floats into integers of a quantized network, or back.
        mixes_rows: Each row of its output depends on all rows of its input, as in attention.
        channelwise: It is not elementwise, and a channel of its output still depends on no other channel of its first
            input: a pool, a resize.
        between: No value that it gives lies outside of those that it reduces or slides over, zeros that it pads with
            aside.
        homogeneous: A multiple of its input, by a positive number, gives that multiple of its output.
        increasing: It is unary, and where its input grows its output does not fall, unless an attribute turns it.
        valley: It is unary, falls to the one place of its input that is named here and grows behind it, and is next to
            nothing far below; None for any other.
        integer_form: How onnxruntime computes it between dequantized inputs and a quantized output: ``weights``,
            ``arithmetic`` of two tensors, a ``pool`` of means, a ``join``; ``moved`` where the output is on the grid
            of the input, ``range`` where the operator before it takes it over. Empty where it does not.
    """

    domain: str
    name: str
    kind: str = ""
    joins: bool = False
    word: str = ""
    inner_word: str = ""
    elementwise: bool = False
    operands: int = 1
    ordered: bool = False
    product: bool = False
    per_channel: bool = False
    affine: bool = False
    keeps_axes: bool = False
    normalises_last: bool = False
    moves: bool = False
    fills: bool = False
    passes: bool = False
    shape_inputs: tuple[int, ...] = ()
    size_inputs: tuple[int, ...] = ()
    weight: int | None = None
    rows: int | None = None
    bias: int | None = None
    transposed: bool = False
    window: bool = False
    channels_last: Literal["", "always", "attribute"] = ""
    bounds: tuple[float, float] = (-math.inf, math.inf)
    valid: tuple[float, float] = (-math.inf, math.inf)
    nonzero: int | None = None
    ending: Ending = ""
    counts: bool = False
    compares: bool = False
    logical: bool = False
    steps: bool = False
    picks: bool = False
    output_scale: int | None = None
    ranks: bool = False
    reduction: bool = False
    positions: bool = False
    random: bool = False
    integer: bool = False
    requantizes: bool = False
    mixes_rows: bool = False
    channelwise: bool = False
    between: bool = False
    homogeneous: bool = False
    increasing: bool = False
    valley: float | None = None
    integer_form: IntegerForm = ""

    @property
    def standard(self) -> bool:
        """Whether it is one of ONNX's own."""
        return self.domain == ""

    @property
    def weighted(self) -> bool:
        """Whether it is a convolution or a matrix product."""
        return self.weight is not None

    @property
    def keeps_layout(self) -> bool:
        """Whether channels that lie on the last axis before it lie there after it."""
        return self.elementwise or self.keeps_axes

    @property
    def transparent(self) -> bool:
        """Whether its output is its input, but for the type and what a type rounds."""
        return self.elementwise and self.passes

    @property
    def unary(self) -> bool:
        """Whether it applies one and the same function to every element of one tensor."""
        return self.elementwise and self.operands == 1 and not self.per_channel

    @property
    def nonlinear(self) -> bool:
        """Whether it is elementwise and no affine function."""
        return self.elementwise and not self.affine

    @property
    def hands_on(self) -> bool:
        """Whether its output says what its input says, in other places or of fewer elements."""
        kept = self.moves and not (self.elementwise or self.picks or self.kind or self.counts or self.ranks)
        return self.passes or self.logical or kept

    @property
    def keeps_scale(self) -> bool:
        """Whether integers stand for the same numbers behind it as before it."""
        return self.standard and (self.integer_form == "moved" or (self.passes and self.moves))

    @property
    def arithmetic(self) -> bool:
        """Whether it is an affine function of the first of two tensors: a sum, difference, product or quotient."""
        return self.affine and self.operands == 2

    def is_channels_last(self, node: NodeProto) -> bool:
        """Whether `node` gives (N, H, W, C) by what it is, and not because its input is laid out so."""
        if self.channels_last == "attribute":
            return any(a.name == "channels_last" and a.i for a in node.attribute)
        return self.channels_last == "always"

    def rows_axis(self, node: NodeProto) -> int | None:
        """The axis of the weights of `node` along which its output channels lie.

        Returns:
            0 or 1, or -1 for the last axis of a matrix product; None for an operator without weights. The output
            channels of a transposed convolution lie there group by group.
        """
        if self.rows == 1 and any(a.name == "transB" and a.i for a in node.attribute):
            return 0
        return self.rows


def make_rows(domain: str, names: str, **facts: Any) -> Iterator[Operator]:
    """A row for each of `names`, which are parted by spaces, with the same facts.

    The layer's word is the operator's name in small letters where no other is given.
    """
    for name in names.split():
        yield Operator(domain, name, **{"word": name.lower(), **facts})
