"""Are the documents, pictures and arrays of two checkouts the same? Every command runs on the default model in both.

    python tests/benchmarks/compare_outputs.py BEFORE AFTER [--only NAME]...

BEFORE and AFTER are roots of two checkouts (git worktree add /tmp/before v0.1.0). Both run with this interpreter, with
one thread and the same seeds. Documents are compared without version, seconds and digests of files that hold the
version; pictures pixel by pixel; arrays bit by bit. Exit 1 where something differs.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

MODEL, PICTURE = "model.onnx", "chelsea.jpg"
COMMANDS: dict[str, list[str]] = {
    "layers": ["layers", MODEL],
    "predict": ["predict", MODEL, PICTURE, "--top", "5"],
    "predict-poses": ["predict", MODEL, PICTURE, "--poses", "hflip"],
    "activations": ["activations", MODEL, PICTURE, "--save-arrays"],
    "activations-one": ["activations", MODEL, PICTURE, "--layer", "conv_stem", "--channel", "3", "--scale", "layer"],
    "annotate": ["annotate", MODEL, "-o", "annotated.onnx", "--preprocess", "imagenet"],
    "audit": ["audit", MODEL, "--data", "pictures"],
    "quantize": ["quantize", MODEL, "-o", "int8.onnx", "--calibrate", "pictures"],
    "filters": ["filters", MODEL, "--layer", "conv_stem", "--channels", "0-3", "--steps", "4", "--size", "64"],
    "filters-lecture": ["filters", MODEL, "--layer", "blocks.3", "--channels", "0-2", "--recipe", "lecture",
                        "--steps", "4", "--from-images", "pictures"],
    "filters-class": ["filters", MODEL, "--class", "285", "--steps", "2", "--size", "64"],
    "dream": ["dream", MODEL, PICTURE, "--layer", "blocks.8", "--octaves", "2", "--steps", "2", "-o", "dream.png"],
    "report": ["report", MODEL, PICTURE, "-o", "report.html"],
    "export": ["export", "factory:make", "-o", "exported.onnx", "--size", "64"],
    "finetune": ["finetune", "labelled", "--base", MODEL, "-o", "run", "--unfreeze-last", "1", "--head-epochs", "1",
                 "--joint-epochs", "1", "--batch", "4", "--cache", "cache", "--size", "64"],
    **{f"cam-{name}": ["cam", MODEL, PICTURE, "--method", name, "--top", "2"]
       for name in ("cam", "gradcam", "gradcam++", "hirescam", "xgradcam", "layercam", "eigencam", "reciprocam")},
    "cam-early": ["cam", MODEL, PICTURE, "--method", "layercam", "--layer", "blocks.4", "--backend", "twin"],
    "missing": ["predict", "nowhere.onnx", PICTURE],
    "wrong-layer": ["activations", MODEL, PICTURE, "--layer", "blokcs"],
}  # fmt: skip

FACTORY = """
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(8, 5)).eval()
"""


def prepare(checkout: Path, folder: Path) -> None:
    """The model, pictures and labelled folders that the commands read, the same for both."""
    shutil.copy(checkout / "models" / "efficientnet-lite0.onnx", folder / MODEL)
    shutil.copy(checkout / "docs" / "chelsea.jpg", folder / PICTURE)
    (folder / "factory.py").write_text(FACTORY)
    with Image.open(folder / PICTURE) as picture:
        picture.load()
    (folder / "pictures").mkdir()
    for turn in range(4):
        picture.rotate(15 * turn).save(folder / "pictures" / f"{turn}.png")
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4)):
        for name, base in (("dark", 60), ("light", 180)):
            place = folder / "labelled" / split / name
            place.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(base - 40, base + 40, (64, 64, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(place / f"{number}.png")


_PRIVATE = {"version", "seconds", "sha256", "digest", "latency_ratio", "created", "versions"}


def plain(value: Any) -> Any:
    """The same document without what differs from run to run or names the release."""
    if isinstance(value, dict):
        if str(value.get("id", "")).startswith("cost-"):  # measured times and memory
            return {"id": value["id"], "status": value["status"]}
        return {k: plain(v) for k, v in value.items() if k not in _PRIVATE}
    if isinstance(value, list):
        # Checks of an audit are told apart by their ids; how they are ordered is up to the folders.
        if all(isinstance(v, dict) and "id" in v for v in value):
            value = sorted(value, key=lambda v: str(v["id"]))
        return [plain(v) for v in value]
    if isinstance(value, str):
        return re.sub(r"[0-9.]+ (s|ms|MB|seconds)\b", r"# \1", value)
    return value


def run(checkout: Path, folder: Path, arguments: list[str]) -> tuple[int, Any, str]:
    """(exit code, document, stderr) of one command of a checkout."""
    environment = {
        **os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1", "COLUMNS": "100", "TERM": "dumb",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "inspector", *arguments, "--json", "--threads", "1"],
        capture_output=True, text=True, cwd=folder, env=environment, check=False,
    )  # fmt: skip
    try:
        return done.returncode, json.loads(done.stdout), done.stderr
    except ValueError:
        return done.returncode, done.stdout, done.stderr


def differences(before: Any, after: Any, where: str = "") -> list[str]:
    """Every place where two documents differ; numbers may differ by one part in a million of themselves."""
    if isinstance(before, dict) and isinstance(after, dict):
        found = [f"{where}.{k}: only {'before' if k in before else 'after'}" for k in before.keys() ^ after.keys()]
        return found + [
            d for k in before.keys() & after.keys() for d in differences(before[k], after[k], f"{where}.{k}")
        ]
    if isinstance(before, list) and isinstance(after, list):
        if len(before) != len(after):
            return [f"{where}: {len(before)} entries, now {len(after)}"]
        return [
            d for i, (a, b) in enumerate(zip(before, after, strict=True)) for d in differences(a, b, f"{where}[{i}]")
        ]
    if isinstance(before, float) and isinstance(after, int | float):
        return [] if abs(before - after) <= 1e-6 * abs(before) + 1e-12 else [f"{where}: {before} is now {after}"]
    return [] if before == after else [f"{where}: {str(before)[:200]!r} is now {str(after)[:200]!r}"]


def compare_files(before: Path, after: Path) -> list[str]:
    """Pictures by pixels, arrays by bits; names of files that only one side has."""
    names = {p.relative_to(root).as_posix() for root in (before, after) for p in root.rglob("*") if p.is_file()}
    found = []
    for name in sorted(names):
        if "cache/" in name or "__pycache__" in name:
            continue
        a, b = before / name, after / name
        if not (a.is_file() and b.is_file()):
            found.append(f"{name}: only {'before' if a.is_file() else 'after'}")
        elif a.suffix in (".png", ".jpg"):
            with Image.open(a) as one, Image.open(b) as two:
                if one.size != two.size or not np.array_equal(np.asarray(one), np.asarray(two)):
                    found.append(f"{name}: other pixels")
        elif a.suffix == ".npy" and not np.array_equal(np.load(a), np.load(b), equal_nan=True):
            found.append(f"{name}: other numbers")
    return found


def main() -> int:
    """Run and compare; print what differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--only", action="append", choices=sorted(COMMANDS))
    parser.add_argument("--keep", type=Path, help="folder for what both wrote; BEFORE is reused from it")
    given = parser.parse_args()
    root = given.keep or Path(tempfile.mkdtemp())
    bad = 0
    for name in given.only or COMMANDS:
        results = []
        for side, checkout in (("before", given.before.resolve()), ("after", given.after.resolve())):
            # Both sides stand in folders of equal names, so that absolute paths in documents have equal lengths.
            folder = root / name / side / "here"
            told = folder.parent / "told.json"
            if side == "after" or not told.is_file():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True)
                prepare(given.after.resolve(), folder)
                told.write_text(json.dumps(run(checkout, folder, COMMANDS[name])))
            results.append(json.loads(told.read_text()))
        (code, document, remarks), (code2, document2, remarks2) = results
        found = [] if code == code2 else [f"exit {code} is now {code2}: {remarks2[-300:]}"]
        found += differences(plain(document), plain(document2), name)
        found += differences(plain(remarks), plain(remarks2), "stderr")
        found += compare_files(root / name / "before" / "here", root / name / "after" / "here")
        print(f"{name}: {'the same' if not found else f'{len(found)} differences'} (exit {code})", flush=True)
        for line in found[:12]:
            print(f"    {line}")
        bad += bool(found)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
