"""Nothing leaves the machine: no file in the cache, no thread, no look-up, whatever onnxruntime's wheel does alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import DEFAULT_MODEL, PHOTO, ROOT

CODE = """
import json, os, sys
import numpy
before = len(os.listdir("/proc/self/task"))
from inspector import environment, open_model
import onnxruntime  # by the user's own hand
assert environment.find_problems(("onnxruntime",), tuple(sys.path)) == {{}}  # as `doctor` imports it, in a child
model = open_model({model!r}, threads=1)
label = model.predict({photo!r})[0].label
print(json.dumps([label, before, len(os.listdir("/proc/self/task"))]))
"""


def run(home: Path, *before: str, **more: str) -> list[object]:
    """[label, threads before the runtime was loaded, threads after a run] of a process with a home of its own."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "ORT_"))}
    code = CODE.format(model=str(DEFAULT_MODEL), photo=str(PHOTO))
    done = subprocess.run(
        [*before, sys.executable, "-c", code],
        capture_output=True, text=True, check=True, cwd=home,
        env={**environment, "HOME": str(home), "PYTHONPATH": str(ROOT), **more},
    )  # fmt: skip
    found: list[object] = json.loads(done.stdout)
    return found


def files_in(home: Path) -> list[str]:
    return [path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts threads by /proc")
def test_no_file_and_no_thread(tmp_path: Path) -> None:
    label, before, after = run(tmp_path, ORT_DISABLE_TELEMETRY="")  # nothing is as if it were not set
    assert label == "Egyptian cat"
    assert files_in(tmp_path) == []
    assert after == before


@pytest.mark.skipif(shutil.which("strace") is None, reason="look-ups are seen by strace")
def test_no_address_is_looked_up(tmp_path: Path) -> None:
    home, trace = tmp_path / "home", tmp_path / "trace"
    home.mkdir()
    run(home, "strace", "-f", "-qq", "-e", "trace=network", "-o", str(trace))
    calls = trace.read_text("utf-8", "replace").splitlines()
    assert not [line for line in calls if re.search(r"AF_INET|connect\(|sendto\(|sendmmsg\(", line)]


def test_who_wants_it_can_have_it(tmp_path: Path) -> None:
    """A value of the user's own is not touched."""
    code = "import os, inspector; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    for value in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            env={**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "ORT_DISABLE_TELEMETRY": value},
        )  # fmt: skip
        assert done.stdout.strip() == value
