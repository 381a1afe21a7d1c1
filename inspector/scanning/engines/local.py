"""The processes of one machine: each looks at one shard after the other, on one thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from inspector.runtime.providers import count_cores
from inspector.scanning.engines.process import WorkerProcess


def run_local(folder: Path, shards: Sequence[int], workers: int | None, on_shard: Callable[[int], None]) -> None:
    """Make the states of some shards, in processes of this machine.

    Args:
        folder: The folder of the scan.
        shards: Their numbers.
        workers: How many processes; None takes all cores.
        on_shard: Called with the number of each that is done or set aside.

    Raises:
        InspectorError: What every picture would meet.
    """
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    ended: queue.SimpleQueue[int | BaseException | None] = queue.SimpleQueue()
    for shard in shards:
        waiting.put(shard)
    count = min(workers or count_cores(), len(shards))
    processes = [WorkerProcess(folder) for _ in range(count)]
    threads = [threading.Thread(target=_drive, args=(one, waiting, ended), daemon=True) for one in processes]
    for thread in threads:
        thread.start()
    try:
        running = count
        while running:
            told = ended.get()
            if isinstance(told, BaseException):
                raise told
            if told is None:
                running -= 1
            else:
                on_shard(told)
    except BaseException:
        for process in processes:
            process.stop()
        raise
    finally:
        for thread in threads:
            thread.join()


def _drive(
    process: WorkerProcess,
    waiting: queue.SimpleQueue[int],
    ended: queue.SimpleQueue[int | BaseException | None],
) -> None:
    """Give one process shards until there are none left."""
    try:
        while not process._stopped:
            try:
                shard = waiting.get_nowait()
            except queue.Empty:
                break
            process.run(shard)
            if not process._stopped:
                ended.put(shard)
    except BaseException as error:
        ended.put(error)
    finally:
        process.close()
        ended.put(None)
