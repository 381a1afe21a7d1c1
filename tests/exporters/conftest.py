"""Exports that several tests look at, each made once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch

from exporters.exporting.export import Exported, export_onnx
from exporters.sources import Source, load_source
from tests.exporters import nets

ROOT = Path(__file__).resolve().parents[2]
PHOTO = ROOT / "docs" / "chelsea.jpg"


# Two threads that wait for each other on a busy machine take longer than one; tracing uses one in any case.
torch.set_num_threads(1)


@dataclass(frozen=True)
class Made:
    """An export together with the network it was made of."""

    source: Source
    exported: Exported

    @property
    def path(self) -> Path:
        return self.exported.path

    def run(self, pictures: np.ndarray) -> dict[str, np.ndarray]:
        """Every output of the file, by name."""
        session = ort.InferenceSession(self.path, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(None, {"input": pictures}), strict=True))

    def pictures(self, count: int = 1) -> np.ndarray:
        """Noise that the network's input takes: float32 (N, C, H, W)."""
        shape = (count, self.source.preprocess.channels, *self.source.preprocess.size)
        return np.random.default_rng(1).standard_normal(shape, dtype=np.float32)


class Maker:
    """Exports by SOURCE with lively random weights, each made once; the tests' own networks at 64x64."""

    def __init__(self, folder: Callable[[str], Path]) -> None:
        self.folder = folder
        self.made: dict[str, Made] = {}

    def __call__(self, spec: str) -> Made:
        if spec not in self.made:
            torch.manual_seed(0)
            source = load_source(spec, size=(64, 64) if spec.startswith("tests.") else None)
            nets.lively(source.module)
            self.made[spec] = Made(source, export_onnx(source, self.folder("export") / "model.onnx", image=PHOTO))
        return self.made[spec]

    def forget(self, spec: str) -> None:
        """Free the memory and the disk: VGG16 takes half a gigabyte of each."""
        self.made.pop(spec).path.unlink()


@pytest.fixture(scope="session")
def make(tmp_path_factory) -> Maker:
    return Maker(tmp_path_factory.mktemp)


@pytest.fixture
def tiny(make) -> Made:
    return make("tests.exporters.nets:tiny")


@contextmanager
def recorded(module: torch.nn.Module) -> Iterator[dict[str, list[np.ndarray]]]:
    """Module path -> its outputs, one for each call, as they were before anything changed them in place."""
    values: dict[str, list[np.ndarray]] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(_module: object, _inputs: object, output: object) -> None:
            if isinstance(output, torch.Tensor):
                values.setdefault(name, []).append(output.detach().clone().numpy())

        return hook

    handles = [part.register_forward_hook(keep(name)) for name, part in module.named_modules() if name]
    try:
        yield values
    finally:
        for handle in handles:
            handle.remove()
