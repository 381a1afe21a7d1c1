"""What an edge machine pays: peak memory and latency of the default model and its int8 variant, threads, spinning.

    python tests/benchmarks/bench_edge.py [--quick] [--int8 FILE]

Every figure is of a fresh process; the memory is its VmHWM, which is not inherited from this one.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from measure import DEFAULT_MODEL, PHOTO, ROOT, report

sys.path.insert(0, str(ROOT))

from exporters.quantizing import quantize_model
from tests.audit import pictures

_CODE = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
path, photo, what, threads, rounds = sys.argv[2:7]
from inspector import open_model
model = open_model(path, threads=int(threads) or None)
def once():
    if what == "predict": return model.predict(photo)
    if what == "activations": return model.activations(photo)
    return model.cam(photo, backend="onnx")
once(); once()
times, begin, cpu = [], time.perf_counter(), time.process_time()
for _ in range(int(rounds)):
    start = time.perf_counter(); once(); times.append(time.perf_counter() - start)
wall, cpu = time.perf_counter() - begin, time.process_time() - cpu
idle = time.process_time(); time.sleep(0.5); idle = time.process_time() - idle
peak = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")][0]
times.sort()
print(json.dumps({"ms": times[len(times) // 2] * 1e3, "p95": times[int(len(times) * 0.95)] * 1e3,
                  "cpu": cpu / int(rounds) * 1e3, "mb": int(peak) / 1024, "cores": cpu / wall, "idle": idle}))
"""


def measured(path: Path, what: str, threads: int, rounds: int) -> dict[str, float]:
    """Figures of one fresh process: ms, p95, cpu (ms a call), mb, cores, idle (CPU seconds of half a second)."""
    arguments = [str(ROOT), str(path), str(PHOTO), what, str(threads), str(rounds)]
    done = subprocess.run([sys.executable, "-c", _CODE, *arguments], capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def quantised(folder: Path) -> tuple[Path, bool]:
    """(the int8 variant, calibrated on 200 crops and flips of photographs; whether it is what is promised)."""
    rng = np.random.default_rng(5)
    try:
        sources = pictures.science(pictures.OTHERS)
    except BaseException:  # pytest's skip is no Exception
        sources = [pictures.cat()]
    photographs = pictures.write(folder / "p", pictures.crops(sources, 200, rng, 0.5))
    made = quantize_model(DEFAULT_MODEL, folder / "int8.onnx", photographs, auto=True)
    print(
        f"int8: {made.bytes_before / 1e6:.1f} to {made.bytes_after / 1e6:.1f} MB, float: {made.kept or 'nothing'}, "
        f"agreement {made.agreement:.1%} of {made.pictures}\n"
    )
    good = report("int8 is smaller by", made.bytes_before / made.bytes_after, 3.5, at_least=True)
    good &= report("int8 agrees on", made.agreement or 0, 0.95, "", at_least=True)
    return made.path, good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--int8", type=Path, help="an int8 variant that is there already, instead of making one")
    options = parser.parse_args()
    rounds = 10 if options.quick else 40
    good = True
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        int8 = options.int8
        if int8 is None:
            int8, good = quantised(folder)
        rows: dict[tuple[str, str, int], dict[str, float]] = {}
        print("\n| model | command | threads | p50 ms | p95 ms | CPU ms | peak MB | cores busy |")
        print("|---|---|---:|---:|---:|---:|---:|---:|")
        for name, path in (("float", DEFAULT_MODEL), ("int8", int8)):
            for what in ("predict", "activations", "cam"):
                for threads in (1, 2):
                    found = rows[name, what, threads] = measured(path, what, threads, rounds)
                    numbers = " | ".join(f"{found[key]:.1f}" for key in ("ms", "p95", "cpu"))
                    print(f"| {name} | {what} | {threads} | {numbers} | {found['mb']:.0f} | {found['cores']:.2f} |")
        print()
        for what in ("predict", "cam"):
            ratios = [rows["int8", what, 1][key] / rows["float", what, 1][key] for key in ("ms", "cpu")]
            print(
                f"     {what}, one thread: int8 takes {ratios[0]:.2f} times the time, {ratios[1]:.2f} of the CPU time"
            )
        ones = [found for (_, _, threads), found in rows.items() if threads == 1]
        good &= report("--threads 1 keeps busy at most", max(found["cores"] for found in ones), 1.05, " cores")
        good &= report("idle, all of them burn at most", max(f["idle"] for f in rows.values()) / 0.5, 0.02, " cores")
        good &= report("peak memory of predict", rows["float", "predict", 2]["mb"], 300, " MB")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
