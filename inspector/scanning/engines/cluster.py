"""A Ray cluster, through Ray Data: one row is one shard, one actor holds one worker. The only module that imports Ray.

Only numbers and paths go through Ray. The states are files in the scan's folder, which all machines of the cluster must
see, as they must see the model and the pictures.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from inspector.errors import InspectorError
from inspector.extras import hush_stderr, need
from inspector.runtime.providers import count_cores
from inspector.scanning.engines.process import WorkerProcess, rebuild_error
from inspector.scanning.worker import pack_error


class ShardActor:
    """An actor of Ray Data: it holds one worker process, and lives as long as its part of the scan.

    It has no constructor arguments: those would lie in Ray's store, and what is lost there keeps an actor from being
    started again.
    """

    def __init__(self) -> None:
        self.process: WorkerProcess | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Make the states of the shards of one batch; an error that every picture would meet becomes a column."""
        told = []
        for shard, folder in zip(batch["shard"], batch["folder"], strict=True):
            self.process = self.process or WorkerProcess(Path(str(folder)))
            try:
                self.process.run(int(shard))
                told.append("")
            except InspectorError as error:
                told.append(json.dumps(pack_error(error)))
        return {"shard": batch["shard"], "error": told}


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
    with _run_cluster(workers):
        import ray

        resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
        actors = workers or max(1, int(resources.get("CPU", 1)))
        where = str(folder.absolute())
        items = [{"shard": shard, "folder": where} for shard in shards]
        done = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            ShardActor,
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(actors, len(shards))),
            num_cpus=1,
        )
        for row in done.iter_rows():
            if row["error"]:
                raise rebuild_error(json.loads(str(row["error"])))
            on_shard(int(row["shard"]))


@contextmanager
def _run_cluster(workers: int | None) -> Iterator[None]:
    """Ray for the time of the block: the cluster that RAY_ADDRESS names, or one of this machine alone."""
    elsewhere = bool(os.environ.get("RAY_ADDRESS"))
    # Nothing is told about the use. Ray takes 127.0.0.1 for the address of the network card, and listens to all, unless
    # this says that there is one machine; both are read when Ray is imported.
    # Its own lines about actors are no news here; nor is the one that says that they are left out.
    own = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
    own |= {} if elsewhere else {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    for name, value in own.items():
        os.environ.setdefault(name, value)
    need("ray.data", "scan", "--engine ray needs Ray Data")
    import ray

    if ray.is_initialized():
        yield
        return
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if not elsewhere:
        quiet |= {
            "num_cpus": workers or count_cores(),
            "include_dashboard": False,
            "_node_ip_address": "127.0.0.1",
        }
    with hush_stderr():
        ray.init(**quiet)
    try:
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        yield
    finally:
        ray.shutdown()
