"""`inspector slim` on real files: what it saves beside onnxslim and onnxsim, how far answers are apart, what it costs.

    python -m tests.benchmarks.bench_slim FILE.onnx... [--peers FOLDER] [--rounds N] [--smallest]

FILES are .onnx files or folders of them; `python -m tests.foreign.make_files FOLDER` makes those of the tests. Without
any, the default model is taken. onnxslim and onnxsim (PyPI) are imported from the environment, or from FOLDER (`pip
install --target FOLDER --no-deps onnxslim onnxsim`). The time of a run of the smaller file is given as a share of that
of the file that it was made from, with one thread: the median ratio over rounds in turn.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import inspector
from inspector.errors import InspectorError
from tests.benchmarks.measure import DEFAULT_MODEL, ROOT, paired

PEERS = {
    "onnxslim": "import sys, onnxslim; onnxslim.slim(sys.argv[1], sys.argv[2])",
    "onnxsim": "import sys, onnx, onnxsim; onnx.save(onnxsim.simplify(onnx.load(sys.argv[1]))[0], sys.argv[2])",
}
BLOCK = 5
"""Runs in a row, of which the median counts."""


def find_files(given: list[Path]) -> list[Path]:
    """Every .onnx file of the arguments."""
    return [file for path in given for file in (sorted(path.glob("*.onnx")) if path.is_dir() else [path])]


def run_peer(code: str, source: Path, target: Path) -> int | None:
    """The size of what another tool writes; None where it writes nothing."""
    done = subprocess.run([sys.executable, "-c", code, str(source), str(target)], capture_output=True, check=False)
    size = target.stat().st_size if done.returncode == 0 and target.exists() else None
    target.unlink(missing_ok=True)
    return size


def compare_times(one: Path, other: Path, rounds: int) -> float:
    """The time of a run of `other` as a share of that of `one`."""
    before, after = (inspector.open_model(path, threads=1) for path in (one, other))
    tensor = before.tensor(ROOT / "docs" / "chelsea.jpg")
    outputs = before.graph.outputs
    return paired(lambda: after.run(tensor, outputs), lambda: before.run(tensor, outputs), rounds, BLOCK)[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--peers", default="")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--smallest", action="store_true")
    parser.add_argument("--alone", action="store_true", help="leave the other tools out")
    given = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), given.peers, os.environ.get("PYTHONPATH"))))
    print("| file | bytes | channels cut | inspector slim | difference | time of a run | onnxslim | onnxsim |")
    print("|---|---|---|---|---|---|---|---|")
    for path in find_files(given.files) or [DEFAULT_MODEL]:
        with tempfile.TemporaryDirectory() as name:
            target = Path(name, "slim.onnx")
            try:
                made = inspector.slim(path, target, smallest=given.smallest)
            except InspectorError as error:
                print(f"| {path.stem} | refused: {error.message} |", flush=True)
                continue
            worst = max((each.relative for each in made.differences), default=0.0)
            try:
                share = f"{compare_times(path, target, given.rounds):.2f} x"
            except InspectorError as error:
                share = error.message
            sizes = [run_peer(code, path, Path(name, "peer.onnx")) for code in ({} if given.alone else PEERS).values()]
            cells = ["fails" if size is None else f"{size / made.bytes_before - 1:+.1%}" for size in sizes]
            ours = f"{made.bytes_after / made.bytes_before - 1:+.1%}"
            row = [path.stem, f"{made.bytes_before:,}", str(made.total), ours, f"{worst:.1e}", share, *cells]
            print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
