"""The training shared by several processes or GPUs, by Lightning Fabric: only the training, not what is around it."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporters._needs import torch
from exporters.finetuning.cache import Entry
from exporters.finetuning.train import Trainer
from inspector.errors import MissingExtra, UsageError
from inspector.model import open_model
from inspector.runtime import available_cores

if TYPE_CHECKING:
    from exporters.finetuning.run import Prepared


def train_on_devices(
    made: Prepared, entry: Entry, shape: tuple[int, ...], folder: Path, resume: bool, device: str
) -> None:
    """Runs the phases in `made.options.devices` processes; the state is in the run folder's checkpoints afterwards.

    Every process reads the stored activations itself and takes its share of every batch. made: without its model,
    which each process opens from the run folder. device: "cuda" or "cpu". Raises MissingExtra, UsageError.
    """
    try:
        from lightning_fabric import Fabric
    except ImportError:
        raise MissingExtra("--devices needs lightning-fabric", "pip install 'inspector[fabric]'") from None
    count = made.options.devices
    gpus = torch.cuda.device_count() if device == "cuda" else 0
    if gpus and count > gpus:
        raise UsageError(f"{count} devices were asked for and there are {gpus}", f"give --devices {gpus} at most")
    fabric = Fabric(accelerator="cuda" if gpus else "cpu", devices=count, strategy="ddp_spawn")
    # As bytes: on its way to the processes Fabric looks into what it is given, and refuses frozen dataclasses.
    work: Callable[..., Any] = _train
    fabric.launch(work, pickle.dumps((made, entry, shape, folder, resume)))


def _train(fabric: Any, work: bytes) -> None:
    """What each process does."""
    made, entry, shape, folder, resume = pickle.loads(work)
    from exporters.finetuning.report import Reporter
    from exporters.finetuning.run import BASE, make_phases

    torch.set_num_threads(max(1, available_cores() // fabric.world_size))
    os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))
    whole = replace(made, model=open_model(folder / BASE))
    phases = make_phases(whole, entry, shape)
    reporter = Reporter(folder, made.options, made.dataset, False, print)
    trainer = Trainer(
        phases, len(made.dataset.classes), made.options, folder / "checkpoints",
        lambda state: reporter.epoch(state.history), fabric,
    )  # fmt: skip
    trainer.run(resume)
