"""The training shared by several processes or GPUs, by Lightning Fabric: only the training, not what is around it."""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from exporters.finetuning.cache import CacheEntry
from exporters.finetuning.context import BASE, PreparedRun
from exporters.finetuning.phases import make_phases
from exporters.finetuning.report import Reporter
from exporters.finetuning.train import Trainer
from exporters.sources.needs import torch
from inspector.errors import InspectorError, MissingExtra, UsageError
from inspector.extras import install_command
from inspector.files import temporary_folder
from inspector.model import open_model
from inspector.runtime import count_cores

# In the processes too, which import this before Fabric sets them up: how they find each other is no remark of ours.
for _name in ("distributed", "rank_zero"):
    logging.getLogger(f"lightning_fabric.utilities.{_name}").setLevel(logging.WARNING)


def check_devices(count: int, device: str) -> Any:
    """Return Fabric's class.

    Args:
        count: How many processes or GPUs are asked for.
        device: ``cuda`` or ``cpu``.

    Raises:
        MissingExtra: lightning-fabric is not installed.
        UsageError: There are fewer GPUs.
    """
    try:
        from lightning_fabric import Fabric
    except ImportError:
        raise MissingExtra("--devices needs lightning-fabric", install_command("fabric")) from None
    gpus = torch.cuda.device_count() if device == "cuda" else 0
    if gpus and count > gpus:
        raise UsageError(f"{count} devices were asked for and there are {gpus}", f"give --devices {gpus} at most")
    return Fabric


def train_on_devices(
    prepared: PreparedRun, entry: CacheEntry, shape: tuple[int, ...], folder: Path, resume: bool, device: str
) -> list[list[str]]:
    """Run the phases in several processes; the state is in the run folder's checkpoints afterwards.

    Every process reads the stored activations itself and takes its share of every batch.

    Args:
        prepared: What was prepared; its options say how many processes. Each opens the model from the run folder.
        entry: The stored activations.
        shape: (1, C, H, W) of the network's input.
        folder: The run folder.
        resume: Whether to go on from the last checkpoint.
        device: ``cuda`` or ``cpu``.

    Returns:
        Of every process, the digests of what is frozen in each phase's network after the training.

    Raises:
        MissingExtra: lightning-fabric is not installed.
        UsageError: There are fewer devices.
        InspectorError: What a process raises.
    """
    fabric_class, count = check_devices(prepared.options.devices, device), prepared.options.devices
    unopened = replace(prepared, model=None)  # type: ignore[arg-type]
    gpus = device == "cuda" and torch.cuda.device_count() > 0
    fabric = fabric_class(accelerator="cuda" if gpus else "cpu", devices=count, strategy="ddp_spawn")
    work: Callable[..., Any] = _process
    with temporary_folder() as reports:
        try:
            # As bytes: on its way to the processes Fabric looks into what it is given, and refuses frozen dataclasses.
            fabric.launch(work, pickle.dumps((unopened, entry, shape, folder, resume)), reports)
        except Exception:
            # What comes through the launcher is a traceback as text; what the process wrote down is the error itself.
            for path in sorted(reports.glob("error.*")):
                kind, message, hint = pickle.loads(path.read_bytes())
                error = kind.__new__(kind)
                InspectorError.__init__(error, message, hint)
                raise error from None
            raise
        return [pickle.loads((reports / f"done.{rank}").read_bytes()) for rank in range(count)]


def _process(fabric: Any, work: bytes, reports: Path) -> None:
    """What each process does."""
    try:
        done = _train(fabric, work)
    except InspectorError as error:
        (reports / f"error.{fabric.global_rank}").write_bytes(pickle.dumps((type(error), error.message, error.hint)))
        raise
    (reports / f"done.{fabric.global_rank}").write_bytes(pickle.dumps(done))


def _train(fabric: Any, work: bytes) -> list[str]:
    prepared, entry, shape, folder, resume = pickle.loads(work)
    torch.set_num_threads(max(1, count_cores() // fabric.world_size))
    os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))
    prepared = replace(prepared, model=open_model(folder / BASE))
    phases = make_phases(prepared, entry, shape)
    reporter = Reporter(folder, prepared.options, prepared.dataset, False, print)
    trainer = Trainer(
        phases, len(prepared.dataset.classes), prepared.options, folder / "checkpoints",
        lambda state: reporter.epoch(state.history), fabric,
    )  # fmt: skip
    trainer.run(resume)
    return [phase.network.cpu().frozen_digest() for phase in phases]
