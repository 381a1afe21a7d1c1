"""Steps 3 and 5: the head alone, then the unfrozen layers with it. The seed and its number make every epoch."""

from __future__ import annotations

import contextlib
import ctypes
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporters.finetuning import checkpoint
from exporters.finetuning.features import StoredActivations
from exporters.finetuning.metrics import Metrics, is_better, measure
from exporters.finetuning.network import TrainableNetwork
from exporters.finetuning.norms import State, fold_state
from exporters.planning.options import FineTuneOptions
from exporters.sources.needs import nn, torch
from inspector.errors import InspectorError
from inspector.twin.devices import compute_exactly

HEAD, JOINT = "head", "joint"

SETTLED = 512
"""Training pictures that the statistics of norms are measured on before the network is judged."""


class TrainingError(InspectorError):
    """The training went wrong: its loss is no number any more."""

    kind = "training"


@dataclass(frozen=True)
class TrainingPhase:
    """One of the two trainings.

    Attributes:
        rates: Share of `rate` by initializer name, 1 where none is given.
    """

    name: str
    epochs: int
    rate: float
    patience: int
    network: TrainableNetwork
    train: StoredActivations
    val: StoredActivations
    rates: Mapping[str, float] = field(default_factory=dict)


@dataclass
class TrainingState:
    """Where a run is.

    Attributes:
        phase: The phase that is trained.
        epoch: Epochs of it that are done.
        best: Of all, with its phase and epoch.
    """

    phase: int = 0
    epoch: int = 0
    waited: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] | None = None
    phase_best: dict[str, Any] | None = None
    seconds: dict[str, float] = field(default_factory=dict)


def schedule_rate(name: str, done: float) -> float:
    """Share of the peak rate after `done` in [0, 1) of a phase.

    ``cosine``: from 1 down to 0. ``onecycle``: from 1/25 up in the first quarter, then down to 1e-4, both by cosines.
    """
    if name == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    if done < 0.25:
        return 0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * done / 0.25))
    return 1e-4 + (1 - 1e-4) * 0.5 * (1 + math.cos(math.pi * (done - 0.25) / 0.75))


def weigh_classes(labels: NDArray[Any], classes: int) -> NDArray[np.float32]:
    """N / (K n_k) for each class, so that every class weighs the same: float32 (K,)."""
    counts = np.bincount(labels, minlength=classes)
    return (len(labels) / (classes * np.maximum(counts, 1))).astype(np.float32)


def draw_batches(
    labels: NDArray[Any], versions: int, classes: int, options: FineTuneOptions, phase: int, epoch: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """(pictures, versions of them) of every step of an epoch; the same for the same seed, phase and epoch."""
    rng = np.random.default_rng([options.seed, 2, phase, epoch])
    count = len(labels)
    if options.balance == "sampling":
        chance = weigh_classes(labels, classes)[labels].astype(np.float64)
        order = rng.choice(count, count, p=chance / chance.sum())
    else:
        order = rng.permutation(count)
    version = rng.integers(0, versions, count)
    for start in range(0, count, options.batch):
        yield order[start : start + options.batch], version[start : start + options.batch]


def keep_memory() -> None:
    """Lets the C library keep what it frees, instead of asking the kernel for every activation anew.

    With :func:`exporters.finetuning.network.build_network`'s plain steps an eighth less time. Only glibc has the call.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_THRESHOLD, 1 << 30)
        library.mallopt(_TRIM_THRESHOLD, 2**31 - 1)


_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # of malloc.h


class Trainer:
    """Runs phases one after the other, and writes a checkpoint after every epoch.

    Args:
        folder: Of the checkpoints.
        on_epoch: Called with the whole history after each epoch.
        fabric: A launched `lightning.fabric.Fabric`; every batch and every evaluation is then shared by its
            processes.
        device: Of torch, where there is no fabric.
    """

    def __init__(
        self,
        phases: Sequence[TrainingPhase],
        classes: int,
        options: FineTuneOptions,
        folder: Path,
        on_epoch: Callable[[TrainingState], None] = lambda state: None,
        fabric: Any = None,
        device: str = "cpu",
    ) -> None:
        self.phases, self.classes, self.options, self.folder, self.on_epoch = phases, classes, options, folder, on_epoch
        self.fabric = fabric
        self.device = torch.device(device) if fabric is None else fabric.device
        self.rank: int = 0 if fabric is None else fabric.global_rank
        self.world: int = 1 if fabric is None else fabric.world_size
        self.state = TrainingState()

    @property
    def last(self) -> Path:
        """The checkpoint to go on from."""
        return self.folder / "last.safetensors"

    @property
    def best(self) -> Path:
        """The weights of the best epoch."""
        return self.folder / "best.safetensors"

    @compute_exactly()
    def run(self, resume: bool = False) -> TrainingState:
        """Train to the end, from the beginning or from the last checkpoint.

        Raises:
            TrainingError: The loss is no number any more.
        """
        tensors: State = {}
        keep_memory()
        if resume and self.last.exists():
            tensors, document = checkpoint.load_checkpoint(self.last)
            self.state = TrainingState(**document)
        while self.state.phase < len(self.phases):
            self._phase(self.phases[self.state.phase], tensors)
            tensors = {}
        return self.state

    def _phase(self, phase: TrainingPhase, tensors: State) -> None:
        state, options = self.state, self.options
        network = phase.network.to(self.device)
        if tensors:
            network.load(_part(tensors, "weights"))
        elif state.phase:
            # The joint phase starts from the best head; said in a checkpoint before anything replaces the best one.
            self._wait()
            network.load(checkpoint.load_checkpoint(self.best)[0])
            self._save(network, None, {})
        optimiser = self._optimiser(phase)
        average = _part(tensors, "average") or (network.state() if options.average and phase.name == JOINT else {})
        average = {name: value.to(self.device) for name, value in average.items()}
        _restore(optimiser, network, tensors)
        call: nn.Module = network
        if self.fabric is not None:
            # Gradients are averaged over the processes where the network is called through this.
            call = self.fabric.setup_module(network)
        while state.epoch < phase.epochs and state.waited < phase.patience:
            started = time.perf_counter()
            loss, rate = self._epoch(phase, call, optimiser, average)
            weights = network.state()
            if average:
                network.load(average)
            pieces = phase.train.some(SETTLED, options.batch)
            network.settle_norms(tuple(t.to(self.device) for t in piece) for piece in pieces)
            found = self.evaluate(network, phase.val)
            state.epoch += 1
            # Without the confusion matrix: of a thousand classes it would make every checkpoint megabytes larger.
            figures = {name: value for name, value in found.to_json().items() if name != "confusion"}
            entry = {"phase": phase.name, "epoch": state.epoch, "rate": rate, "train_loss": loss, **figures}
            if new := is_better(entry, state.phase_best, options.select):
                state.phase_best = entry
            state.waited = 0 if new else state.waited + 1
            entry["best"] = is_better(entry, state.best, options.select)
            if entry["best"]:
                state.best = entry
            if entry["best"] and self.rank == 0:
                checkpoint.save_checkpoint(
                    self.best, fold_state(network.state()), {"options": options.to_json(), **entry}
                )
            network.load(weights)
            seconds = time.perf_counter() - started
            entry["seconds"] = round(seconds, 3)
            state.seconds[phase.name] = state.seconds.get(phase.name, 0.0) + seconds
            state.history.append(entry)
            self._save(network, optimiser, average)
            if self.rank == 0:
                self.on_epoch(state)
        self._wait()
        state.phase, state.epoch, state.waited, state.phase_best = state.phase + 1, 0, 0, None
        if state.phase == len(self.phases):
            self._save(network, None, {})

    def _optimiser(self, phase: TrainingPhase) -> torch.optim.Optimizer:
        groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
        for name, parameter in phase.network.trained().items():
            groups.setdefault((phase.rates.get(name, 1.0), parameter.ndim > 1), []).append(parameter)
        return torch.optim.AdamW(
            [
                {"params": own, "share": share, "weight_decay": self.options.weight_decay if decays else 0.0}
                for (share, decays), own in groups.items()
            ],
            lr=phase.rate,
        )

    def _epoch(
        self, phase: TrainingPhase, call: nn.Module, optimiser: torch.optim.Optimizer, average: State
    ) -> tuple[float, float]:
        """(mean loss, last rate) of one epoch."""
        options, state = self.options, self.state
        network, data = phase.network, phase.train
        labels = data.labels.numpy()
        weight = None
        if options.balance == "weights":
            weight = torch.from_numpy(weigh_classes(labels, self.classes)).to(self.device)
        steps = -(-len(data) // options.batch)
        # Dropout and mixup draw from here: an epoch that is done again after a kill draws the same.
        torch.manual_seed(options.seed * 1_000_003 + state.phase * 10_007 + state.epoch + 7_919 * self.rank)
        rng = np.random.default_rng([options.seed, 3, state.phase, state.epoch, self.rank])
        call.train()
        total, rate = 0.0, 0.0
        batches = draw_batches(labels, data.versions, self.classes, options, state.phase, state.epoch)
        for step, (index, version) in enumerate(batches):
            batch = len(index)
            rate = phase.rate * schedule_rate(options.schedule, (state.epoch + step / steps) / phase.epochs)
            for group in optimiser.param_groups:
                group["lr"] = rate * group["share"]
            # The mean over the whole batch is what one process would have: DDP averages, so a share counts world times.
            counts = data.weights[torch.from_numpy(index)].to(self.device)
            if weight is not None:
                counts = counts * weight[data.labels[torch.from_numpy(index)]]
            whole = float(counts.sum())
            if self.world > 1 and len(index) >= self.world:
                index, version = index[self.rank :: self.world], version[self.rank :: self.world]
                whole /= self.world
            tensors = tuple(t.to(self.device) for t in data.batch(index, version))
            target = data.labels[torch.from_numpy(index)].to(self.device)
            own = data.weights[torch.from_numpy(index)].to(self.device)
            optimiser.zero_grad(set_to_none=True)
            loss = self._loss(call, tensors, target, own, weight, rng if phase.name == JOINT else None) / whole
            value = self._mean(loss.detach())
            if not math.isfinite(value):
                raise TrainingError(
                    f"the loss became {value} in epoch {state.epoch + 1} of the {phase.name} phase",
                    f"give a lower --{phase.name}-rate than {phase.rate:g}",
                )
            if self.fabric is None:
                loss.backward()  # type: ignore[no-untyped-call]
            else:
                self.fabric.backward(loss)
            optimiser.step()
            if average:
                self._average(network, average, state.epoch * steps + step)
            total += value * batch
        return total / len(data), rate

    def _loss(
        self,
        network: nn.Module,
        tensors: tuple[torch.Tensor, ...],
        target: torch.Tensor,
        own: torch.Tensor,
        weight: torch.Tensor | None,
        rng: np.random.Generator | None,
    ) -> torch.Tensor:
        """Sum of the cross-entropies with label smoothing, of mixed pairs where mixup is on.

        own: weights of the pictures. weight: of the classes.
        """

        def of(scores: torch.Tensor, wanted: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
            each = nn.functional.cross_entropy(
                scores.float(), wanted, weight=weight, label_smoothing=self.options.label_smoothing, reduction="none"
            )
            return (counts * each).sum()

        share = 1.0
        if rng is not None and self.options.mixup > 0:
            share = float(rng.beta(self.options.mixup, self.options.mixup))
            other = torch.from_numpy(rng.permutation(len(target))).to(self.device)
            tensors = tuple(share * t + (1 - share) * t[other] for t in tensors)
        with self._precision():
            scores = network(*tensors)
        if share == 1.0:
            return of(scores, target, own)
        return share * of(scores, target, own) + (1 - share) * of(scores, target[other], own[other])

    def _precision(self) -> Any:
        low = self.options.precision == "bfloat16" or (
            self.options.precision == "auto" and self.device.type == "cuda" and torch.cuda.is_bf16_supported()
        )
        return torch.autocast(self.device.type, torch.bfloat16) if low else nullcontext()

    def _average(self, network: TrainableNetwork, average: State, step: int) -> None:
        # The first steps count less, or the weights before the phase would weigh in for long.
        decay = min(self.options.average, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, value in network.moving().items():
                average[name].lerp_(value, 1 - decay)

    @compute_exactly()
    def scores(self, network: TrainableNetwork, data: StoredActivations) -> NDArray[np.float32]:
        """Scores of the plain version of every picture: float32 (N, K)."""
        network.eval()
        mine = np.arange(self.rank, len(data), self.world)
        found = np.zeros((len(data), self.classes), np.float32)
        with torch.no_grad():
            for start in range(0, len(mine), 64):
                index = mine[start : start + 64]
                tensors = data.batch(index, np.zeros_like(index))
                found[index] = network(*(t.to(self.device) for t in tensors)).float().cpu().numpy()
        if self.world == 1:
            return found
        # Every row is computed by one process alone and is zero in the others, so the sum has each picture once.
        summed: NDArray[np.float32] = (
            self.fabric.all_reduce(torch.from_numpy(found).to(self.device), reduce_op="sum").cpu().numpy()
        )
        return summed

    def _wait(self) -> None:
        if self.fabric is not None:
            self.fabric.barrier()

    def _mean(self, loss: torch.Tensor) -> float:
        return float(loss if self.fabric is None else self.fabric.all_reduce(loss, reduce_op="mean"))

    def evaluate(self, network: TrainableNetwork, data: StoredActivations) -> Metrics:
        """The figures on `data`, without augmentation."""
        return measure(self.scores(network, data), data.labels.numpy())

    def _save(self, network: TrainableNetwork, optimiser: torch.optim.Optimizer | None, average: State) -> None:
        if self.rank != 0:
            return
        tensors = {f"weights.{name}": value for name, value in network.state().items()}
        tensors |= {f"average.{name}": value for name, value in average.items()}
        if optimiser is not None:
            for name, parameter in network.trained().items():
                for key, value in optimiser.state[parameter].items():
                    tensors[f"{key}.{name}"] = value
        checkpoint.save_checkpoint(self.last, {k: v.cpu() for k, v in tensors.items()}, dict(vars(self.state)))


def _part(tensors: State, prefix: str) -> State:
    return {key.removeprefix(f"{prefix}."): v for key, v in tensors.items() if key.startswith(f"{prefix}.")}


def _restore(optimiser: torch.optim.Optimizer, network: TrainableNetwork, tensors: State) -> None:
    parts = {key: _part(tensors, key) for key in ("step", "exp_avg", "exp_avg_sq")}
    if not parts["step"]:
        return
    for name, parameter in network.trained().items():
        optimiser.state[parameter] = {
            key: own[name].clone().to(parameter.device if key != "step" else "cpu") for key, own in parts.items()
        }
