"""A built graph: a flat list of steps over numbered registers, and the loop that runs it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from inspector.errors import NotComputable, one_line
from inspector.twin.table import Run

BackwardRule = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""A backward rule of an activation: (gradient of the output, natural gradient of the input, input, dead) -> gradient
of the input. All four have the input's shape; `dead` is bool, True where the unit is switched off."""

ANCHOR, BATCH, REGISTERS = 0, 1, 3
"""Registers that every program has: an empty tensor of the twin's type and device; the batch size, an int; and, for
the branches of an If, the registers themselves."""


@dataclass(frozen=True)
class Body:
    """One branch of an If: steps over the same registers as the rest, and where its results are."""

    steps: tuple[Step, ...]
    results: tuple[int, ...]


@dataclass(frozen=True)
class Step:
    """One call. inputs and outputs are registers, `free` those that nobody reads afterwards.

    run may overwrite its input where that is safe, plain never does.

    Attributes:
        data: Position among `inputs` of the tensor that an activation works on.
        names: The tensors made.
        label: The node, for errors.
    """

    run: Run
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    free: tuple[int, ...]
    plain: Run
    dead: Callable[[Tensor], Tensor] | None
    data: int
    names: tuple[str, ...]
    label: str
    bodies: tuple[Body, ...] = ()

    def with_rule(self, rule: BackwardRule) -> Step:
        """This activation with another backward, or this If with such activations."""
        if self.bodies:
            bodies = [Body(tuple(s.with_rule(rule) for s in body.steps), body.results) for body in self.bodies]
            return replace(
                make_branching_step(bodies, self.inputs, self.outputs, self.names, self.label), free=self.free
            )
        dead, plain, data = self.dead, self.plain, self.data
        if dead is None:
            return self

        def run(*given: Any) -> Any:
            def alone(x: Tensor) -> Any:
                return plain(*given[:data], x, *given[data + 1 :])

            return Ruled.apply(given[data], alone, dead, rule)

        return replace(self, run=run)


def make_branching_step(
    bodies: Sequence[Body],
    inputs: tuple[int, ...],
    outputs: tuple[int, ...],
    names: tuple[str, ...],
    label: str,
) -> Step:
    """The step of an If: (registers, condition, everything that a branch reads)."""

    def run(registers: list[Any], condition: Tensor, *captured: Any) -> tuple[Any, ...]:
        body = bodies[0 if bool(condition.item()) else 1]
        execute(body.steps, registers)
        return tuple(registers[i] for i in body.results)

    return Step(run, inputs, outputs, (), run, None, 0, names, label, tuple(bodies))


class Ruled(torch.autograd.Function):
    """An activation whose backward is a rule."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, function: Run, dead: Run, rule: BackwardRule) -> Tensor:
        """The activation itself."""
        ctx.save_for_backward(x)
        ctx.settings = function, dead, rule
        y = function(x)
        return y.view_as(y) if y is x else y

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """The rule's gradient for x."""
        (x,) = ctx.saved_tensors
        function, dead, rule = ctx.settings
        with torch.enable_grad():
            inside = x.detach().requires_grad_()
            (natural,) = torch.autograd.grad(function(inside), inside, gradients[0])
        return rule(gradients[0], natural, x, dead(x)), None, None, None


def make_leaky_rule(slope: float) -> BackwardRule:
    """The rule that lets `slope` times the gradient through where the unit is dead."""
    return lambda gradient, natural, x, dead: torch.where(dead, slope * gradient, natural)


@dataclass(frozen=True)
class Program:
    """Steps, and where their values are.

    Attributes:
        template: The registers before a run, with the host's constants in place.
        inputs: Registers.
        outputs: Registers.
    """

    template: tuple[Any, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    steps: tuple[Step, ...]

    def registers(self) -> list[Any]:
        """Fresh registers, to be filled with inputs and weights."""
        return list(self.template)

    def run(self, registers: list[Any], steps: Sequence[Step] | None = None) -> list[Any]:
        """Runs all steps; returns the outputs.

        Raises:
            NotComputable: Naming the node that fails.
        """
        registers[REGISTERS] = registers
        try:
            execute(self.steps if steps is None else steps, registers)
        finally:
            registers[REGISTERS] = None  # a list that holds itself would keep its tensors until the next collection
        return [registers[i] for i in self.outputs]

    def trace(self, registers: list[Any]) -> Generator[tuple[str, Tensor], Tensor | None, None]:
        """Runs step by step and yields what each makes, in order; a tensor that is sent back takes its place.

        A later step may overwrite a tensor in place: look at it before the next is asked for.
        """
        for step in self.steps:
            self.run(registers, [replace(step, free=())])
            for name, i in zip(step.names, step.outputs, strict=True):
                other = (yield name, registers[i]) if name else None
                if other is not None:
                    registers[i] = other
            for i in step.free:
                registers[i] = None


def execute(steps: Sequence[Step], registers: list[Any]) -> None:
    """Runs steps over registers.

    Raises:
        NotComputable: Naming the node that fails.
    """
    step = None
    try:
        for step in steps:
            result = step.run(*[registers[i] for i in step.inputs])
            if type(result) is tuple:
                for i, value in zip(step.outputs, result):  # noqa: B905  (an operator may give more than is named)
                    registers[i] = value
            else:
                registers[step.outputs[0]] = result
            for i in step.free:
                registers[i] = None
    except (RuntimeError, ValueError, IndexError, TypeError, AssertionError) as error:
        raise make_failure(step, registers, error) from error


def make_failure(step: Step | None, registers: list[Any], error: Exception) -> Exception:
    """The error to raise when a step fails; running out of memory stays what it is."""
    if isinstance(error, torch.OutOfMemoryError) or step is None:
        return error
    shapes = [tuple(v.shape) for v in (registers[i] for i in step.inputs) if isinstance(v, Tensor)]
    sizes = ", ".join("x".join(map(str, shape)) or "scalar" for shape in shapes)
    return NotComputable(
        f"the {step.label} fails on inputs of shape {sizes}: {one_line(str(error), 200)}",
        "the file may fix the size of its input: give that size, or ask for an earlier tensor",
    )
