"""How faithful each method's maps are: deletion, insertion, average drop and increase over real photographs.

    python tests/benchmarks/bench_faithfulness.py [--without scorecam,...] [--steps 16]

The photographs are those that scikit-image and scikit-learn carry (12), and a mirrored crop of each (12 more). The
class is the network's first. Two maps that know nothing stand beside the methods: noise, and a bump in the middle.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from measure import DEFAULT_MODEL
from PIL import Image

from inspector import open_model
from inspector.cam import METHODS, CamResult, prepare
from inspector.cam.faithfulness import average_figures, judge_map
from inspector.cam.result import scale_map

SKIMAGE = (
    "astronaut.png", "camera.png", "chelsea.png", "clock_motion.png", "coffee.png", "coins.png", "moon.png",
    "motorcycle_left.png", "rocket.jpg", "grass.png",
)  # fmt: skip
SKLEARN = ("china.jpg", "flower.jpg")
FIGURES = (("deletion", ".3f"), ("insertion", ".3f"), ("drop", ".1%"), ("increase", ".1%"))


def photographs() -> dict[str, Image.Image]:
    """24 pictures by name: 12 photographs, and of each the middle three quarters, mirrored."""
    import skimage.data
    import sklearn.datasets

    folders = [
        (Path(skimage.data.__file__).parent, SKIMAGE),
        (Path(sklearn.datasets.__file__).parent / "images", SKLEARN),
    ]
    found = {}
    for folder, names in folders:
        for name in names:
            image = Image.open(folder / name).convert("RGB")
            found[name] = image
            width, height = image.size
            box = (width // 8, height // 8, width * 7 // 8, height * 7 // 8)
            found[f"{name}, mirrored crop"] = image.crop(box).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return found


def ignorant(like: CamResult, kind: str, rng: np.random.Generator) -> CamResult:
    """A map that knows nothing of the network."""
    height, width = like.shape
    if kind == "noise":
        raw = rng.random((height, width)).astype(np.float32)
    else:
        y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        raw = np.exp(-2 * (x * x + y * y)).astype(np.float32)
    heatmap, empty = scale_map(raw)
    return replace(like, raw=raw, heatmap=heatmap, empty=empty)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--without", default="")
    arguments.add_argument("--steps", type=int, default=16)
    options = arguments.parse_args()
    model = open_model(DEFAULT_MODEL)
    engines = {m: prepare(model, m) for m in METHODS if m not in options.without.split(",")}
    figures: dict[str, list[dict[str, float]]] = {}
    rng = np.random.default_rng(0)
    pictures = photographs()
    for image in pictures.values():
        like = prepare(model).maps(image)[0]
        maps = {METHODS[m].title: engine.maps(image)[0] for m, engine in engines.items()}
        maps |= {f"({kind})": ignorant(like, kind, rng) for kind in ("a bump in the middle", "noise")}
        for name, found in maps.items():
            figures.setdefault(name, []).append(judge_map(model, image, found, steps=options.steps))
    print(f"{len(pictures)} photographs, {options.steps} steps")
    print("| map | deletion, less is better | insertion, more is better | average drop | increase |")
    print("|---|---|---|---|---|")
    means = {name: average_figures(rows) for name, rows in figures.items()}
    for name, mean in means.items():
        cells = (f"{mean[key]:{form}}" for key, form in FIGURES)
        print(f"| {name} | {' | '.join(cells)} |")
    worst = [m for name, m in means.items() if name.startswith("(")]
    best = means["Grad-CAM"]
    good = all(best["deletion"] < w["deletion"] and best["insertion"] > w["insertion"] for w in worst)
    print(f"{'ok  ' if good else 'MISS'} Grad-CAM beats both maps that know nothing, in deletion and in insertion")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
