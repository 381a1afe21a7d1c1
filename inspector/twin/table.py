"""The one table of operators, and what an operator is told about its node.

An operator is a function from a :class:`Node` to a kernel: it decodes the attributes once, and returns a closure that
takes the node's inputs as tensors (None where an optional one is absent) and returns its output, or a tuple of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from inspector.graph import FLOAT_TYPES
from inspector.twin.types import DTYPES

Run = Callable[..., Any]


class NotSupported(Exception):
    """An operator, or a setting of one, that the table does not cover. Becomes an `Unsupported` at the border."""


@dataclass(frozen=True)
class Kernel:
    """What an operator's function returns when there is more to say than the closure.

    Attributes:
        run: The closure.
        inplace: The same, but it may overwrite its first input.
        swaps: The inplace form may be called with its two inputs exchanged.
        dead: For an activation, the mask (bool, shape of its input) of the elements whose derivative is zero
            because the unit is switched off.
    """

    run: Run
    inplace: Run | None = None
    dead: Callable[[Tensor], Tensor] | None = None
    swaps: bool = False


@dataclass(frozen=True)
class OperatorForm:
    """One row of the table.

    Attributes:
        since: The first opset version of this form.
        settings: Input positions that hold shapes, axes, limits: they are read on the host, are never trained and
            never moved to a device.
        weights: Input positions in which a floating-point constant is a weight.
        loose_weights: The same, but only for more than one element, and only behind another weight (so that a
            scalar or the picture's mean and deviation do not count).
        makes_shape: The output is integers on the host whatever the input.
        fresh: The output is newly allocated and the backward does not need it.
        view: Rearranges its first input without computing.
    """

    op: str
    domain: str
    since: int
    make: Callable[[Node], Kernel | Run]
    settings: frozenset[int] = frozenset()
    weights: frozenset[int] = frozenset()
    buffers: frozenset[int] = frozenset()
    loose_weights: bool = False
    makes_shape: bool = False
    fresh: bool = False
    view: bool = False


@dataclass
class Node:
    """What an operator may know about its node when the twin is built.

    Attributes:
        host: The node is shape arithmetic, it runs on the CPU in the file's own types.
        exact: Keep the types of the file (otherwise every floating-point type is the twin's).
        batch: The batch size that the file fixes, or None.
    """

    op: str
    domain: str
    name: str
    opset: int
    inputs: Sequence[str]
    outputs: Sequence[str]
    attributes: Mapping[str, Any]
    constant_of: Callable[[str], Tensor | None]
    host: bool = False
    exact: bool = False
    batch: int | None = None
    extras: list[str] = field(default_factory=list)

    def has(self, position: int) -> bool:
        """Whether the optional input at `position` is there."""
        return position < len(self.inputs) and bool(self.inputs[position])

    def constant(self, position: int) -> Tensor | None:
        """The input at `position` if it is known when the twin is built: a CPU tensor in the file's type."""
        return self.constant_of(self.inputs[position]) if self.has(position) else None

    def integers(self, position: int) -> list[int] | None:
        """The constant at `position` as a flat list, or None when there is none or it is not constant."""
        value = self.constant(position)
        return None if value is None else [int(v) for v in value.flatten().tolist()]

    def number(self, position: int) -> float | None:
        """The constant scalar at `position`, or None when there is none or it is not constant."""
        value = self.constant(position)
        if value is None or value.numel() != 1:
            return None
        return float(value.reshape(()).item())

    def get(self, name: str, default: Any = None) -> Any:
        """The attribute `name`, or `default`."""
        return self.attributes.get(name, default)

    def need(self, name: str) -> Any:
        """The attribute `name`; raises NotSupported when the node lacks it."""
        if name not in self.attributes:
            raise NotSupported(f"attribute {name!r} is missing")
        return self.attributes[name]

    def wants(self, position: int) -> bool:
        """Whether the output at `position` is named."""
        return position < len(self.outputs) and bool(self.outputs[position])

    def with_anchor(self) -> None:
        """Asks for one more argument before the inputs: an empty tensor in the twin's floating type and device."""
        self.extras.append("anchor")

    def with_batch(self) -> None:
        """Asks for one more argument before the inputs: the leading size of the twin's first input, an int."""
        self.extras.append("batch")

    def dtype(self, number: int) -> tuple[torch.dtype, bool]:
        """torch's type for an ONNX element type, and whether it stands for the twin's own floating type."""
        found = DTYPES.get(number)
        if found is None:
            raise NotSupported(f"element type {number} does not exist in torch")
        return found, number in FLOAT_TYPES and not self.exact and not self.host


TABLE: dict[tuple[str, str], list[OperatorForm]] = {}
"""(domain, operator) -> its forms by `since`, ascending."""


def operator(
    *names: str,
    since: int = 1,
    domain: str = "",
    settings: Sequence[int] = (),
    weights: Sequence[int] = (),
    buffers: Sequence[int] = (),
    **flags: bool,
) -> Callable[[Callable[[Node], Kernel | Run]], Callable[[Node], Kernel | Run]]:
    """Registers a function for operators `names` from opset `since` on. The rest is :class:`OperatorForm`'s."""

    def register(make: Callable[[Node], Kernel | Run]) -> Callable[[Node], Kernel | Run]:
        for name in names:
            row = OperatorForm(
                name,
                domain,
                since,
                make,
                frozenset(settings),
                frozenset(weights),
                frozenset(buffers),
                **flags,
            )
            forms = TABLE.setdefault((domain, name), [])
            forms.append(row)
            forms.sort(key=lambda form: form.since)
        return make

    return register


def find_form(domain: str, op: str, opset: int) -> OperatorForm | None:
    """The form of an operator that a file of this opset version means, or None."""
    forms = TABLE.get(("" if domain == "ai.onnx" else domain, op), ())
    known = [form for form in forms if form.since <= opset]
    return known[-1] if known else None


def as_kernel(made: Kernel | Run) -> Kernel:
    """What an operator's function returned, as a kernel."""
    return made if isinstance(made, Kernel) else Kernel(made)
