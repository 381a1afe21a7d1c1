"""Random networks with channels planted in them that do nothing, and the list of what was planted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray

from tests.foreign import Net

Array = NDArray[np.float32]


@dataclass
class Stream:
    """The tensor at hand, and what is planted in it.

    Attributes:
        name: The tensor.
        count: Its channels.
        zero: Channels that are 0 everywhere.
        fixed: Channels that are another constant.
        unread: Channels that no reader has a weight for.
        copies: Channel -> (the channel that it repeats, how many times).
        positive: No value is below 0.
        own: Nothing else reads its channels, also not before what made them into this.
    """

    name: str
    count: int
    zero: set[int] = field(default_factory=set)
    fixed: set[int] = field(default_factory=set)
    unread: set[int] = field(default_factory=set)
    copies: dict[int, tuple[int, float]] = field(default_factory=dict)
    positive: bool = False
    own: bool = True

    @property
    def dead(self) -> set[int]:
        """All channels that can go."""
        return self.zero | self.fixed | self.unread | self.copies.keys()


class PlantedNetwork:
    """Builds one network from a seed.

    Attributes:
        planted: (tensor of a convolution or linear layer, channel) that can be cut.
    """

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.net = Net(seed, opset=17)
        self.planted: set[tuple[str, int]] = set()
        self.stream = Stream(self.net.input("x", (1, 3, 8, 8)), 3)
        self.layers = 0

    def build(self) -> onnx.ModelProto:
        stages: list[Callable[[], None]] = [
            self.plain, self.residual, self.branches, self.depthwise, self.grouped, self.gate, self.two_readers,
            self.norm, self.pool, self.pointwise, self.split,
        ]  # fmt: skip
        self.plain()
        for pick in self.rng.integers(0, len(stages), int(self.rng.integers(3, 7))):
            stages[pick]()
        return self.net.model(self.tail())

    # What stages are made of.

    def choose(self, count: int, among: int | None = None) -> Stream:
        """Choose what is planted in a new layer of `count` channels; most of them stay alive."""
        order = [int(k) for k in self.rng.permutation(among or count)]
        alive = order[len(order) // 2 :]
        made = Stream("", count)
        for k in order[: len(order) // 2]:
            kind = self.rng.integers(0, 6)
            before = [other for other in alive if other < k]  # the later one of a pair is cut
            if kind == 0:
                made.zero.add(k)
            elif kind == 1:
                made.unread.add(k)
            elif kind == 2 and before:
                made.copies[k] = (int(self.rng.choice(before)), float(self.rng.choice([1, 2, 0.5, 3])))
        return made

    def rows(
        self, shape: tuple[int, ...], made: Stream, source: Stream | None = None, only_zeros: bool = False
    ) -> tuple[Array, Array]:
        """Weights and bias of a layer that reads `source`, with what is planted in `made`."""
        weight = self.rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        bias = self.rng.standard_normal(shape[0]) * 0.1
        if source is not None:
            weight[:, sorted(source.unread)] = 0
        for k in made.zero:
            weight[k], bias[k] = 0, 0
            if source is not None and source.positive and not only_zeros and self.rng.random() < 0.5:
                # Not zero, but below zero whatever comes in; only before an activation that ends there.
                weight[k], bias[k] = -np.abs(self.rng.standard_normal(shape[1:])), -0.01
                made.positive = True
        for k in made.fixed:
            weight[k], bias[k] = 0, 0.3
        weight, bias = weight.astype(np.float32), bias.astype(np.float32)
        for k, (other, times) in made.copies.items():
            weight[k], bias[k] = np.float32(times) * weight[other], np.float32(times) * bias[other]
        return weight, bias

    def conv(self, source: Stream, made: Stream, size: int = 3, only_zeros: bool = False) -> str:
        weight, bias = self.rows((made.count, source.count, size, size), made, source, only_zeros)
        name = self.name()
        self.planted |= {(name, k) for k in made.dead}
        self.net("Conv", source.name, self.net.const(weight), self.net.const(bias), pads=[size // 2] * 4, out=name)
        return name

    def name(self) -> str:
        self.layers += 1
        return f"layer{self.layers}"

    def activate(self, name: str, made: Stream, only: str = "") -> Stream:
        """An activation that keeps what is planted: 0 at 0, and homogeneous where factors are not 1."""
        if made.positive or only:
            kind = only or "Relu"
        elif any(times != 1 for _, times in made.copies.values()) or made.fixed:
            kind = str(self.rng.choice(["Relu", "LeakyRelu"]))
        else:
            kind = str(self.rng.choice(["Relu", "LeakyRelu", "HardSwish", "silu", "Clip"]))
        if kind == "silu":
            made.name = self.net("Mul", name, self.net("Sigmoid", name))
        elif kind == "Clip":
            made.name = self.net("Clip", name, self.net.const(0.0), self.net.const(6.0))
        else:
            made.name = self.net(kind, name)
        made.positive = kind in ("Relu", "Clip")
        return made

    # Stages.

    def plain(self) -> None:
        made = self.choose(int(self.rng.integers(5, 10)))
        self.stream = self.activate(self.conv(self.stream, made), made)

    def pointwise(self) -> None:
        """Constants that are not 0, in front of a convolution without padding."""
        made = self.choose(int(self.rng.integers(5, 10)))
        made.fixed, made.zero = made.zero, set()
        middle = self.activate(self.conv(self.stream, made), made)
        after = self.choose(6)
        self.stream = self.activate(self.conv(middle, after, 1), after)

    def residual(self) -> None:
        source = self.stream
        inner = self.choose(int(self.rng.integers(4, 8)))
        middle = self.activate(self.conv(source, inner), inner)
        made = Stream("", source.count, set(source.zero), set(), set(source.unread), dict(source.copies), own=False)
        total = self.net("Add", self.conv(middle, made, only_zeros=True), source.name)
        self.stream = self.activate(total, made, "Relu")

    def branches(self) -> None:
        parts = []
        for _ in range(2):
            made = self.choose(int(self.rng.integers(3, 6)))
            parts.append(self.activate(self.conv(self.stream, made, 1), made))
        first, second = parts
        shift = first.count
        self.stream = Stream(
            self.net("Concat", first.name, second.name, axis=1), first.count + second.count,
            first.zero | {k + shift for k in second.zero}, set(), first.unread | {k + shift for k in second.unread},
            {**first.copies, **{k + shift: (o + shift, t) for k, (o, t) in second.copies.items()}},
            first.positive and second.positive, first.own and second.own,
        )  # fmt: skip

    def depthwise(self) -> None:
        source = self.stream
        weight = self.rng.standard_normal((source.count, 1, 3, 3)).astype(np.float32)
        bias = np.zeros(source.count, np.float32)
        extra = {k for k in range(source.count) if source.own and self.rng.random() < 0.15} - source.dead
        extra -= {other for other, _ in source.copies.values()}
        weight[sorted(extra)] = 0
        for k, (other, _) in source.copies.items():
            weight[k] = weight[other]
        name = self.name()
        self.net(
            "Conv",
            source.name,
            self.net.const(weight),
            self.net.const(bias),
            pads=[1] * 4,
            group=source.count,
            out=name,
        )
        self.planted |= {(name, k) for k in extra | source.dead}
        made = Stream(
            "", source.count, source.zero | extra, set(), set(source.unread), dict(source.copies), own=source.own
        )
        self.stream = self.activate(name, made, "Relu" if source.copies else "")

    def grouped(self) -> None:
        """Two groups with the same planted in each."""
        half = self.choose(4)
        made = Stream("", 8, *(s | {k + 4 for k in s} for s in (half.zero, half.fixed, half.unread)))  # type: ignore[arg-type]
        source = self.activate(self.conv(self.stream, made), made, "Relu")
        weight = (self.rng.standard_normal((8, 4, 3, 3)) / 6).astype(np.float32)
        weight[:, sorted(half.unread)] = 0
        weight[[1, 5]] = 0
        bias = (self.rng.standard_normal(8) * 0.1).astype(np.float32)
        bias[[1, 5]] = 0
        name = self.name()
        self.net("Conv", source.name, self.net.const(weight), self.net.const(bias), pads=[1] * 4, group=2, out=name)
        self.planted |= {(name, 1), (name, 5)}
        self.stream = self.activate(name, Stream("", 8, {1, 5}))

    def gate(self) -> None:
        source = self.stream
        inner = self.choose(3)
        pooled = Stream(self.net("GlobalAveragePool", source.name), source.count, unread=source.unread)
        middle = self.activate(self.conv(pooled, inner, 1), inner, "Relu")
        outer = Stream("", source.count, copies={k: (other, 1.0) for k, (other, _) in source.copies.items()})
        weight, bias = self.rows((source.count, 3, 1, 1), outer, middle)
        name = self.name()
        self.net("Conv", middle.name, self.net.const(weight), self.net.const(bias), out=name)
        self.planted |= {(name, k) for k in source.dead}
        gated = self.net("Mul", source.name, self.net("HardSigmoid", name))
        self.stream = Stream(
            gated, source.count, set(source.zero), set(), set(source.unread), dict(source.copies), source.positive,
            own=False,
        )  # fmt: skip

    def two_readers(self) -> None:
        made = self.choose(6)
        left, right = (self.conv(self.stream, made, size, only_zeros=True) for size in (3, 1))
        total = self.net("Add", left, right)
        self.stream = self.activate(total, made, "Relu")

    def norm(self) -> None:
        made = self.choose(6)
        made.copies = {}
        weight, _ = self.rows((6, self.stream.count, 3, 3), Stream("", 6), self.stream)
        name = self.name()
        self.net("Conv", self.stream.name, self.net.const(weight), pads=[1] * 4, out=name)
        gamma, beta = self.rng.uniform(0.5, 1.5, 6), self.rng.standard_normal(6) * 0.1
        dead = sorted(made.zero)
        gamma[dead], beta[dead] = 0, 0
        mean, variance = self.rng.standard_normal(6) * 0.1, self.rng.uniform(0.5, 1.5, 6)
        given = [self.net.const(v) for v in (gamma, beta, mean, variance)]
        self.planted |= {(name, k) for k in made.dead}
        self.stream = self.activate(self.net("BatchNormalization", name, *given), made)

    def pool(self) -> None:
        source, kind = self.stream, int(self.rng.integers(0, 3))
        if kind == 0:
            source.name = self.net("MaxPool", source.name, kernel_shape=[3, 3], pads=[1] * 4)
        elif kind == 1:
            source.name = self.net("AveragePool", source.name, kernel_shape=[2, 2], pads=[0, 0, 1, 1])
        else:
            scales = self.net.const(np.array([1, 1, 2, 2], np.float32))
            up = self.net("Resize", source.name, "", scales, mode="nearest")
            source.name = self.net("MaxPool", up, kernel_shape=[2, 2], strides=[2, 2])

    def split(self) -> None:
        """Channels parted and joined the other way round."""
        source = self.stream
        if source.count < 4 or source.copies:
            self.pool()
            return
        cut = source.count // 2
        names = [self.net._fresh("part"), self.net._fresh("part")]
        sizes = self.net.const(np.array([cut, source.count - cut]))
        self.net("Split", source.name, sizes, out=names, axis=1)
        joined = self.net("Concat", names[1], names[0], axis=1)
        turn = [*range(cut, source.count), *range(cut)]
        moved = {old: new for new, old in enumerate(turn)}
        self.stream = Stream(
            joined, source.count, {moved[k] for k in source.zero}, {moved[k] for k in source.fixed},
            {moved[k] for k in source.unread}, {}, source.positive, source.own,
        )  # fmt: skip

    def tail(self) -> str:
        source = self.stream
        if self.rng.random() < 0.5:
            flat = self.net("Flatten", self.net("GlobalAveragePool", source.name))
            weight, _ = self.rows((5, source.count), Stream("", 5), source)
            return self.net("Gemm", flat, self.net.const(weight), self.net.const(np.ones(5)), transB=1)
        weight, _ = self.rows((5, source.count, 8, 8), Stream("", 5), source)
        flat = self.net("Flatten", source.name)
        return self.net("MatMul", flat, self.net.const(weight.reshape(5, -1).T))
