"""A Ray cluster, through Ray Data: one row is one shard, one actor holds one worker. The only module that imports Ray.

Only numbers and paths go through Ray. The states are files in the scan's folder, which all machines of the cluster must
see, as they must see the model and the pictures.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from inspector.extras import need
from inspector.runtime.providers import count_cores
from inspector.scanning.engines.process import WorkerProcess


class ShardActor:
    """An actor of Ray Data: it holds one worker process, and lives as long as its part of the scan.

    Args:
        folder: The folder of the scan, as a path that every machine knows.
    """

    def __init__(self, folder: str) -> None:
        self.process = WorkerProcess(Path(folder))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Make the states of the shards of one batch."""
        for shard in batch["shard"]:
            self.process.run(int(shard))
        return {"shard": batch["shard"]}


def run_ray(folder: Path, shards: Sequence[int], workers: int | None, on_shard: Callable[[int], None]) -> None:
    """Make the states of some shards on a Ray cluster.

    Args:
        folder: The folder of the scan.
        shards: Their numbers.
        workers: How many actors; None takes one for each core of the cluster.
        on_shard: Called with the number of each that is done or set aside.

    Raises:
        MissingExtra: Ray is not installed.
        InspectorError: What every picture would meet.
    """
    need("ray.data", "scan", "--engine ray needs Ray Data")
    import ray

    with _run_cluster(workers):
        resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
        actors = workers or max(1, int(resources.get("CPU", 1)))
        rows = ray.data.from_items([{"shard": shard} for shard in shards], override_num_blocks=len(shards))
        done = rows.map_batches(
            ShardActor,
            fn_constructor_args=(str(folder.absolute()),),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(actors, len(shards))),
            num_cpus=1,
        )
        for row in done.iter_rows():
            on_shard(int(row["shard"]))


@contextmanager
def _run_cluster(workers: int | None) -> Iterator[None]:
    """Ray for the time of the block: the cluster that RAY_ADDRESS names, or one of this machine alone."""
    import ray

    if ray.is_initialized():
        yield
        return
    # Nothing leaves the machine, and no page is served.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    if os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    else:
        ray.init(
            num_cpus=workers or count_cores(), include_dashboard=False, log_to_driver=False,
            logging_level=logging.ERROR, _node_ip_address="127.0.0.1",
        )  # fmt: skip
    try:
        yield
    finally:
        ray.shutdown()
