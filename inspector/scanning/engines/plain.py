"""One shard after the other in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from inspector.scanning.folder import state_path
from inspector.scanning.look import ShardLooker
from inspector.scanning.plan import ScanPlan
from inspector.scanning.state_file import save_scan_state


def run_plain(folder: Path, plan: ScanPlan, shards: Sequence[int], on_shard: Callable[[int], None]) -> None:
    """Make the states of some shards here.

    Args:
        folder: The folder of the scan.
        plan: Its plan.
        shards: Their numbers.
        on_shard: Called with the number of each that is done.
    """
    looker = ShardLooker(folder, plan)
    with closing(looker):
        for shard in shards:
            save_scan_state(looker.look(shard), state_path(folder, shard))
            on_shard(shard)
