"""How busy this process keeps the machine."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Load:
    """What this process uses.

    Attributes:
        processor: Processor time in a second of the clock; 1.5 is one and a half busy cores. None where it is unknown.
        cores: Cores that it may use.
        memory: Memory that it holds, in bytes; None where it is unknown.
        total: Memory of the machine, in bytes; None where it is unknown.
    """

    processor: float | None
    cores: int
    memory: int | None
    total: int | None


class LoadMeter:
    """Measures it at most once a second; in between it gives what it measured last.

    Args:
        every: Seconds between two measurements.
    """

    def __init__(self, every: float = 1.0) -> None:
        self._every = every
        self._then, self._spent = time.monotonic(), time.process_time()
        self._cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._load = Load(None, self._cores, measure_resident(), measure_total())

    def measure(self) -> Load:
        """The load since the last measurement."""
        now = time.monotonic()
        if now - self._then >= self._every:
            spent = time.process_time()
            share = (spent - self._spent) / (now - self._then)
            self._load = Load(share, self._cores, measure_resident(), self._load.total)
            self._then, self._spent = now, spent
        return self._load


def measure_resident() -> int | None:
    """Memory that this process holds now, in bytes; None where the system does not tell it."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        return None


def measure_total() -> int | None:
    """Memory of the machine, in bytes; None where the system does not tell it."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return None
