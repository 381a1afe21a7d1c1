"""The part of a graph behind a tensor as a twin, with arrays in and arrays out: for callers that import no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inspector.graph import Graph
from inspector.twin.builder import build_twin
from inspector.twin.devices import compute_exactly, find_device
from inspector.twin.types import to_array, to_tensor

Array = NDArray[Any]


class TwinPart:
    """From the values of some tensors of a graph to one output, and to its gradient in the first of them.

    Args:
        graph: The whole graph.
        output: Name of the tensor that is computed.
        inputs: Names of the tensors that are given; gradients are with respect to the first.
        shapes: Shape of the graph's input by its name, for parts that read it.
        provider: What the model is run on: on a GPU the part is too, where torch sees it.
    """

    def __init__(
        self,
        graph: Graph,
        output: str,
        inputs: Sequence[str],
        shapes: Mapping[str, tuple[int, ...]],
        provider: str = "cpu",
    ) -> None:
        self.device = find_device(provider)
        self._twin = build_twin(graph, [output], inputs, shapes=shapes, device=self.device)
        self._output = output

    @compute_exactly()
    def compute(self, given: Sequence[Array]) -> Array:
        """The output's value for the values of the inputs, in the type that the twin computes in."""
        with torch.no_grad():
            return to_array(self._twin(*_to_tensors(given, self.device))[self._output])

    def open_gradient(
        self, given: Sequence[Array], rng: np.random.Generator | None = None
    ) -> Callable[[slice, float | Array], Array]:
        """Run the part once for the values of the inputs.

        Args:
            given: Values of the inputs.
            rng: Moves the gradient by up to one rounding behind every operation, to see what rounding makes.

        Returns:
            A function from cells of the flattened output and a sign, or a weight for each, to the gradient of their
            weighted sum, float32 in the shape of the first input; zeros where the cells do not depend on it.
        """
        tensors = _to_tensors(given, self.device)
        # A twin carries integers of a quantized file as floats, so that a gradient can pass.
        first = tensors[0] = tensors[0].float().requires_grad_(True)
        with torch.enable_grad(), compute_exactly():
            output = self._twin(*tensors)[self._output]
        if rng is not None:
            _shake(output, int(rng.integers(2**31)))

        @compute_exactly()
        def gradient(cells: slice, weight: float | Array) -> Array:
            found = None
            if output.requires_grad:
                factor = to_tensor(weight).to(self.device) if isinstance(weight, np.ndarray) else weight
                total = (factor * output.reshape(-1)[cells]).sum()
                (found,) = torch.autograd.grad(total, first, retain_graph=True, allow_unused=True)
            if found is None:
                return np.zeros(given[0].shape, np.float32)
            array: Array = found.detach().cpu().numpy()
            return array

        return gradient


def _shake(output: Tensor, seed: int) -> None:
    """Move the gradient of `output` by up to one rounding in front of each operation that it goes back through."""
    generator = torch.Generator(output.device).manual_seed(seed)

    def move(gradients: Any) -> Any:
        def moved(one: Tensor) -> Tensor:
            noise = torch.rand(one.shape, generator=generator, device=one.device, dtype=torch.float64) * 2 - 1
            return (one * (1 + torch.finfo(one.dtype).eps * noise)).to(one.dtype)

        return tuple(None if one is None else moved(one) for one in gradients)

    waiting, seen = [output.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            node.register_prehook(move)
            waiting.extend(following for following, _ in node.next_functions)


def _to_tensors(given: Sequence[Array], device: str = "cpu") -> list[Tensor]:
    tensors = [to_tensor(np.asarray(values)).to(device) for values in given]
    return [t.float() if t.is_floating_point() else t for t in tensors]


def make_forward(
    graph: Graph, outputs: Sequence[str], inputs: Sequence[str]
) -> Callable[[Sequence[Array]], list[Array]]:
    """A part of a graph as a function of arrays.

    Args:
        graph: The whole graph.
        outputs: Names of the tensors that are computed.
        inputs: Names of the tensors that are given.
    """
    twin = build_twin(graph, outputs, inputs, dtype=None, in_place=False)

    def run(given: Sequence[Array]) -> list[Array]:
        with torch.no_grad():
            found = twin(*_to_tensors(given))
        return [to_array(found[name]) for name in outputs]

    return run
