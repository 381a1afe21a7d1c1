"""The part of a network that is trained: what follows the boundary, and the head, as torch modules of the .onnx."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from exporters.finetuning.norms import Norms, State, fold_state
from exporters.planning.boundary import Boundary, find_float_initializers
from exporters.planning.head import ClassifierHead
from exporters.planning.places import place_norms
from exporters.sources.needs import nn, torch
from inspector.errors import NotComputable, listing
from inspector.graph import Graph
from inspector.twin import Twin, build_twin, write_back

LAYOUT = torch.channels_last
"""Convolutions train in two thirds of the time with the channels innermost in memory; shapes stay (N, C, H, W)."""


class TrainableNetwork(nn.Module):
    """From the boundary's activations, or from the features where there is no trunk, to the scores.

    The weights go by the names of the file's initializers. The base's norms keep their statistics, whatever is
    trained.

    Args:
        norms: Those of :mod:`exporters.finetuning.norms` that are put between, and folded in the end.
    """

    def __init__(
        self, trunk: Twin | None, head: Twin, features: str, scores: str, dropout: float, norms: Norms | None = None
    ) -> None:
        super().__init__()
        self.trunk, self.head, self.norms = trunk, head, norms
        self.features, self.scores, self.dropout = features, scores, dropout

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        """Scores (N, K)."""
        tensors = tuple(t.contiguous(memory_format=LAYOUT) if t.ndim == 4 else t for t in tensors)
        values = tensors[0] if self.trunk is None else self.trunk(*tensors)[self.features]
        if self.dropout and self.training:
            values = nn.functional.dropout(values, self.dropout)
        scores: torch.Tensor = self.head(values)[self.scores]
        return scores.reshape(len(scores), -1)

    def trained(self) -> dict[str, nn.Parameter]:
        """Initializer name -> parameter, of those that learn, in the order of the graph."""
        found: dict[str, nn.Parameter] = {}
        for twin in (self.trunk, self.head):
            if twin is not None:
                own = dict(twin.named_parameters())
                found |= {n: own[k] for n, k in twin.keys.items() if k in own and own[k].requires_grad}
        return found if self.norms is None else found | self.norms.learned()

    def moving(self) -> State:
        """All that changes in training, by name and not copied: the weights that learn, and statistics of norms."""
        found: State = {name: p.detach() for name, p in self.trained().items()}
        return found if self.norms is None else found | self.norms.statistics()

    def state(self) -> State:
        """A copy of all that changes in training."""
        return {name: value.clone() for name, value in self.moving().items()}

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Takes over weights and statistics by name; others stay."""
        for name, value in self.moving().items():
            if name in state:
                value.copy_(state[name])

    def begin_norms(self, batches: Iterable[tuple[torch.Tensor, ...]]) -> None:
        """Measures what the norms begin with, on batches of what the network takes. Nothing where there are none."""
        if self.norms is not None and self.trunk is not None:
            self.norms.begin(batches, self.trunk)

    def settle_norms(self, batches: Iterable[tuple[torch.Tensor, ...]]) -> None:
        """Measures the statistics of the norms anew, for the weights as they are."""
        if self.norms is not None and self.trunk is not None and self.norms.on:
            self.norms.settle(batches, self.trunk)

    def fold(self) -> None:
        """Folds the norms into the weights; without them from here on."""
        if self.norms is not None:
            state = fold_state(self.state())
            self.norms.stop()
            self.load(state)

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """The weights that learn, as the file would hold them; with norms, call :meth:`fold` first."""
        names = self.trained().keys()
        found: dict[str, NDArray[np.float32]] = {}
        for twin in (self.trunk, self.head):
            if twin is not None:
                found |= {n: a for n, a in write_back(twin).items() if n in names}
        return found

    def frozen_digest(self) -> str:
        """SHA-256 of everything in the module that does not learn, the statistics of norms included."""
        learns = {id(p) for p in self.trained().values()}
        if self.norms is not None:
            learns |= {id(value) for value in (*self.norms.parameters(), *self.norms.buffers())}
        digest = hashlib.sha256()
        for name, value in (*self.named_parameters(), *self.named_buffers()):
            if id(value) not in learns:
                digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def build_network(
    graph: Graph,
    head: ClassifierHead,
    boundary: Boundary | None,
    shape: Sequence[int],
    dropout: float,
    norms: str = "kept",
) -> TrainableNetwork:
    """The trained part of `graph`: from the boundary, or from the features alone where it is None.

    Weights that the frozen part reads too stay frozen.

    Args:
        graph: The base with its new head.
        head: The new head.
        boundary: Where the trained part begins.
        shape: Of the network's input, for parts that read it.
        dropout: Share of the features that the head does not see while it is trained, in [0, 1).
        norms: ``batch`` puts norms behind what is trained, off until :meth:`TrainableNetwork.begin_norms`.

    Raises:
        TwinUnsupported: The twin does not have an operator.
        NotComputable: For quantized weights.
    """
    shapes = {graph.inputs[0].name: tuple(shape)}
    top = build_twin(graph, [head.scores], [head.features], trainable=True, shapes=shapes)
    trunk, between = None, None
    if boundary is not None:
        below = find_float_initializers(graph, range(boundary.start))
        if norms == "batch":
            nodes, _ = graph.needed([head.features], boundary.tensors)
            free = find_float_initializers(graph, sorted(nodes)).keys() - below.keys()
            places = place_norms(graph, boundary.start, head.node)
            between = Norms([p for p in places if {p.weight, p.bias} <= free])
        trunk = build_twin(
            graph,
            [head.features],
            boundary.tensors,
            trainable=True,
            shapes=shapes,
            in_place=False,
            after=between.transforms() if between is not None else None,
        )
        own = dict(trunk.named_parameters())
        for name, key in trunk.keys.items():
            if name in below and key in own:
                own[key].requires_grad_(False)
    network = TrainableNetwork(trunk, top, head.features, head.scores, dropout, between)
    made = [n for twin in (trunk, top) if twin is not None for n in twin.made_by_nodes]
    if made:
        raise NotComputable(
            f"{listing(made)} are not weights of the file but computed from them: the base is quantized",
            "fine-tune the float model, then `inspector quantize` the result",
        )
    return network.to(memory_format=LAYOUT)


def compare_sizes(network: TrainableNetwork) -> dict[str, float]:
    """How large a step of rate 1 is for each trained tensor: its root mean square, a tenth of that for a bias.

    Not below 1e-3, or what starts at zero would stay there. The tenth is for what a bias does to a whole map. Of the
    weights that `network` has now: a run asks before it trains, so that the head counts with its random start, uniform
    within 1/sqrt(F), and its bias with the least, and not with what the head phase makes of them.
    """
    return {
        name: max(float(p.detach().double().square().mean().sqrt()), 1e-3) * (1.0 if p.ndim > 1 else 0.1)
        for name, p in network.trained().items()
    }


def digest_file(graph: Graph, names: Sequence[str]) -> str:
    """SHA-256 of these initializers as the file holds them, name by name."""
    digest = hashlib.sha256()
    for name in sorted(names):
        digest.update(name.encode() + np.ascontiguousarray(graph.weight(name)).tobytes())
    return digest.hexdigest()
