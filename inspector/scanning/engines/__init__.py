"""What runs the shards of a scan: a plain loop, processes of one machine, a Ray cluster. All give the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from inspector.errors import UsageError
from inspector.scanning.plan import ScanPlan

ENGINES = ("local", "ray", "plain")
"""Their names; the first one is the usual."""
TRIES = 3
"""Workers that a shard may end before it is set aside."""
OnShard = Callable[[int], None]


def check_engine(engine: str) -> None:
    """Raise UsageError for an engine that there is not."""
    if engine not in ENGINES:
        raise UsageError(f"there is no engine {engine!r}", f"known: {', '.join(ENGINES)}")


def run_shards(
    engine: str, folder: Path, plan: ScanPlan, shards: Sequence[int], workers: int | None, on_shard: OnShard
) -> None:
    """Make the states of some shards.

    Args:
        engine: One of ENGINES.
        folder: The folder of the scan.
        plan: Its plan.
        shards: Their numbers.
        workers: How many processes or actors; None takes all cores that there are.
        on_shard: Called with the number of each shard that is done or set aside.

    Raises:
        UsageError: There is no such engine.
        InspectorError: What every picture would meet: no model, no place to write to.
    """
    check_engine(engine)
    if not shards:
        return
    if engine == "plain":
        from inspector.scanning.engines.plain import run_plain

        run_plain(folder, plan, shards, on_shard)
    elif engine == "local":
        from inspector.scanning.engines.local import run_local

        run_local(folder, shards, workers, on_shard)
    else:
        from inspector.scanning.engines.cluster import run_ray

        run_ray(folder, shards, workers, on_shard)
