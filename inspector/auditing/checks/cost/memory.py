"""How much memory a prediction takes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import inspector
from inspector.auditing.checks.cost._budget import find_before, mark_unjudged
from inspector.auditing.limits import Limit, Limits
from inspector.auditing.registry import check
from inspector.auditing.result import Finding, NotChecked, Verdict, at_most
from inspector.auditing.subject import Subject
from inspector.errors import one_line
from inspector.model import Model

# VmHWM and not ru_maxrss: the latter is inherited from the process that starts it.
_CODE = """
import json, sys
from inspector.model import open_model
from inspector.model.tensors import list_answers
import numpy as np
path, threads, height, width, options = sys.argv[1:]
model = open_model(path, provider="cpu", threads=int(threads) or None, **json.loads(options))
for _ in range(3):
    model.run(model.tensor(np.zeros((int(height), int(width), 3), np.uint8)), list_answers(model))
print(*[line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")])
"""

_SECONDS = 300


@check(
    title="A prediction fits into memory",
    limits={
        "max_mb": Limit(2000, "largest peak memory of a process that predicts", unit="MB (10^6 bytes)", low=0),
        "max_ratio": Limit(None, "largest ratio to the reference's", low=0),
    },
    needs=("linux",),
    remedy="Use a smaller input or a smaller network, or weights of 8 or 16 bits (`inspector quantize`).",
)
def memory(subject: Subject, limits: Limits) -> Verdict:
    """Peak resident memory of a fresh process that opens the model and predicts, Python and onnxruntime included."""
    limit = limits["max_mb"]
    try:
        found = _measure_peak(subject.model)
    except _NoPrediction as error:
        return Verdict(str(error), None, limit, findings=(Finding(str(error), None, limit),))
    message = f"a process that predicts takes {found:.0f} MB at its peak"
    details = {"peak_mb": found}
    bound = limits["max_ratio"]
    before, lacking = (None, "") if bound is None else find_before(subject, "peak_mb", measure_peak)
    if before is not None:
        details["reference_peak_mb"] = before
        message += f", the reference {before:.0f} MB"
        # The ratio is what is judged where it is out of bounds, or the only limit.
        if found / before > bound or limit is None:
            return at_most(found / before, bound, message, details=details)
    return mark_unjudged(at_most(found, limit, message, unit="MB", details=details), subject, lacking)


def measure_peak(model: Model) -> float:
    """Peak memory of a reference, in MB.

    Raises:
        NotChecked: It cannot be measured.
    """
    try:
        return _measure_peak(model)
    except _NoPrediction as error:
        raise NotChecked(f"the reference: {error}") from None


class _NoPrediction(Exception):
    """A fresh process ended, or did not end, without a prediction; the text says how."""


def _measure_peak(model: Model) -> float:
    height, width = model.preprocess.size or (224, 224)
    home = str(Path(inspector.__file__).parents[1])
    paths = os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH"))))
    options = {
        "allow_links": [str(folder) for folder in model.graph.allow_links],
        "inputs": {name: value.tolist() for name, value in model.graph.given.items()},
    }
    arguments = [str(model.path.absolute()), str(model.threads or 0), str(height), str(width), json.dumps(options)]
    try:
        done = subprocess.run(
            [sys.executable, "-c", _CODE, *arguments], capture_output=True, text=True, timeout=_SECONDS, check=False,
            env={**os.environ, "PYTHONPATH": paths},
        )  # fmt: skip
    except OSError as error:
        raise NotChecked(f"no process could be started: {error}") from None
    except subprocess.TimeoutExpired:
        raise _NoPrediction(f"a fresh process did not predict within {_SECONDS} s") from None
    if done.returncode < 0:
        # The kernel ends a process that wants more memory than there is by a signal.
        raise _NoPrediction(f"a fresh process that predicts was ended by {_name_signal(-done.returncode)}")
    if done.returncode:
        raise _NoPrediction(f"a fresh process could not predict: {one_line(done.stderr[-200:])}")
    if not done.stdout.strip().isdigit():
        raise NotChecked("this system does not tell a process's peak memory (VmHWM)")
    return int(done.stdout) * 1024 / 1e6


def _name_signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
