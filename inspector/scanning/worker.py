"""A process that looks at shards: their numbers come on stdin, one a line, and their states go into the scan's folder.

``python -m inspector.scanning.worker FOLDER``. It answers on stdout, a line each: ``at N`` before a picture, ``done N``
after a shard, ``failed`` with a JSON document for an error that every picture would meet. It ends with its stdin.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import IO

from inspector.errors import InspectorError


def serve_shards(arguments: list[str]) -> int:
    """Work until stdin ends.

    Args:
        arguments: The folder of the scan.
    """
    # What a library prints must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="ascii")
    os.dup2(2, 1)
    folder = Path(arguments[0])
    try:
        return _work(folder, answers)
    except (BrokenPipeError, KeyboardInterrupt):
        return 0
    except InspectorError as error:
        told = pack_error(error)
    except OSError as error:
        told = {"kind": "OutputError", "message": f"{folder} cannot be used: {error.strerror or error}", "hint": ""}
    try:
        answers.write(f"failed {json.dumps(told)}\n")
    except OSError:
        return 0
    return 1


def pack_error(error: InspectorError) -> dict[str, str]:
    """An error as a JSON document, for another process."""
    return {"kind": type(error).__name__, "message": error.message, "hint": error.hint}


def _work(folder: Path, answers: IO[str]) -> int:
    from inspector.scanning.folder import state_path
    from inspector.scanning.look import ShardLooker
    from inspector.scanning.state_file import save_scan_state

    looker = ShardLooker(folder)
    answers.write("ready\n")
    for line in sys.stdin:
        shard = int(line)
        state = looker.look(shard, lambda number: print("at", number, file=answers))
        save_scan_state(state, state_path(folder, shard))
        answers.write(f"done {shard}\n")
    return 0


if __name__ == "__main__":
    sys.exit(serve_shards(sys.argv[1:]))
