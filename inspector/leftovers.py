"""Names of files and folders in the making, and the removal of those whose process was killed before it could."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import secrets
import shutil
import socket
import stat
import time
from contextlib import suppress
from pathlib import Path

_NAME = re.compile(r"\.inspector-([0-9a-f]{8})-(\d+)-[0-9a-f]{8}\.part(\..*)?", re.DOTALL)
_DAY = 24 * 3600.0
_swept: set[str] = set()


def name_part() -> str:
    """A hidden name that nobody else has, without an ending; it tells which process makes the file."""
    return f".inspector-{_machine()}-{os.getpid()}-{secrets.token_hex(4)}.part"


def sweep(folder: str | os.PathLike[str]) -> None:
    """Remove what runs that were killed left in `folder`; once in a process. What cannot be removed stays.

    A process of this machine must be gone. Of another machine, or another container, nobody here can tell:
    there it must have rested for a day. Only what belongs to this user is removed.
    """
    if (place := os.fspath(folder)) in _swept:
        return
    _swept.add(place)
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = _NAME.fullmatch(entry.name)
            if found is not None:
                with suppress(OSError):
                    _remove_dead(entry, found[1], int(found[2]))


def _remove_dead(entry: os.DirEntry[str], machine: str, process: int) -> None:
    status = entry.stat(follow_symlinks=False)
    if hasattr(os, "getuid") and status.st_uid != os.getuid():
        return
    if _runs(process) if machine == _machine() else time.time() - status.st_mtime < _DAY:
        return
    if stat.S_ISDIR(status.st_mode):
        shutil.rmtree(entry.path, ignore_errors=True)
    else:
        os.unlink(entry.path)  # noqa: PTH108


def _runs(process: int) -> bool:
    if os.name == "nt":  # os.kill would end it there
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


@functools.cache
def _machine() -> str:
    """What makes a process number mean one process: the host, its start, and the container."""
    told = [socket.gethostname()]
    with suppress(OSError):
        told.append(Path("/proc/sys/kernel/random/boot_id").read_text("ascii"))
    with suppress(OSError):
        told.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256("\n".join(told).encode("utf-8", "replace")).hexdigest()[:8]
