"""Where the windows of a convolution or pool lie on what they slide over."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, Protocol

import numpy as np

from inspector.records import record
from inspector.reverse.rule import Array


class HasSettings(Protocol):
    """A node whose attributes can be asked for."""

    def get(self, name: str, default: Any = None) -> Any:
        """The attribute `name`."""


@record
class Windows:
    """Where a sliding window lies: kernel, stride, dilation and padding per spatial axis, sizes before and after."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    size: tuple[int, ...]
    out: tuple[int, ...]

    @classmethod
    def of(cls, step: HasSettings, size: Sequence[int], out: Sequence[int], kernel: Sequence[int]) -> Windows:
        """The windows of a step: `size` is that of the maps before it, `out` that of the maps after."""
        rank = len(size)
        stride, dilation = (tuple(step.get(k) or [1] * rank) for k in ("strides", "dilations"))
        reach = [(out[i] - 1) * stride[i] + (kernel[i] - 1) * dilation[i] + 1 for i in range(rank)]
        kind = step.get("auto_pad", "NOTSET")
        if kind.startswith("SAME"):
            total = [max(0, reach[i] - size[i]) for i in range(rank)]
            before = [t // 2 if kind == "SAME_UPPER" else (t + 1) // 2 for t in total]
        else:
            before = [0] * rank if kind == "VALID" else list(step.get("pads") or [0] * 2 * rank)[:rank]
        # With ceil_mode a last window may reach beyond the padding; with floor some of the input may be left over.
        after = [max(0, reach[i] - before[i] - size[i]) for i in range(rank)]
        return cls(tuple(kernel), stride, dilation, tuple(before), tuple(after), tuple(size), tuple(out))

    def offsets(self) -> product[tuple[int, ...]]:
        """Every place in the kernel."""
        return product(*map(range, self.kernel))

    def slices(self, at: tuple[int, ...]) -> tuple[Any, ...]:
        """The elements of the padded input that the kernel's place `at` meets, one for each output."""
        return (
            ...,
            *(
                slice(a * d, a * d + s * (n - 1) + 1, s)
                for a, d, s, n in zip(at, self.dilation, self.stride, self.out, strict=True)
            ),
        )

    def make_padded(self, lead: tuple[int, ...], dtype: Any, fill: float = 0.0) -> Array:
        """An array of the input's size with its padding, full of `fill`."""
        return np.full(
            (*lead, *(b + n + a for b, n, a in zip(self.before, self.size, self.after, strict=True))), fill, dtype
        )

    def strip(self, array: Array) -> Array:
        """A padded array without its padding."""
        inside: tuple[Any, ...] = tuple(slice(b, b + n) for b, n in zip(self.before, self.size, strict=True))
        return array[(..., *inside)]
