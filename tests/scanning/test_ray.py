"""The same scan on Ray with two actors: the same bytes, started and stopped cleanly, nothing beyond loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from inspector.model import Model
from inspector.scanning import ScanOptions, scan_pictures
from tests.conftest import ROOT, require
from tests.scanning.conftest import read_results

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]

# In a process of its own: Ray sets signal handlers, and what it leaves running would be seen afterwards.
SCRIPT = """
import json, os, sys, time
from pathlib import Path
from inspector.model import open_model
from inspector.scanning import ScanOptions, scan_pictures

def family():
    # Every process that descends from this one, by what /proc says.
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                pass
    found = {os.getpid()}
    while more := {p for p, parent in parents.items() if parent in found} - found:
        found |= more
    return found

def listeners(processes):
    sockets = {}
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            part = line.split()
            if part[3] == "0A":
                sockets[part[9]] = part[1].partition(":")[0]
    held = set()
    for process in processes:
        try:
            for handle in Path(f"/proc/{process}/fd").iterdir():
                held.add(os.readlink(handle)[8:-1])
        except OSError:
            pass
    return sorted({address for inode, address in sockets.items() if inode in held})

def runs(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False

seen, processes = set(), set()
def watch(done, total, about=""):
    processes.update(family())
    seen.update(listeners(family()))

if __name__ == "__main__":
    model, data, out = sys.argv[1:]
    scan_pictures(open_model(model), [data], Path(out), ScanOptions("ray", workers=2, shard_size=7, top=4), watch)
    for _ in range(300):
        left = [p for p in processes - {os.getpid()} if runs(p)]
        if not left:
            break
        time.sleep(0.1)
    named = [Path(f"/proc/{p}/cmdline").read_text()[:200] for p in left]
    print(json.dumps({"listeners": sorted(seen), "left": named, "seen": len(processes)}))
"""
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}


def test_ray_gives_the_same_bytes_and_stays_on_loopback(
    network: Path, model: Model, pictures: Path, tmp_path: Path
) -> None:
    require("ray.data")
    scan_pictures(model, [pictures], tmp_path / "plain", ScanOptions(engine="plain", shard_size=7, top=4))
    script = tmp_path / "on_ray.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(network), str(pictures), str(tmp_path / "ray")]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, capture_output=True, text=True, env=env, timeout=220)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert ran.stderr == ""
    told = json.loads(ran.stdout.splitlines()[-1])
    assert told["seen"] > 3
    assert set(told["listeners"]) <= LOOPBACK
    assert told["left"] == []
    assert read_results(tmp_path / "ray") == read_results(tmp_path / "plain")


def test_nothing_else_imports_ray() -> None:
    code = "import sys, pkgutil, importlib, inspector.scanning as s\n" \
        "for m in pkgutil.walk_packages(s.__path__, 'inspector.scanning.'): importlib.import_module(m.name)\n" \
        "assert not {'ray', 'pyarrow', 'fsspec', 'torch'} & set(sys.modules)"  # fmt: skip
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
