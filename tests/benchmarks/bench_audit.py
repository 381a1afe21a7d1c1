"""What an audit costs: the whole of it over 100 pictures, each picture beside a bare run, memory over many pictures.

    python tests/benchmarks/bench_audit.py [--pictures N] [--quick]

Pictures are crops and flips of the photographs in scikit-image's wheel; without it, of the repository's own. The many
are links to the same hundred files.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from measure import DEFAULT_MODEL, ROOT, clock, report

sys.path.insert(0, str(ROOT))

from tests.audit import pictures
from tests.audit.policies import policy

_WALK = """
import sys
sys.path.insert(0, sys.argv[3])
from pathlib import Path
from inspector.auditing import audit_model
from tests.audit.policies import policy
chosen = policy(checks={"twin": {"on": False}, "latency": {"on": False}, "memory": {"on": False}})
found = audit_model(sys.argv[1], chosen, data=sys.argv[2])
assert found.passed, found.verdict
print([line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")][0], found.seconds)
"""


def folder(where: Path, each: int) -> Path:
    """`each` pictures of each of four classes; of the cat alone without scikit-image."""
    try:
        return pictures.photographs(where, each)
    except BaseException:  # pytest's skip is no Exception
        return pictures.cats(where, 4 * each)


def linked(where: Path, data: Path, count: int) -> Path:
    """`count` pictures: links to those below `data`, in the same class folders."""
    files = sorted(path for path in data.rglob("*") if path.is_file())
    for i in range(count):
        target = where / files[i % len(files)].parent.name / f"{i:05d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(files[i % len(files)], target)
    return where


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=5000, help="the many of the memory comparison")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and pictures")
    options = parser.parse_args()
    many = 300 if options.quick else options.pictures
    good = True
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        data = folder(root / "hundred", 25)

        # The whole default audit, as the command runs it, torch twin included where torch is installed.
        command = [sys.executable, "-m", "inspector", "audit", str(DEFAULT_MODEL), "--data", str(data), "--quiet"]
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
        seconds = time.perf_counter() - start
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
        print(done.stdout.splitlines()[-1])
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(
            f"     {used.ru_utime + used.ru_stime:.1f} s of CPU time, which other work on the machine does not add to"
        )
        good &= report("default audit over 100 pictures", seconds, 60, " s")

        good &= per_picture(data, 3 if options.quick else 5)

        # Memory: the same audit in fresh processes over few and many pictures.
        peaks = {}
        for count in (100, many):
            set_of = data if count == 100 else linked(root / "many", data, many)
            walk = [sys.executable, "-c", _WALK, str(DEFAULT_MODEL), str(set_of), str(ROOT)]
            done = subprocess.run(walk, capture_output=True, text=True, check=True)
            kilobytes, seconds_text = done.stdout.split()
            peaks[count] = int(kilobytes) / 1024
            print(f"     {count} pictures: peak {peaks[count]:.0f} MB, {float(seconds_text):.1f} s")
        growth = (peaks[many] - peaks[100]) / (many - 100) * 1024
        print(f"     {growth:.2f} KB for each further picture")
        good &= report(f"peak memory over {many} pictures beside 100", peaks[many] / peaks[100], 1.1)
    return 0 if good else 1


def per_picture(data: Path, rounds: int) -> bool:
    """Everything that the audit does with one more picture, beside one run with all layers exposed.

    The checks that run some pictures several times take a fixed number of them, and are left out here as a fixed cost.
    """
    from inspector.auditing import audit_model
    from inspector.image import find_images
    from inspector.model import open_model

    model = open_model(DEFAULT_MODEL)
    files = find_images(data)
    tensors = [model.tensor(path) for path in files[:40]]
    names = [layer.tensor for layer in model.layers] + ["logits"]
    watching = (
        "representation", "finite-on-images", "pictures-readable", "accuracy", "balanced-accuracy", "class-recall",
        "calibration", "confusion",
    )  # fmt: skip
    walking, forty = policy(*watching), policy(*watching, images={"max": 40})

    def bare() -> None:
        for tensor in tensors:
            model.run(tensor, names)

    def cpu(call: Callable[[], object]) -> np.ndarray:
        """(seconds, CPU seconds) of one call."""
        begin = time.process_time()
        return np.array([clock(call), time.process_time() - begin])

    bare(), audit_model(model, forty, data=data)
    ratios, ones = [], []
    for _ in range(rounds):
        base = cpu(bare) / len(tensors)
        # The difference of two audits leaves out what they do once.
        long, short = (cpu(lambda p=p: audit_model(model, p, data=data)) for p in (walking, forty))
        each = (long - short) / (len(files) - 40)
        ratios.append(each / base)
        ones.append((each[0] * 1e3, base[0] * 1e3))
    each_ms, base_ms = np.median(ones, axis=0)
    print(f"     {each_ms:.1f} ms for each picture, decoding included; a bare run of all layers: {base_ms:.1f} ms")
    by_clock, by_cpu = np.median(ratios, axis=0)
    print(f"     cost per picture beside that run, in CPU time: {by_cpu:.2f}x")
    return report("cost per picture beside a bare run with all layers exposed", float(by_clock), 2)


if __name__ == "__main__":
    sys.exit(main())
