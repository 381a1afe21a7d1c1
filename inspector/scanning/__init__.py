"""Very many pictures: what a network has learned from a whole data set. No torch.

A scan is a list of pictures, cut into shards; each shard becomes one state, and states merge in any order to the same
bytes. `engines` run the shards, `finish` writes what the merged states say.
"""

from inspector.scanning.listing import SHARD_SIZE, ScanError
from inspector.scanning.run import Scan, ScanOptions, merge_parts, scan_pictures
from inspector.scanning.state import ScanState
from inspector.scanning.state_file import load_scan_state, save_scan_state

__all__ = [
    "SHARD_SIZE",
    "Scan",
    "ScanError",
    "ScanOptions",
    "ScanState",
    "load_scan_state",
    "merge_parts",
    "save_scan_state",
    "scan_pictures",
]
