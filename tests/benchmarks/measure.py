"""What the benchmarks share: paired timings, whole processes with their peak memory, and ratio lines."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_MODEL = ROOT / "models" / "efficientnet-lite0.onnx"
PHOTO = ROOT / "docs" / "chelsea.jpg"
_BYTECODE = tempfile.TemporaryDirectory(prefix="bytecode-")


def paired(
    first: Callable[[], object], second: Callable[[], object], rounds: int = 15, block: int = 1
) -> tuple[float, float, float]:
    """(median seconds of first, of second, median of the ratios first/second), measured in turn after a warm-up.

    block: calls of one kind in a row, of which the median counts. For calls of milliseconds it should be several: the
    threads of a bare onnxruntime session go on spinning for 45 ms after a run, and would take a core from whatever is
    measured next; so a block begins with a rest and a call that is not counted.
    """
    first(), second()
    times: list[tuple[float, float]] = []
    for _ in range(rounds):
        a = in_a_row(first, block)
        times.append((a, in_a_row(second, block)))
    ones, twos = zip(*times, strict=True)
    return statistics.median(ones), statistics.median(twos), statistics.median(a / b for a, b in times)


def in_a_row(call: Callable[[], object], count: int) -> float:
    """Median seconds of `count` calls in a row; see `paired`."""
    if count == 1:
        return clock(call)
    time.sleep(0.07)
    call()
    return statistics.median(clock(call) for _ in range(count))


def clock(call: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def process(arguments: Sequence[str], cwd: Path | None = None) -> tuple[float, float]:
    """(seconds, peak megabytes) of a whole process; it must succeed."""
    seconds, _, peak = measure_process(arguments, cwd)
    return seconds, peak


def measure_process(arguments: Sequence[str], cwd: Path | None = None) -> tuple[float, float, float]:
    """(seconds, seconds of processor time, peak megabytes) of a whole process; it must succeed."""
    start = time.perf_counter()
    child = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=cwd, env=_environment())
    assert child.stderr is not None
    errors = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{' '.join(arguments)} failed:\n{errors.decode()}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def _environment() -> dict[str, str]:
    """As users have it: Python keeps what it compiled, here in a folder of its own."""
    rest = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return {**rest, "PYTHONPYCACHEPREFIX": _BYTECODE.name}


def paired_processes(first: Sequence[str], second: Sequence[str], rounds: int = 7) -> tuple[float, float, float]:
    """As `paired`, for whole processes."""
    return paired(lambda: process(first), lambda: process(second), rounds)


def paired_work(first: Sequence[str], second: Sequence[str], rounds: int = 7) -> tuple[float, float, float]:
    """As `paired_processes`, in processor time: for a machine that is shared with other work."""
    measure_process(first), measure_process(second)
    pairs = [(measure_process(first)[1], measure_process(second)[1]) for _ in range(rounds)]
    ones, twos = zip(*pairs, strict=True)
    return statistics.median(ones), statistics.median(twos), statistics.median(a / b for a, b in pairs)


def report(what: str, value: float, limit: float, unit: str = "x", at_least: bool = False) -> bool:
    """Print one line with the figure, its limit and a verdict; the verdict is returned."""
    good = value >= limit if at_least else value <= limit
    bound = f"{'at least' if at_least else 'at most'} {limit:g}{unit}"
    print(f"{'ok  ' if good else 'MISS'} {what}: {value:.2f}{unit} ({bound})")
    return good
