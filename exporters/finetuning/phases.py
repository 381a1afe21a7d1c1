"""The two trainings of a run: their networks on the stored activations, and what of them is frozen."""

from __future__ import annotations

from collections.abc import Sequence

from exporters.finetuning.cache import CacheEntry
from exporters.finetuning.context import PreparedRun
from exporters.finetuning.features import read_activations
from exporters.finetuning.network import build_network, compare_sizes
from exporters.finetuning.norms import find_weight
from exporters.finetuning.train import HEAD, JOINT, TrainingPhase
from exporters.planning.boundary import Boundary

_MEASURED = 1024
"""Training pictures that norms are measured on before they begin."""


def make_phases(prepared: PreparedRun, entry: CacheEntry, shape: tuple[int, ...]) -> list[TrainingPhase]:
    """Make the training of the head and, with a boundary, the joint training.

    Args:
        prepared: What was prepared.
        entry: The stored activations.
        shape: (1, C, H, W) of the network's input.
    """
    options, dataset, head = prepared.options, prepared.dataset, prepared.head

    def make(name: str, epochs: int, rate: float, boundary: Boundary | None, tensors: Sequence[str]) -> TrainingPhase:
        network = build_network(prepared.model.graph, head, boundary, shape, options.dropout, options.norms)
        train = read_activations(entry, tensors, dataset.train, options.versions)
        network.begin_norms(train.some(_MEASURED, options.batch))
        shares = prepared.plan.rates()
        sizes = {}
        if boundary is not None:
            sizes = {n: s * shares.get(find_weight(n), 1.0) for n, s in compare_sizes(network).items()}
        val = read_activations(entry, tensors, dataset.val, 1)
        return TrainingPhase(name, epochs, rate, options.patience or max(5, epochs // 2), network, train, val, sizes)

    phases = [make(HEAD, options.head_epochs, options.head_rate, None, [head.features])]
    if (boundary := prepared.boundary) is not None:
        phases.append(make(JOINT, options.joint_epochs, options.joint_rate, boundary, boundary.tensors))
    return phases


def compare_digests(
    phases: Sequence[TrainingPhase], before: Sequence[str], after: Sequence[Sequence[str]]
) -> dict[str, dict[str, str]]:
    """Compare the digests of what is frozen in each phase's network.

    Args:
        phases: The phases.
        before: One digest of each phase.
        after: The digests of each phase, of each process.

    Returns:
        `before` and `after` by the phase's name; of several processes one that differs, if any does.
    """
    return {
        phase.name: {"before": first, "after": next((d[k] for d in after if d[k] != first), first)}
        for k, (phase, first) in enumerate(zip(phases, before, strict=True))
    }
