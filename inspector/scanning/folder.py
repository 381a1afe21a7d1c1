"""The folder of a scan: what lies in it, who works in it, and which shards are done.

SCAN/plan.json                what the scan does
SCAN/pictures.jsonl           the list of pictures, one a line
SCAN/states/000012.state      what shard 12 summed up
SCAN/states/000012.aside      why shard 12 was given up
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from inspector.files import output_folder, write_text
from inspector.scanning.exact import BINS, CELLS
from inspector.scanning.listing import ScanError
from inspector.scanning.plan import PLAN_NAME, ScanPlan
from inspector.scanning.state import ChannelSums, ScanState
from inspector.scanning.state_file import load_scan_state
from inspector.text import to_json

STATES = "states"
_LOCK = "scan.lock"


@contextmanager
def lock_scan(folder: Path) -> Iterator[None]:
    """No other scan writes into this folder during the block. The lock goes with the process, however it ends.

    Raises:
        ScanError: Another one does.
        OutputError: The folder cannot be made.
    """
    _refuse_strangers(folder)
    output_folder(folder)
    path = folder / _LOCK
    try:
        number = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise ScanError(f"the folder {folder} cannot be locked: {error.strerror or error}") from None
    try:
        if not _take(number):
            holder = path.read_text("utf-8", "replace").strip()
            raise ScanError(
                f"another scan writes into {folder}{f' ({holder})' if holder else ''}",
                "wait for it, or choose another folder",
            )
        os.ftruncate(number, 0)
        os.pwrite(number, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        try:
            yield
        finally:
            # Unlocked only when it is closed, so that nobody can lock the file that is being removed. The folder goes
            # too where nothing was done.
            with suppress(OSError):
                path.unlink()
                folder.rmdir()
    finally:
        os.close(number)


def _refuse_strangers(folder: Path) -> None:
    """Raise ScanError where a folder holds files and no scan: the tables and pages would take the place of theirs."""
    if not folder.is_dir() or (folder / PLAN_NAME).exists():
        return
    held = sorted(
        x.name for x in folder.iterdir() if x.name not in (_LOCK, STATES) and not x.name.startswith("pictures")
    )
    if held:
        raise ScanError(f"{folder} holds files that are of no scan, such as {held[0]}", "give -o a new folder")


def _take(number: int) -> bool:
    """Lock an open file, if nobody else has; True as well where the file system knows no locks."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def state_path(folder: Path, shard: int) -> Path:
    """Where the state of a shard lies."""
    return folder / STATES / f"{shard:06d}.state"


def _aside_path(folder: Path, shard: int) -> Path:
    return folder / STATES / f"{shard:06d}.aside"


def set_aside(folder: Path, shard: int, reason: str) -> None:
    """Give a shard up, and say why.

    Raises:
        OutputError: It cannot be written.
    """
    write_text(_aside_path(folder, shard), to_json({"shard": shard, "reason": reason}) + "\n")


def read_aside(folder: Path, shard: int) -> str | None:
    """Why a shard was given up; None where it was not."""
    try:
        return str(json.loads(_aside_path(folder, shard).read_text("utf-8"))["reason"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return "it was given up, and the file that says why is damaged"


def find_missing(folder: Path, plan: ScanPlan, shards: Iterable[int]) -> list[int]:
    """The shards whose state is not there; those that were given up are among them, for a new try.

    A state that is damaged, or that is of another scan, is removed.
    """
    missing = []
    for shard in shards:
        path = state_path(folder, shard)
        _aside_path(folder, shard).unlink(missing_ok=True)
        if path.exists():
            try:
                state = load_scan_state(path, rows=False)
                if state.scan == plan.digest and state.ranges == (plan.find_range(shard),):
                    continue
            except ScanError:
                pass
            path.unlink()
        missing.append(shard)
    return missing


def read_states(folder: Path, plan: ScanPlan, rows: bool = False) -> Iterator[ScanState]:
    """The state of each shard in order; a shard that was given up has one without pictures.

    Args:
        folder: The folder of the scan.
        plan: Its plan.
        rows: Whether to read what they hold of each picture.

    Raises:
        ScanError: A state is not there, damaged, or of another scan.
    """
    for shard in range(plan.shards):
        path = state_path(folder, shard)
        reason = None if path.exists() else read_aside(folder, shard)
        if reason is not None:
            yield make_empty_state(plan, shard, reason)
            continue
        if not path.exists():
            raise ScanError(
                f"shard {shard + 1} of {plan.shards} is not done: there is no {path}",
                "scan with --resume, or merge all parts",
            )
        state = load_scan_state(path, rows)
        if state.scan != plan.digest or state.ranges != (plan.find_range(shard),):
            raise ScanError(f"{path} is the state of another scan", "remove it and scan with --resume")
        yield state


def make_empty_state(plan: ScanPlan, shard: int, reason: str) -> ScanState:
    """The state of a shard of which no picture was used."""
    first, end = plan.find_range(shard)
    return ScanState(
        plan.digest, ((first, end),), make_empty_sums(plan), None, tuple((k, reason) for k in range(first, end))
    )


def make_empty_sums(plan: ScanPlan) -> ChannelSums:
    """The sums before the first picture."""
    layers, channels = len(plan.layers), sum(x.channels for x in plan.layers)

    def zeros(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        return np.zeros(shape, np.int64)

    return ChannelSums(
        pictures=0,
        elements=zeros(layers),
        non_finite=zeros(layers),
        zeros=zeros(channels),
        blank=zeros(channels),
        active=zeros(channels),
        low=np.full(channels, np.inf, np.float32),
        high=np.full(channels, -np.inf, np.float32),
        mean=zeros(channels, CELLS),
        square=zeros(channels, CELLS),
        mean_square=zeros(channels, CELLS),
        peak=zeros(channels, CELLS),
        zero_square=zeros(layers, CELLS),
        histogram=np.zeros((channels, BINS), np.uint32),
        class_rows=zeros(0),
        class_counts=zeros(0),
        class_sums=zeros(0, channels),
        top_values=np.full((channels, plan.top), -np.inf, np.float32),
        top_pictures=np.full((channels, plan.top), -1, np.int64),
        top_places=np.zeros((channels, plan.top, 2), np.int32),
    )
