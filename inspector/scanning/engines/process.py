"""A worker in a process of its own, and what to do when it dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import inspector.errors as errors
from inspector.errors import InspectorError
from inspector.scanning.engines import TRIES
from inspector.scanning.folder import set_aside
from inspector.scanning.listing import ScanError

_ROOT = Path(__file__).resolve().parents[3]


class WorkerProcess:
    """One process that looks at shards, started again when it dies.

    Args:
        folder: The folder of the scan.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[str] | None = None
        self._stopped = False
        self._lock = threading.Lock()

    def run(self, shard: int) -> None:
        """Make the state of a shard; after TRIES workers that it ended, it is set aside.

        Raises:
            InspectorError: What every picture would meet.
        """
        reason = ""
        for _ in range(TRIES):
            if self._stopped:
                return
            died = self._try(shard)
            if died is None:
                return
            reason = died
        if not self._stopped:
            set_aside(self.folder, shard, f"its shard was set aside: it ended its worker {TRIES} times, {reason}")

    def stop(self) -> None:
        """End the process at once."""
        # Not while one is being started, which would be missed.
        with self._lock:
            self._stopped = True
            process = self._process
        if process is not None:
            with suppress(OSError):
                process.kill()

    def close(self) -> None:
        """End the process when it has nothing to do."""
        process, self._process = self._process, None
        if process is None:
            return
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        if self._stopped:
            process.kill()
        process.wait()

    def _try(self, shard: int) -> str | None:
        """None where the state is made; how the worker ended where it did."""
        process = self._start()
        if process is None:
            return "it was stopped"
        assert process.stdin is not None
        assert process.stdout is not None
        at = ""
        with suppress(OSError):  # it is dead; its end tells more
            process.stdin.write(f"{shard}\n")
            process.stdin.flush()
        for line in process.stdout:
            word, _, rest = line.strip().partition(" ")
            if word == "done" and rest == str(shard):
                return None
            if word == "failed":
                raise rebuild_error(json.loads(rest))
            if word == "at":
                at = rest
        code = process.wait()
        self.close()
        how = f"the last one by {signal.Signals(-code).name}" if code < 0 else f"the last one with exit code {code}"
        return f"{how} at picture number {at}" if at else how

    def _start(self) -> subprocess.Popen[str] | None:
        """The process; None where it was stopped before."""
        with self._lock:
            if self._process is None and not self._stopped:
                self._process = self._open()
            return None if self._stopped else self._process

    def _open(self) -> subprocess.Popen[str]:
        own = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        path = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH", "")])])
        return subprocess.Popen(
            [sys.executable, "-m", "inspector.scanning.worker", str(self.folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env={**os.environ, **own, "PYTHONPATH": path},
            # Ctrl-C goes to the whole group of a terminal; the driver ends its workers itself.
            start_new_session=True,
        )  # fmt: skip


def rebuild_error(told: Mapping[str, str]) -> InspectorError:
    """The error that a worker met, as :func:`pack_error` told it."""
    kind = getattr(errors, told["kind"], ScanError)
    made: InspectorError = kind(told["message"], told["hint"])
    return made
