"""The twin itself: a torch module whose state is the file's weights."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from inspector.errors import NotComputable, UsageError
from inspector.twin.program import ANCHOR, BATCH, BackwardRule, Program, make_leaky_rule
from inspector.twin.types import to_array, to_numpy_dtype


class _Scope(nn.Module):
    """A part of a dotted name."""


@dataclass(frozen=True)
class Phantom:
    """An input of the file of which only the shape is read: its register, and its sizes behind the batch."""

    register: int
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class FixedBatch:
    """The batch size that the file fixes, and the outputs whose first axis it is."""

    size: int
    outputs: frozenset[str]


@dataclass(frozen=True)
class Stored:
    """A tensor that the module keeps.

    Attributes:
        role: "parameter", "buffer" (in the state_dict too) or "constant" (not there).
        dtype: numpy's name of the file's type.
        initializer: Whether the file holds it, or a node computes it.
    """

    name: str
    register: int
    value: Tensor
    role: str
    dtype: str
    initializer: bool


class Twin(nn.Module):
    """A torch module that computes tensors of an .onnx file. Made by :func:`inspector.twin.build_twin`.

    The keys of ``state_dict()`` are the names of the file's initializers; a name that torch refuses is changed, and
    `keys` tells how. The module is what the file is: ``train()`` and ``eval()`` change nothing, batch norms keep their
    statistics, dropout is off.

    Attributes:
        inputs: Tensor names of the file.
        outputs: Tensor names of the file.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    # Wide: the parts that the builder has made, each stored as it is; only the builder calls this.
    def __init__(
        self,
        program: Program,
        inputs: Sequence[str],
        outputs: Sequence[str],
        stored: Sequence[Stored],
        keys: Mapping[str, str],
        phantoms: Sequence[Phantom],
        dtype: torch.dtype | None,
        trainable: bool,
        fixed: FixedBatch | None = None,
    ) -> None:
        super().__init__()
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.keys: dict[str, str] = {}
        self.made_by_nodes: frozenset[str] = frozenset(
            s.name for s in stored if s.role != "constant" and not s.initializer
        )
        self._program = program
        self._steps = program.steps
        self._phantoms = tuple(phantoms)
        self._fixed = fixed
        self._file_dtypes: dict[str, str] = {}
        # Modules, not their dicts: torch.export puts other dicts into them and back.
        self._parameter_sources: list[tuple[int, nn.Module, str]] = []
        self._buffer_sources: list[tuple[int, nn.Module, str]] = []
        self.register_buffer("_anchor", torch.zeros((), dtype=dtype or torch.float32), persistent=False)
        for number, one in enumerate(stored):
            value = one.value
            if dtype is not None and value.is_floating_point():
                value = value.to(dtype)
            value = value.contiguous()
            if one.role == "constant":
                self.register_buffer(f"_constant_{number}", value, persistent=False)
                self._buffer_sources.append((one.register, self, f"_constant_{number}"))
                continue
            owner, leaf = self._owner(keys[one.name])
            if one.role == "parameter":
                owner.register_parameter(leaf, nn.Parameter(value, requires_grad=trainable))
                self._parameter_sources.append((one.register, owner, leaf))
            else:
                owner.register_buffer(leaf, value)
                self._buffer_sources.append((one.register, owner, leaf))
            self.keys[one.name] = keys[one.name]
            self._file_dtypes[one.name] = one.dtype

    def _owner(self, key: str) -> tuple[nn.Module, str]:
        module: nn.Module = self
        *scopes, leaf = key.split(".")
        for scope in scopes:
            if scope not in module._modules:
                module.add_module(scope, _Scope())
            module = module.get_submodule(scope)
        return module, leaf

    def forward(self, *inputs: Tensor) -> dict[str, Tensor]:
        """Tensor name -> value, exactly the asked outputs.

        Args:
            inputs: One tensor per name in `inputs`, in the shapes that the file expects; batch and canvas are free
                where the graph allows it.

        Raises:
            UsageError: For another number of them.
            NotComputable: Naming the node that cannot run on these shapes, or the output that has lost pictures where
                the file fixes its batch.
        """
        results = self._program.run(self._registers(inputs), self._steps)
        values = dict(zip(self.outputs, results, strict=True))
        if self._fixed is not None and inputs and inputs[0].dim() and inputs[0].shape[0] != self._fixed.size:
            self._check_batch(values, inputs[0].shape[0], self._fixed)
        return values

    def _check_batch(self, values: Mapping[str, Tensor], batch: int, fixed: FixedBatch) -> None:
        """A graph that has its batch built in may run on another one and lose pictures on the way."""
        for name, value in values.items():
            if name in fixed.outputs and value.shape[:1] != (batch,):
                raise NotComputable(
                    f"the file fixes its batch to {fixed.size}: for {batch} pictures tensor {name!r} has shape "
                    f"{tuple(value.shape)}",
                    f"give {fixed.size} at a time, or export the model with a free batch",
                )

    @property
    def computed(self) -> tuple[str, ...]:
        """Names of the tensors that the twin makes on its way, in topological order; what `trace` yields."""
        return tuple(name for step in self._program.steps for name in step.names if name)

    def trace(self, *inputs: Tensor) -> Generator[tuple[str, Tensor], Tensor | None, None]:
        """Runs forward and yields (tensor name, value) of each step in topological order.

        Look at a value before asking for the next: a later step may overwrite it in place. A tensor that is sent into
        the generator takes the place of the last one. Tensors inside a fused pattern (x * sigmoid(x)) do not appear.
        """
        yield from self._program.trace(self._registers(inputs))

    def _registers(self, inputs: Sequence[Tensor]) -> list[Any]:
        if len(inputs) != len(self.inputs):
            raise UsageError(
                f"the twin was given {len(inputs)} inputs and takes {len(self.inputs)}: {', '.join(self.inputs)}"
            )
        registers = self._program.registers()
        for register, owner, leaf in self._parameter_sources:
            registers[register] = owner._parameters[leaf]
        for register, owner, leaf in self._buffer_sources:
            registers[register] = owner._buffers[leaf]
        for register, value in zip(self._program.inputs, inputs, strict=True):
            registers[register] = value
        batch = inputs[0].shape[0] if inputs and inputs[0].dim() else 1
        registers[BATCH] = batch
        registers[ANCHOR] = anchor = self._buffers["_anchor"]
        for phantom in self._phantoms:
            assert anchor is not None
            registers[phantom.register] = anchor.expand(batch, *phantom.sizes)
        return registers

    @contextmanager
    def leaky_backward(self, slope: float = 1.0) -> Iterator[Twin]:
        """Inside, the gradient passes through dead units too, `slope` times; the forward is unchanged.

        A unit is dead where its activation is flat because it is switched off or saturated: Relu at x <= 0, Clip
        outside its limits, HardSwish at x <= -3, HardSigmoid outside, ThresholdedRelu, Shrink.
        """
        with self.modified_backward(make_leaky_rule(slope)):
            yield self

    @contextmanager
    def modified_backward(self, rule: BackwardRule) -> Iterator[Twin]:
        """Inside, the activations that can be dead have `rule` as their backward; the forward is unchanged.

        rule(gradient, natural, x, dead) -> gradient of x, all in the shape of x. Guided backpropagation
        (https://arxiv.org/abs/1412.6806) is ``lambda g, natural, x, dead: natural.clamp(min=0)``.
        """
        before = self._steps
        self._steps = tuple(step.with_rule(rule) for step in self._program.steps)
        try:
            yield self
        finally:
            self._steps = before

    def extra_repr(self) -> str:
        """Inputs, outputs and number of steps."""
        return f"{', '.join(self.inputs)} -> {', '.join(self.outputs)}, {len(self._steps)} steps"


def write_back(twin: Twin) -> dict[str, NDArray[Any]]:
    """The twin's weights as the file would hold them: initializer name -> array in the file's dtype and shape.

    Parameters and running statistics, also where `requires_grad` is False. A weight that the file does not hold but
    computes (a DequantizeLinear of constants) comes under its tensor's name; ``twin.made_by_nodes`` tells which.
    """
    state = twin.state_dict()
    arrays: dict[str, NDArray[Any]] = {}
    for name, key in twin.keys.items():
        dtype = twin._file_dtypes[name]
        value = state[key].detach().cpu()
        arrays[name] = to_array(value).astype(to_numpy_dtype(dtype))
    return arrays


_OWN = (
    "inputs",
    "outputs",
    "keys",
    "made_by_nodes",
    "_anchor",
    "_program",
    "_steps",
    "_phantoms",
    "_file_dtypes",
    "_parameter_sources",
    "_buffer_sources",
    "_fixed",
)
_RESERVED = frozenset((*dir(nn.Module()), *vars(Twin), *_OWN))


def name_state(names: Iterable[str]) -> dict[str, str]:
    """A state_dict key for each tensor name; the same for every part of one graph.

    The name itself where torch allows it. An empty part becomes "_"; a part that torch keeps for itself, or that is
    both a tensor and the beginning of another name, gets "_" behind it.
    """
    keys: dict[str, str] = {}
    scopes: set[tuple[str, ...]] = set()
    leaves: set[tuple[str, ...]] = set()
    for name in names:
        path: tuple[str, ...] = ()
        *parents, leaf = name.split(".")
        for part in parents:
            part = part or "_"
            while part in _RESERVED or part.startswith("_constant_") or (*path, part) in leaves:
                part += "_"
            path = (*path, part)
            scopes.add(path)
        leaf = leaf or "_"
        while leaf in _RESERVED or leaf.startswith("_constant_") or (*path, leaf) in leaves | scopes:
            leaf += "_"
        leaves.add((*path, leaf))
        keys[name] = ".".join((*path, leaf))
    return keys
