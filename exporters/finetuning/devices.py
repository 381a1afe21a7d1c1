"""The training shared by several processes or GPUs, by Lightning Fabric: only the training, not what is around it."""

from __future__ import annotations

import logging
import os
import pickle
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporters.finetuning.cache import CacheEntry
from exporters.finetuning.train import Trainer
from exporters.needs import torch
from inspector.errors import InspectorError, MissingExtra, UsageError
from inspector.extras import install_command
from inspector.model import open_model
from inspector.runtime import available_cores

if TYPE_CHECKING:
    from exporters.finetuning.run import Prepared


# In the processes too, which import this before Fabric sets them up: how they find each other is no remark of ours.
for _name in ("distributed", "rank_zero"):
    logging.getLogger(f"lightning_fabric.utilities.{_name}").setLevel(logging.WARNING)


def check_devices(count: int, device: str) -> Any:
    """Fabric's class. Raises MissingExtra, UsageError where there are fewer GPUs. device: "cuda" or "cpu"."""
    try:
        from lightning_fabric import Fabric
    except ImportError:
        raise MissingExtra("--devices needs lightning-fabric", install_command("fabric")) from None
    gpus = torch.cuda.device_count() if device == "cuda" else 0
    if gpus and count > gpus:
        raise UsageError(f"{count} devices were asked for and there are {gpus}", f"give --devices {gpus} at most")
    return Fabric


def train_on_devices(
    made: Prepared, entry: CacheEntry, shape: tuple[int, ...], folder: Path, resume: bool, device: str
) -> list[list[str]]:
    """Runs the phases in `made.options.devices` processes; the state is in the run folder's checkpoints afterwards.

    Every process reads the stored activations itself and takes its share of every batch. made: without its model,
    which each process opens from the run folder. device: "cuda" or "cpu". Returns, of every process, the digests of
    what is frozen in each phase's network after the training. Raises MissingExtra, UsageError, and what a process does.
    """
    fabric_class, count = check_devices(made.options.devices, device), made.options.devices
    gpus = device == "cuda" and torch.cuda.device_count() > 0
    fabric = fabric_class(accelerator="cuda" if gpus else "cpu", devices=count, strategy="ddp_spawn")
    work: Callable[..., Any] = _process
    with tempfile.TemporaryDirectory() as reports:
        try:
            # As bytes: on its way to the processes Fabric looks into what it is given, and refuses frozen dataclasses.
            fabric.launch(work, pickle.dumps((made, entry, shape, folder, resume)), Path(reports))
        except Exception:
            # What comes through the launcher is a traceback as text; what the process wrote down is the error itself.
            for path in sorted(Path(reports).glob("error.*")):
                kind, message, hint = pickle.loads(path.read_bytes())
                error = kind.__new__(kind)
                InspectorError.__init__(error, message, hint)
                raise error from None
            raise
        return [pickle.loads((Path(reports) / f"done.{rank}").read_bytes()) for rank in range(count)]


def _process(fabric: Any, work: bytes, reports: Path) -> None:
    """What each process does."""
    try:
        done = _train(fabric, work)
    except InspectorError as error:
        (reports / f"error.{fabric.global_rank}").write_bytes(pickle.dumps((type(error), error.message, error.hint)))
        raise
    (reports / f"done.{fabric.global_rank}").write_bytes(pickle.dumps(done))


def _train(fabric: Any, work: bytes) -> list[str]:
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
    return [phase.network.cpu().frozen_digest() for phase in phases]
